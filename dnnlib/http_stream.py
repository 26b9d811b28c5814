"""Read responses of web servers in a thread, so that no server can block the process.

The timeout of a socket starts again with every byte. A server that sends one byte now and then,
within headers, between chunks or in the body, never exceeds it. Here only the thread waits for
such a server; the caller, who waits for the thread, gives up in time.
"""

import contextlib
import http.client
import queue
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import requests
import urllib3

from dnnlib.errors import InputError
from dnnlib.text import printable

TIMEOUT_SEC = (10, 60)  # to connect; between two packets
ANSWER_SEC = 120.0  # until all headers have arrived, including those of redirects
PACE_SEC = 60.0  # period over which the speed of a body is measured
LEAST_BYTES_PER_SEC = 1000  # half the speed of the slowest modems
MAX_REDIRECTS = 20
_CHUNK_BYTES = 1 << 15  # at most this much is taken from the network at once
_NUM_CHUNKS = 16  # that may be queued for writing
_POLL_SEC = 1.0


class TransientError(Exception):
    """A failure that may not happen again at the next attempt.

    Attributes:
        delay_sec: Pause that the server asks for.
    """

    def __init__(self, message: str, delay_sec: float = 0.0):
        super().__init__(message)
        self.delay_sec = delay_sec


class StalledError(TransientError):
    """The server keeps the connection, but sends nothing or almost nothing."""


class Answer:
    """Status, headers and, once, the body."""

    def __init__(self, response: requests.Response, items: Iterator[bytes]):
        self.status_code = response.status_code
        self.reason = printable(response.reason or "")
        self.headers: Mapping[str, str] = response.headers
        self._items = items

    def chunks(self) -> Iterator[bytes]:
        """The body in chunks as it arrives; nothing is decompressed.

        Raises:
            StalledError: If the server is slower than `LEAST_BYTES_PER_SEC`.
            TransientError: If the connection breaks.
        """
        return self._items


@contextlib.contextmanager
def get(url: str, headers: dict[str, str]) -> Iterator[Answer]:
    """Ask for an address. The body may be left unread.

    Raises:
        OSError: If the address, or an address that it redirects to, cannot be used at all.
        TransientError: If no answer arrives; `StalledError` if the server takes too long.
    """
    exchange = _Exchange(url, headers)
    try:
        yield exchange.answer()
    finally:
        exchange.is_abandoned.set()


class _Exchange:
    """One request, and the thread that waits for the answer."""

    def __init__(self, url: str, headers: dict[str, str]):
        self.is_abandoned = threading.Event()
        self._items: queue.Queue = queue.Queue(_NUM_CHUNKS)  # the response, the body, its end
        # A daemon thread: the process can end while the thread waits for a slow server.
        threading.Thread(target=self._talk, args=(url, headers), daemon=True).start()

    def answer(self) -> Answer:
        deadline = time.monotonic() + ANSWER_SEC
        while (item := self._next()) is None:
            if time.monotonic() >= deadline:
                raise StalledError(f"the server did not answer within {ANSWER_SEC:g} s")
        return Answer(item, self._body())

    def _body(self) -> Iterator[bytes]:
        start, num_bytes = time.monotonic(), 0
        while (chunk := self._next()) != b"":
            if chunk is not None:
                yield chunk
                num_bytes += len(chunk)
            now = time.monotonic()
            if now - start >= PACE_SEC:
                if num_bytes < LEAST_BYTES_PER_SEC * (now - start):
                    raise StalledError(
                        f"the server sent only {num_bytes} bytes in {now - start:.0f} s"
                    )
                start, num_bytes = now, 0

    def _next(self) -> requests.Response | bytes | None:
        """The next item that has arrived; `None` if none arrived for a while, `b""` at the end."""
        try:
            # In short steps: on Windows, Ctrl-C cannot interrupt a longer wait.
            item = self._items.get(timeout=_POLL_SEC)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def _talk(self, url: str, headers: dict[str, str]) -> None:
        try:
            with _ask(url, headers) as response:
                self._put(response)
                # read1 returns the bytes that have arrived; read would lose them if the rest does
                # not come. urllib3 before 2 has only read.
                read = getattr(response.raw, "read1", response.raw.read)
                while chunk := read(_CHUNK_BYTES, decode_content=False):
                    self._put(chunk)
                self._put(b"")
        except _AbandonedError:
            return
        except Exception as error:
            with contextlib.suppress(_AbandonedError):
                self._put(_explained(url, error))

    def _put(self, item: requests.Response | bytes | Exception) -> None:
        while not self.is_abandoned.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=_POLL_SEC)
                return
        raise _AbandonedError


class _AbandonedError(Exception):
    """The caller no longer waits for the answer."""


class _Session(requests.Session):
    """Follows no redirects: requests would read their bodies, however long they are."""

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[requests.Response]:
        return iter(())


class _RedirectError(requests.exceptions.TooManyRedirects):
    """A server redirects without end."""


def _ask(url: str, headers: dict[str, str]) -> requests.Response:
    with _Session() as session:
        for _ in range(MAX_REDIRECTS + 1):
            response = session.get(url, stream=True, timeout=TIMEOUT_SEC, headers=headers)
            target = session.get_redirect_target(response)
            if target is None:
                return response
            response.close()
            source, url = response.url, urllib.parse.urljoin(response.url, target)
            if source.startswith("https:") and url.startswith("http:"):
                raise InputError(f"{source} leads to {url}, which anybody on the way can change")
    raise _RedirectError(f"more than {MAX_REDIRECTS} redirects")


def _explained(url: str, error: Exception) -> Exception:
    """The exception to raise for an error in the network."""
    # A ValueError is a bad address, perhaps one that a server redirects to, such as file:.
    is_final = isinstance(error, ValueError | _RedirectError)
    if is_final or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return _caused_by(error, OSError(f"cannot download {url}: {_one_line(error)}"))
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return TransientError(f"no connection within {TIMEOUT_SEC[0]:g} s")
    if isinstance(error, requests.exceptions.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return StalledError(f"the server sent nothing for {TIMEOUT_SEC[1]:g} s")
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return _caused_by(error, TransientError("the connection broke"))
    if no_connection := _without_connection(url, error):
        return _caused_by(error, TransientError(no_connection))
    network_errors = (
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        OSError,
    )
    if isinstance(error, network_errors):
        text = f"{type(error).__name__}: {_one_line(error)}"
        return _caused_by(error, TransientError(text))
    return error


def _without_connection(url: str, error: Exception) -> str | None:
    """Why the connection failed; `None` if `error` says something else."""
    inner = getattr(error.args[0], "reason", None) if error.args else None
    if not isinstance(inner, urllib3.exceptions.NewConnectionError):
        return None
    # A redirect may have led to another server.
    address = getattr(getattr(error, "request", None), "url", None) or url
    host = printable(urllib.parse.urlsplit(address).hostname or address)
    cause = inner.__cause__ or inner.__context__
    if isinstance(cause, socket.gaierror):
        return f"no server is known as {host} (no network, or a misspelt name)"
    detail = getattr(cause, "strerror", None)
    return f"no connection to {host}" + (f" ({detail})" if detail else "")


def _caused_by(cause: Exception, error: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _one_line(error: Exception) -> str:
    return printable(" ".join(str(error).split()))
