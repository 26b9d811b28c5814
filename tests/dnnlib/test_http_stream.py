"""dnnlib.http_stream: servers that try to hold a process, or to fill its memory and its disk."""

import contextlib
import io
import itertools
import re
import resource
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import dnnlib
from dnnlib import http_stream, partial_file, transfer, util
from tests.dnnlib import web_server

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
DRIP_SEC = 0.02  # between two pieces of those who send slowly


def slowly(*pieces):
    """One byte now and then, the last piece for ever."""
    for piece in itertools.chain(pieces[:-1], itertools.repeat(pieces[-1])):
        yield piece
        time.sleep(DRIP_SEC)


def forever(start, piece):
    yield start
    yield from itertools.repeat(piece)


def with_head(*lines):
    return b"\r\n".join((HEAD.strip(), *lines)) + b"\r\n\r\n"


MEGABYTES = b"%x\r\n%b\r\n" % (1 << 20, bytes(1 << 20))
TRICKS = {
    # name: what the server sends, and a part of the message
    "silence": (lambda: [time.sleep(5) or b""], "sent nothing for"),
    "slow status": (lambda: slowly(b"H"), "did not answer within"),
    "slow header": (lambda: slowly(HEAD, b"x"), "did not answer within"),
    "headers without end": (lambda: forever(HEAD, b"x: y\r\n"), "100 headers"),
    "header without end": (lambda: forever(HEAD, b"x" * 100), "header line"),
    "interim answers without end": (
        lambda: slowly(b"HTTP/1.1 100 Continue\r\n\r\n"),
        "did not answer within",
    ),
    "slow body": (
        lambda: slowly(with_head(b"Content-Length: 1000000"), b"x"),
        r"sent only \d+ bytes in 0 s after \d+ bytes of 1000000",
    ),
    "slow body of unknown length": (lambda: slowly(with_head(), b"x"), r"sent only \d+ bytes"),
    "slow chunks": (lambda: slowly(CHUNKED, b"1\r\nx\r\n"), r"sent only \d+ bytes"),
    "slow size of a chunk": (lambda: slowly(CHUNKED, b"0"), "sent only 0 bytes"),
    "slow trailers": (lambda: slowly(CHUNKED, b"0\r\n", b"x: y\r\n"), "sent only 0 bytes"),
    "body without end": (lambda: forever(CHUNKED, MEGABYTES), "more than the 33554432 bytes any"),
    "redirects with bodies without end": (
        lambda: forever(CHUNKED.replace(b"200 OK", b"302 Found\r\nLocation: /"), MEGABYTES),
        "more than 3 redirects",
    ),
    "redirect to nonsense": (
        lambda: [b"HTTP/1.1 302 Found\r\nLocation: http://[\xff\r\nContent-Length: 0\r\n\r\n"],
        "cannot download",
    ),
    "no HTTP": (lambda: forever(b"", b"SSH-2.0\r\n"), "connection|BadStatusLine"),
    "escapes in the status": (lambda: [b"HTTP/1.1 404 \x1b[2J\x07\r\n\r\n"], r"404 \\x1b\[2J\\x07"),
    "length of a billion GB": (
        lambda: [with_head(b"Content-Length: 1" + b"0" * 18)],
        r"no space left for 888PB.* are free.*DNNLIB_CACHE_DIR",
    ),
    "length of 5000 digits": (
        lambda: forever(with_head(b"Content-Length: " + b"9" * 5000), bytes(1 << 20)),
        "more than the 33554432 bytes any",
    ),
    "two lengths": (
        lambda: [with_head(b"Content-Length: 5", b"Content-Length: 7"), b"12345"],
        "Content-Length",
    ),
    "compression": (
        lambda: [with_head(b"Content-Encoding: gzip", b"Content-Length: 4"), b"\x1f\x8b\x08\0"],
        r"compresses the file \(Content-Encoding: gzip\).*local path",
    ),
}


