"""A web server for tests, on this machine, that answers as it is told."""

import contextlib
import dataclasses
import email.utils
import http.server
import re
import threading
import time

from dnnlib import file_lock, transfer

BODY = bytes(range(256)) * 5000


@dataclasses.dataclass
class Answer:
    """How the server reacts to one request; by default as a good server does."""

    status: int = 200
    headers: dict[str, str | None] = dataclasses.field(default_factory=dict)  # None: without it
    body: bytes | None = None  # None: `server.body`
    cut: int | None = None  # close the connection after so many bytes
    stall: int | None = None  # after so many bytes, wait for `server.released`, then go on
    drip_sec: float = 0.0  # before each fifth of the body
    has_ranges: bool = True
    has_length: bool = True  # False: chunked
    is_framed: bool = True  # False: neither; the body ends with the connection
    obeys_if_range: bool = True
    partial_headers: dict[str, str | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None
    sent: int = 0  # bytes of the body


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by `server.plan`, well when that is exhausted; `server.requests` notes all."""

    def do_GET(self):
        server = self.server
        request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
        with server.lock:
            server.requests.append(request)
            answer = server.plan.pop(0) if server.plan else Answer()
        status = answer.status
        body = server.body if answer.body is None else answer.body
        headers = {**server.headers, **answer.headers}
        validator = headers.get("ETag", headers.get("Last-Modified"))
        is_same = request.if_range == validator or not answer.obeys_if_range
        if status == 200 and request.range and answer.has_ranges and is_same:
            first, total = int(re.fullmatch(r"bytes=(\d+)-", request.range)[1]), len(body)
            headers["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
            headers.update(answer.partial_headers)
            status, body = 206, body[first:]
        if status >= 300:
            body = b""
        headers |= self.framing(answer, body)
        headers = {name: value for name, value in headers.items() if value is not None}
        self.send_response_only(status)
        for name, value in {"Date": email.utils.formatdate(usegmt=True), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.send_body(request, answer, body)

    def framing(self, answer, body):
        if not answer.is_framed:
            return {}
        if answer.has_length:
            return {"Content-Length": str(len(body))}
        return {"Transfer-Encoding": "chunked"}

    def send_body(self, request, answer, body):
        stop = len(body) if answer.cut is None else answer.cut
        step = len(body) // 5 if answer.drip_sec else answer.stall or max(len(body), 1)
        for start in range(0, stop, step):
            if answer.stall and start:
                self.server.released.wait(60)
            time.sleep(answer.drip_sec)
            data = body[start : min(start + step, stop)]
            self.wfile.write(data if answer.has_length else b"%x\r\n%b\r\n" % (len(data), data))
            request.sent += len(data)
        if not answer.has_length and stop == len(body):
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/net.pkl"
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.body, self.headers = BODY, {"ETag": '"1"'}
        self.plan: list[Answer] = []
        self.requests: list[Request] = []

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests

    @property
    def ranges(self):
        return [request.range for request in self.requests]


def connect_at_once(monkeypatch):
    """No proxies, and no pauses between attempts."""
    monkeypatch.setattr(transfer, "_FIRST_DELAY_SEC", 0.0)
    monkeypatch.setattr(file_lock, "_POLL_SEC", 0.02)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@contextlib.contextmanager
def running(monkeypatch):
    """A server at `server.url`, and no pauses between attempts."""
    connect_at_once(monkeypatch)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
