"""dnnlib.downloads: resuming, hashes, one process at a time, servers that misbehave."""

import contextlib
import email.utils
import errno
import hashlib
import io
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import dnnlib
from dnnlib import file_lock, http_stream, partial_file, transfer, util
from tests.dnnlib import web_server
from tests.dnnlib.web_server import BODY, Answer

ROOT = Path(__file__).parents[2]
OTHER_BODY = bytes(reversed(BODY))
SHA256 = hashlib.sha256(BODY).hexdigest()
HALF = len(BODY) // 2
needs_flock = pytest.mark.skipif(os.name == "nt", reason="POSIX locks and signals")


@pytest.fixture
def server(monkeypatch):
    with web_server.running(monkeypatch) as server:
        yield server


@pytest.fixture
def folder():
    return Path(dnnlib.make_cache_dir_path("downloads"))


def names(folder):
    """What is in the cache folder, without the hash of the address."""
    return sorted(path.name.partition("_")[2] for path in folder.iterdir())


def get(url, **kwargs):
    with util.open_url(url, verbose=False, **kwargs) as file:
        return file.read()


def interrupt(server, **answer):
    """Leave half a download behind."""
    server.plan.insert(0, Answer(cut=HALF, **answer))
    with pytest.raises(OSError, match=f"the connection broke after {HALF} bytes"):
        get(server.url, num_attempts=1)
    server.requests.clear()


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("word", ["none", "binary", "UTF-8", "aws-chunked", "identity"])
def test_encodings_that_are_no_compression_do_not_matter(server, word):
    """Servers and stores of objects send such words; the body is what it is."""
    server.plan.append(Answer(headers={"Content-Encoding": word}))
    assert get(server.url) == BODY


@pytest.mark.parametrize("word", ["gzip", "X-GZIP", "aws-chunked, gzip", "br"])
def test_compressed_answers_are_refused(server, word):
    server.plan.append(Answer(headers={"Content-Encoding": word}))
    with pytest.raises(OSError, match=rf"compresses the file \(Content-Encoding: {word}\)"):
        get(server.url, num_attempts=1)


CHILD = """
import sys
from dnnlib import transfer, util
transfer._FIRST_DELAY_SEC = 0.0
print("ready", flush=True)
print(util.open_url(sys.argv[1], return_filename=True))
"""