@contextlib.contextmanager
def serving(pieces):
    """The address of a server that sends `pieces()` whatever it is asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.recv(1 << 16)
            for piece in pieces():
                connection.sendall(piece)
                if is_over.is_set():
                    return

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/net.pkl"
    finally:
        is_over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def hurry(monkeypatch):
    """Limits of half a second where they are minutes, and of 32 MiB where they are 16 GiB."""
    monkeypatch.setattr(http_stream, "TIMEOUT_SEC", (10, 0.3))
    monkeypatch.setattr(http_stream, "_POLL_SEC", 0.05)
    monkeypatch.setattr(http_stream, "ANSWER_SEC", 0.4)
    monkeypatch.setattr(http_stream, "PACE_SEC", 0.4)
    monkeypatch.setattr(http_stream, "MAX_REDIRECTS", 3)
    monkeypatch.setattr(transfer, "_MAX_UNANNOUNCED_BYTES", 1 << 25)
    web_server.connect_at_once(monkeypatch)


def fetch(url, **kwargs):
    with util.open_url(url, verbose=False, **kwargs) as file:
        return file.read()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("trick", TRICKS)
def test_trick_ends_in_one_line(trick, hurry, monkeypatch):
    pieces, message = TRICKS[trick]
    if not trick.startswith(("silence", "slow", "interim")):  # nor is the server of a busy machine
        monkeypatch.setattr(http_stream, "TIMEOUT_SEC", (10, 30))
        monkeypatch.setattr(http_stream, "ANSWER_SEC", 30)
        monkeypatch.setattr(http_stream, "PACE_SEC", 30)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving(pieces) as url, pytest.raises(OSError, match=message) as error:
        fetch(url, num_attempts=4)
    assert str(error.value).isprintable() and url in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200 << 10  # KiB
    folder = Path(dnnlib.make_cache_dir_path("downloads"))
    assert not list(folder.iterdir())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("trick", ["slow header", "slow body"])
def test_download_that_waits_for_the_lock_ends_as_well(trick, hurry):
    with serving(TRICKS[trick][0]) as url, ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(fetch, url) for _ in range(2)]:
            with pytest.raises(OSError, match="cannot download"):
                future.result()


def test_slow_link_gets_its_file(hurry, monkeypatch):
    """Five times as fast as the slowest that counts, for several times the limit."""
    monkeypatch.setattr(http_stream, "TIMEOUT_SEC", (10, 10))
    monkeypatch.setattr(http_stream, "PACE_SEC", 1.0)
    body = bytes(range(250)) * 50

    def pieces():
        yield with_head(b"Content-Length: %d" % len(body))
        for start in range(0, len(body), 100):
            yield body[start : start + 100]
            time.sleep(DRIP_SEC)

    with serving(pieces) as url:
        assert fetch(url, num_attempts=1) == body


def test_stalls_are_counted_only_where_nothing_comes(hurry, monkeypatch):
    """Each attempt gets a third of the file before the server falls silent."""
    monkeypatch.setattr(http_stream, "TIMEOUT_SEC", (10, 1))
    monkeypatch.setattr(http_stream, "PACE_SEC", 10)
    monkeypatch.setattr(transfer, "_PROGRESS_BYTES", 1000)
    monkeypatch.setattr(transfer, "_MAX_STALLS", 1)
    body = bytes(range(250)) * 40
    starts = itertools.count(0, 3400)

    def pieces():
        start = next(starts)
        head = with_head(
            b'ETag: "1"',
            b"Content-Length: %d" % (len(body) - start),
            b"Content-Range: bytes %d-%d/%d" % (start, len(body) - 1, len(body)),
        )
        yield head if start == 0 else head.replace(b"200 OK", b"206 Partial Content")
        yield body[start : start + 3400]
        time.sleep(3 if start < 6800 else 0)

    with serving(pieces) as url:
        assert fetch(url) == body


@pytest.mark.parametrize("header", ['"1"\r\n folded', '"\x80"', f'"{"x" * 10_000}"'])
def test_validator_that_no_request_can_carry_is_not_kept(header, hurry):
    """It would break every later attempt, that of other processes as well."""
    numbers = itertools.count()

    def pieces():
        yield with_head(f"ETag: {header}".encode("latin1"), b"Content-Length: 10")
        yield b"01234" if next(numbers) == 0 else b"0123456789"

    with serving(pieces) as url:
        with pytest.raises(OSError, match="the connection broke after 5 bytes of 10"):
            fetch(url, num_attempts=1)
        assert fetch(url, num_attempts=1) == b"0123456789"


def test_announced_length_must_fit_onto_the_disk(hurry, monkeypatch):
    usage = shutil._ntuple_diskusage(100, 96, 4)
    monkeypatch.setattr(partial_file.shutil, "disk_usage", lambda folder: usage)
    with serving(lambda: [with_head(b"Content-Length: 5"), b"12345"]) as url:
        with pytest.raises(OSError, match=re.escape("no space left for 5.00B, 4.00B are free")):
            fetch(url)
        assert fetch(url, cache=False) == b"12345"


def test_redirects_do_not_leave_https(monkeypatch, tmp_path):
    def get(session, url, **kwargs):
        response = requests.Response()
        response.status_code, response.url, response.raw = 302, url, io.BytesIO()
        response.headers["Location"] = "http://example.com/net.pkl"
        return response

    monkeypatch.setattr(http_stream._Session, "get", get)
    with pytest.raises(
        OSError, match=r"https://a\.example/x leads to http://example\.com/net\.pkl"
    ):
        util.open_url("https://a.example/x", cache_dir=str(tmp_path), num_attempts=1)