@contextlib.contextmanager
def child_process(url):
    """A process that prints `ready`, downloads `url` and prints the path."""
    args = [sys.executable, "-c", CHILD, url]
    process = subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def result(process):
    """What is in the file whose path the process prints."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return Path(out.decode().splitlines()[-1]).read_bytes()


@contextlib.contextmanager
def process_killed_half_way(server, folder):
    """A process that has half of a download on the disk, and is killed in the end."""
    server.plan.append(Answer(stall=HALF))
    with child_process(server.url):
        wait_for(lambda: any(path.stat().st_size == HALF for path in folder.glob("*.partial")))
        yield


# Plain downloads


def test_open_url_downloads_once(server, folder, capfd):
    url = f"{server.url[:-8]}/some%20dir/net%3A1.pkl?x=1"
    for _ in range(2):
        with util.open_url(url) as file:
            assert file.read() == BODY
    path = Path(util.open_url(url, return_filename=True, verbose=False))
    assert path.read_bytes() == BODY and path.name.endswith("_net_1.pkl")
    assert path.parent == folder
    assert len(server.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert capfd.readouterr().err == f"Downloading {url}\n"


def test_names_in_the_cache_stay_as_they_are(folder):
    folder.mkdir(parents=True)
    (folder / "18180fc587af82e37521652b26f39ba4_x.pkl").write_bytes(b"x")
    assert get("http://host.invalid/a/x.pkl?b=1") == b"x"


def test_open_url_without_cache_leaves_no_file(server, tmp_path):
    assert get(server.url, cache_dir=str(tmp_path), cache=False) == BODY
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="return_filename"):
        util.open_url(server.url, cache=False, return_filename=True)


@pytest.mark.parametrize("answer", [Answer(503), Answer(429), Answer(cut=1000)], ids=str)
@pytest.mark.parametrize("cache", [True, False])
def test_open_url_tries_again_after_a_passing_failure(server, answer, cache, capfd):
    server.plan = [answer]
    with util.open_url(server.url, cache=cache) as file:
        assert file.read() == BODY
    assert len(server.requests) == 2
    assert "next attempt in 0 s" in capfd.readouterr().err


@pytest.mark.parametrize(
    "answer, num_requests, message",
    [
        (Answer(404), 1, "404"),
        (Answer(403), 1, "403"),
        (Answer(206), 1, "206"),
        (Answer(503), 3, r"3 attempts\): the server answers 503.*local path"),
        (Answer(cut=1000), 3, r"3 attempts\): the connection broke after 1000 bytes of 1280000"),
    ],
    ids=str,
)
def test_open_url_failure_names_address_and_reason(server, tmp_path, answer, num_requests, message):
    server.headers = {}
    server.plan = [answer] * 3
    with pytest.raises(OSError, match=f"cannot download {server.url}.*{message}"):
        util.open_url(server.url, cache_dir=str(tmp_path), num_attempts=3, verbose=False)
    assert len(server.requests) == num_requests
    assert not list(tmp_path.iterdir())


def test_open_url_without_network_says_what_to_do(server, tmp_path):
    cached = f"{server.url}?cached"
    get(cached, cache_dir=str(tmp_path))
    server.shutdown()
    server.server_close()
    assert get(cached, cache_dir=str(tmp_path)) == BODY
    with pytest.raises(OSError, match=r"2 attempts.*or save it as .*_net\.pkl"):
        get(server.url, cache_dir=str(tmp_path), num_attempts=2)


def test_server_without_connection_is_named_in_a_short_line(server, tmp_path, capfd):
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match=r"2 attempts\): no connection to 127.0.0.1 \(.*refused\)"):
        util.open_url(server.url, cache_dir=str(tmp_path), num_attempts=2)
    assert "HTTPConnection" not in capfd.readouterr().err


def test_name_that_no_server_has_is_told_in_a_short_line(tmp_path, monkeypatch, capfd):
    def look_up(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    message = r"2 attempts\): no server is known as net.example \(no network, or a misspelt name\)"
    with pytest.raises(OSError, match=message):
        util.open_url("https://net.example/net.pkl", cache_dir=str(tmp_path), num_attempts=2)
    assert "HTTPSConnection" not in capfd.readouterr().err


# Resuming


def test_next_attempt_asks_for_the_rest(server, folder):
    server.plan = [Answer(cut=1000), Answer(cut=5000), Answer(503)]
    assert get(server.url) == BODY
    assert server.ranges == [None, "bytes=1000-", "bytes=6000-", "bytes=6000-"]
    assert {request.if_range for request in server.requests[1:]} == {'"1"'}
    assert sum(request.sent for request in server.requests) == len(BODY)
    assert names(folder) == ["net.pkl"]


def test_next_attempt_without_cache_asks_for_the_rest(server):
    server.plan = [Answer(cut=1000)]
    assert get(server.url, cache=False) == BODY
    assert server.ranges == [None, "bytes=1000-"]


def test_next_call_asks_for_the_rest(server, folder):
    interrupt(server)
    assert names(folder) == ["net.pkl.partial", "net.pkl.partial.json"]
    assert get(server.url) == BODY
    assert server.ranges == [f"bytes={HALF}-"]
    assert names(folder) == ["net.pkl"]


def test_date_of_change_will_do_as_a_validator(server):
    server.headers = {"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}
    interrupt(server)
    assert get(server.url) == BODY
    assert server.requests[0].if_range == "Wed, 01 Jan 2020 00:00:00 GMT"
    assert server.requests[0].sent == HALF


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": 'W/"1"', "Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"},
        {"Last-Modified": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"Last-Modified": "yesterday"},
        {"ETag": '"1"', "Accept-Ranges": "none"},
    ],
    ids=["none", "weak", "recent", "damaged", "no-ranges"],
)
def test_without_a_strong_validator_nothing_is_kept(server, folder, headers):
    server.headers = headers
    interrupt(server)
    assert names(folder) == []
    server.plan = [Answer(cut=1000)]
    assert get(server.url) == BODY
    assert server.ranges == [None, None]


@pytest.mark.parametrize(
    "answer, num_requests",
    [
        (Answer(has_ranges=False), 1),
        (Answer(body=OTHER_BODY, headers={"ETag": '"2"'}), 1),
        (Answer(416), 2),
        (Answer(412), 2),
        (Answer(partial_headers={"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}), 2),
        (Answer(partial_headers={"Content-Range": "bytes */*"}), 2),
        (Answer(partial_headers={"Content-Range": f"bytes {HALF}-{HALF + 9}/{HALF + 10}"}), 2),
        (Answer(partial_headers={"Content-Range": f"bytes {HALF - 9}-9999999/{len(BODY)}"}), 2),
        (Answer(partial_headers={"Content-Range": f"bytes {HALF}-{'9' * 5000}/*"}), 2),
        (Answer(headers={"ETag": '"2"'}, obeys_if_range=False), 2),
        (Answer(partial_headers={"ETag": None}), 2),
        (Answer(partial_headers={"ETag": 'W/"1"'}), 2),
    ],
    ids=[
        "no ranges",
        "changed",
        "416",
        "412",
        "from 0",
        "nonsense",
        "length",
        "overlap",
        "digits",
        "other version",
        "unnamed version",
        "weak version",
    ],
)
def test_what_cannot_be_continued_starts_over(server, folder, answer, num_requests):
    interrupt(server)
    server.plan = [answer]
    assert get(server.url, num_attempts=1) == (answer.body or BODY)
    assert server.ranges == [f"bytes={HALF}-", None][:num_requests]
    assert server.requests[-1].sent == len(BODY)
    assert names(folder) == ["net.pkl"]


def test_shrunken_file_is_not_mixed_with_the_old_one(server):
    interrupt(server)
    server.body, server.headers = OTHER_BODY[:1000], {"ETag": '"2"'}
    assert get(server.url) == OTHER_BODY[:1000]


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"validator": 1, "total": 2}', None])
def test_partial_file_with_a_damaged_note_starts_over(server, folder, note):
    interrupt(server)
    (path,) = folder.glob("*.json")
    path.unlink() if note is None else path.write_text(note)
    assert get(server.url) == BODY
    assert server.ranges == [None]


def test_partial_file_that_is_too_long_starts_over(server, folder):
    interrupt(server)
    (path,) = folder.glob("*.partial")
    path.write_bytes(OTHER_BODY + b"x")
    assert get(server.url) == BODY


def test_complete_file_that_only_lacks_its_name_needs_no_network(server, folder):
    interrupt(server)
    (path,) = folder.glob("*.partial")
    path.write_bytes(BODY)
    assert get(server.url) == BODY
    assert not server.requests


def test_rest_may_come_in_pieces(server):
    interrupt(server)
    short = {"Content-Range": f"bytes {HALF}-{HALF + 9}/{len(BODY)}"}
    piece = BODY[: HALF + 10]
    server.plan = [Answer(body=piece, partial_headers=short)]
    assert get(server.url) == BODY
    assert server.ranges == [f"bytes={HALF}-", f"bytes={HALF + 10}-"]


def test_body_of_unknown_length_is_continued(server):
    server.plan = [Answer(has_length=False, cut=1000), Answer(cut=1000), Answer(has_length=False)]
    assert get(server.url) == BODY
    assert server.ranges == [None, "bytes=1000-", "bytes=2000-"]


def test_length_that_comes_with_the_rest_is_believed(server):
    short = {"Content-Range": f"bytes 1000-4999/{len(BODY)}"}
    server.plan = [
        Answer(has_length=False, cut=1000),
        Answer(body=BODY[:5000], partial_headers=short),
    ]
    assert get(server.url) == BODY
    assert server.ranges == [None, "bytes=1000-", "bytes=5000-"]


def test_rest_that_is_too_long_starts_over(server):
    interrupt(server)
    rest = {"Content-Range": f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"}
    server.plan = [Answer(body=BODY + b"x", has_length=False, partial_headers=rest)]
    assert get(server.url) == BODY
    assert server.ranges == [f"bytes={HALF}-", None]


def test_refusal_keeps_what_has_arrived(server):
    interrupt(server)
    server.plan = [Answer(403)]
    with pytest.raises(OSError, match="403"):
        get(server.url)
    assert get(server.url) == BODY
    assert server.requests[-1].sent == HALF


def test_ctrl_c_keeps_what_has_arrived(server, folder, monkeypatch):
    append = partial_file.PartialFile.append

    def append_and_stop(partial, data):
        append(partial, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(partial_file.PartialFile, "append", append_and_stop)
        get(server.url)
    assert names(folder) == ["net.pkl.partial", "net.pkl.partial.json"]
    (path,) = folder.glob("*.partial")
    size = path.stat().st_size
    assert 0 < size < len(BODY)
    assert get(server.url) == BODY
    assert server.ranges == [None, f"bytes={size}-"]


@needs_flock
def test_killed_process_leaves_its_work_to_the_next(server, folder):
    with process_killed_half_way(server, folder):
        pass
    assert names(folder) == ["net.pkl.lock", "net.pkl.partial", "net.pkl.partial.json"]
    with child_process(server.url) as process:
        assert result(process) == BODY
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert [request.sent for request in server.requests] == [HALF, HALF]
    assert names(folder) == ["net.pkl"]


# Terminals and silence


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_bar_of_a_resumed_download_starts_in_the_middle(server, monkeypatch):
    interrupt(server)
    monkeypatch.setattr(sys, "stderr", Terminal())
    util.open_url(server.url).close()
    shown = sys.stderr.getvalue()
    assert re.search(r"\r[^\r]*:  50%[^\r]*625k/1.22M", shown) and "100%" in shown
    assert ":   0%" not in shown


def test_without_a_terminal_a_line_says_where_it_goes_on(server, capfd):
    interrupt(server)
    util.open_url(server.url).close()
    assert capfd.readouterr().err == f"Downloading {server.url} from 625kB on\n"


def test_silent_server_is_asked_again(server, monkeypatch, capfd):
    monkeypatch.setattr(http_stream, "TIMEOUT_SEC", (10, 1))
    server.plan = [Answer(stall=HALF)]
    with util.open_url(server.url) as file:
        assert file.read() == BODY
    assert server.ranges[:2] == [None, f"bytes={HALF}-"]
    assert f"the server sent nothing for 1 s after {HALF} bytes" in capfd.readouterr().err


def test_slow_server_is_given_time(server, monkeypatch):
    monkeypatch.setattr(http_stream, "TIMEOUT_SEC", (10, 1.25))
    server.plan = [Answer(drip_sec=0.3)]
    assert get(server.url) == BODY
    assert len(server.requests) == 1


# Redirects, refusals, pauses


def test_redirects_are_followed_when_resuming_too(server):
    interrupt(server)
    server.plan = [Answer(302, {"Location": "/a"}), Answer(307, {"Location": "/b#c"})]
    assert get(server.url) == BODY
    assert [request.path for request in server.requests] == ["/net.pkl", "/a", "/b"]
    assert server.requests[-1].sent == HALF


def test_redirect_loop_is_final(server, monkeypatch, folder):
    monkeypatch.setattr(http_stream, "MAX_REDIRECTS", 3)
    server.plan = [Answer(302, {"Location": "/net.pkl"})] * 10
    with pytest.raises(OSError, match=r"cannot download .*3 redirects"):
        get(server.url)
    assert len(server.requests) == 4
    assert names(folder) == []


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://host/x", "data:,x"])
def test_redirects_lead_to_web_addresses_only(server, folder, location):
    server.plan = [Answer(302, {"Location": location})]
    with pytest.raises(OSError, match=f"cannot download {server.url}: .*{location[:4]}"):
        get(server.url)
    assert len(server.requests) == 1
    assert names(folder) == []


def test_untrusted_certificate_is_final(server, monkeypatch):
    calls = []

    def refuse(*args, **kwargs):
        calls.append(1)
        raise requests.exceptions.SSLError(ssl.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] no"))

    monkeypatch.setattr(requests.Session, "get", refuse)
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        get(server.url)
    assert calls == [1]


@pytest.mark.parametrize(
    "retry_after, least_sec, most_sec",
    [
        ("7", 7, 7),
        ("99999", 60, 60),
        (email.utils.formatdate(time.time() + 1e6, usegmt=True), 60, 60),
        (email.utils.formatdate(1e9, usegmt=True), 0, 0),
        ("soon", 0, 0),
        ("\xb2", 0, 0),
        ("", 0, 0),
    ],
    ids=["seconds", "bounded", "date", "past", "nonsense", "superscript", "none"],
)
@pytest.mark.parametrize("status", [429, 503])
def test_pause_that_the_server_asks_for(
    server, monkeypatch, status, retry_after, least_sec, most_sec
):
    pauses = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    server.plan = [Answer(status, {"Retry-After": retry_after})]
    assert get(server.url) == BODY
    # The server of this test sleeps as well, for no time.
    assert least_sec <= max(pauses) <= most_sec


def test_date_that_the_server_asks_to_wait_for(server, monkeypatch):
    pauses = []
    monkeypatch.setattr(transfer, "_MAX_RETRY_AFTER_SEC", 1e9)
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    in_a_day = email.utils.formatdate(time.time() + 86400, usegmt=True)
    server.plan = [Answer(503, {"Retry-After": in_a_day})]
    assert get(server.url) == BODY
    assert 86400 - 300 < max(pauses) <= 86400


# Hashes


@pytest.mark.parametrize("fragment", [f"#sha256={SHA256}", f"#SHA256={SHA256.upper()}", "#"])
@pytest.mark.parametrize("cache", [True, False])
def test_fragment_stays_here_and_names_no_other_file(server, folder, fragment, cache):
    assert get(server.url + fragment, cache=cache) == BODY
    assert server.requests[0].path == "/net.pkl"
    if cache:
        assert get(server.url) == BODY
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fragment", ["sha256=", f"sha256={SHA256[1:]}", f"sha256={SHA256[1:]}g", "md5=0", "top", "#"]
)
def test_malformed_fragment_is_refused_by_name(server, fragment):
    with pytest.raises(ValueError, match=f"'#{fragment}'.*64 hexadecimal digits"):
        get(f"{server.url}#{fragment}")
    assert not server.requests


@pytest.mark.parametrize("cache", [True, False])
def test_wrong_hash_is_final_after_a_second_download(server, folder, cache):
    server.body = OTHER_BODY
    found = hashlib.sha256(OTHER_BODY).hexdigest()
    with pytest.raises(OSError, match=f"SHA-256 {found}, expected {SHA256}$") as err:
        get(f"{server.url}#sha256={SHA256}", cache=cache)
    assert "\n" not in str(err.value)
    assert server.ranges == [None, None]
    assert not cache or names(folder) == []


def test_damaged_download_is_repeated(server, folder, capfd):
    server.plan = [Answer(body=OTHER_BODY)]
    with util.open_url(f"{server.url}#sha256={SHA256}", num_attempts=1) as file:
        assert file.read() == BODY
    assert server.ranges == [None, None]
    assert "once more from scratch" in capfd.readouterr().err
    assert names(folder) == ["net.pkl"]


def test_damaged_partial_file_is_noticed(server, folder):
    interrupt(server)
    (path,) = folder.glob("*.partial")
    path.write_bytes(OTHER_BODY[:HALF])
    assert get(f"{server.url}#sha256={SHA256}") == BODY
    assert server.ranges == [f"bytes={HALF}-", None]


def test_cached_file_is_hashed_whatever_a_note_beside_it_says(server, capfd):
    """Earlier versions noted the hash, with the size and the time of the file it belonged to."""
    path = Path(util.open_url(f"{server.url}#sha256={SHA256}", return_filename=True))
    time_ns = path.stat().st_mtime_ns
    path.write_bytes(OTHER_BODY)
    os.utime(path, ns=(time_ns, time_ns))
    note = {"sha256": SHA256, "size": len(OTHER_BODY), "mtime_ns": path.stat().st_mtime_ns}
    path.with_name(f"{path.name}.sha256").write_text(json.dumps(note) + "\n")
    with util.open_url(f"{server.url}#sha256={SHA256}") as file:
        assert file.read() == BODY
    assert "has another SHA-256; downloading it again" in capfd.readouterr().err


def test_cached_file_with_another_hash_makes_room_for_the_right_one_only(server, folder, capfd):
    path = Path(util.open_url(server.url, return_filename=True, verbose=False))
    path.write_bytes(b"damaged")
    server.body = OTHER_BODY
    with pytest.raises(OSError, match=f"expected {SHA256}"):
        get(f"{server.url}#sha256={SHA256}")
    assert path.read_bytes() == b"damaged"  # better than nothing for those who ask for no hash
    server.body = BODY
    with util.open_url(f"{server.url}#sha256={SHA256}") as file:
        assert file.read() == BODY
    assert path.read_bytes() == BODY
    assert "has another SHA-256; downloading it again" in capfd.readouterr().err


# Several at a time


def test_simultaneous_threads_download_once(server, folder):
    server.plan = [Answer(stall=HALF)]
    with ThreadPoolExecutor(6) as pool:
        bodies = [pool.submit(get, server.url) for _ in range(6)]
        wait_for(lambda: server.requests)
        time.sleep(0.2)  # for the others to disturb it, if they can
        server.released.set()
    assert [body.result() for body in bodies] == [BODY] * 6
    assert len(server.requests) == 1
    assert names(folder) == ["net.pkl"]


@needs_flock
def test_simultaneous_processes_download_once(server, folder):
    server.plan = [Answer(stall=HALF)]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(child_process(server.url)) for _ in range(4)]
        assert [process.stdout.readline() for process in processes] == [b"ready\n"] * 4
        time.sleep(0.2)  # for the others to disturb the first, if they can
        server.released.set()
        assert [result(process) for process in processes] == [BODY] * 4
    assert len(server.requests) == 1
    assert names(folder) == ["net.pkl"]


@needs_flock
def test_who_waits_takes_over_from_a_killed_process(server, folder, monkeypatch):
    monkeypatch.setattr(file_lock, "_NOTICE_SEC", 0.0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with ThreadPoolExecutor(1) as pool:
        with process_killed_half_way(server, folder):
            path = pool.submit(util.open_url, server.url, return_filename=True)
            wait_for(lambda: "waiting" in sys.stderr.getvalue())
            assert len(server.requests) == 1
        assert Path(path.result()).read_bytes() == BODY
    assert sys.stderr.getvalue().count("waiting") == 1
    assert [request.sent for request in server.requests] == [HALF, HALF]
    assert names(folder) == ["net.pkl"]


@needs_flock
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_everybody_downloads_alone(server, folder, monkeypatch, number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_lock.fcntl, "flock", refuse)
    server.plan = [Answer(cut=1000)]
    assert get(server.url) == BODY
    assert server.ranges == [None, "bytes=1000-"]
    assert names(folder) == ["net.pkl"]
    server.plan = [Answer(cut=1000)]
    with pytest.raises(OSError, match="1000 bytes"):
        get(f"{server.url}?x", num_attempts=1)
    assert names(folder) == ["net.pkl"]


def test_partial_file_of_another_user_is_left_alone(server, folder, monkeypatch):
    interrupt(server)
    os_open = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("_net.pkl.partial"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return os_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert get(server.url) == BODY
    assert server.ranges == [None]
    assert names(folder) == ["net.pkl", "net.pkl.partial", "net.pkl.partial.json"]


# Disks


def test_cache_folder_that_cannot_be_used_is_told(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"/file/downloads cannot be .*DNNLIB_CACHE_DIR") as err:
        get(server.url)
    assert "\n" not in str(err.value)
    assert not server.requests


def test_read_only_cache_is_told_unless_the_file_is_there(server, folder, monkeypatch):
    assert get(server.url) == BODY
    os_open = os.open

    def refuse(path, flags, *args, **kwargs):
        if str(path).startswith(str(folder)) and flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return os_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "write_text", lambda self, text: refuse(self, os.O_CREAT))
    assert get(server.url) == get(f"{server.url}#sha256={SHA256}") == BODY
    with pytest.raises(OSError, match=r"Read-only file system.*DNNLIB_CACHE_DIR"):
        get(f"{server.url}?x")
    assert len(server.requests) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_cache_folder_without_permission_is_told_unless_the_file_is_there(server, folder):
    assert get(server.url) == BODY
    folder.chmod(0o500)
    try:
        assert get(server.url) == get(f"{server.url}#sha256={SHA256}") == BODY
        with pytest.raises(OSError, match=r"Permission denied.*DNNLIB_CACHE_DIR"):
            get(f"{server.url}?x")
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("when", ["append", "begin", "move_to"])
def test_full_disk_is_told_and_left_as_it_was(server, folder, monkeypatch, when):
    action = getattr(partial_file.PartialFile, when)

    def fill_the_disk(partial, *args):
        if when == "append":
            action(partial, *args)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(partial_file.PartialFile, when, fill_the_disk)
    with pytest.raises(OSError, match=r"no space left.*DNNLIB_CACHE_DIR") as err:
        get(server.url)
    assert "\n" not in str(err.value)
    assert len(server.requests) == 1
    assert names(folder) == []


def test_note_beside_a_partial_file_names_its_version(server, folder):
    interrupt(server)
    (path,) = folder.glob("*.json")
    assert json.loads(path.read_text()) == {"validator": '"1"', "total": len(BODY)}
