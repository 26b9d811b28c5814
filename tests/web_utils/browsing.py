"""Asks an ASGI application as a browser or an attacker would, without a network."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

PAGE = {"accept": "text/html,*/*", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@dataclass
class Answer:
    """What came back: the status of HTTP, or the code with which a web socket was closed."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: list[dict] = field(default_factory=list)
    scope: dict = field(default_factory=dict)


def ask(
    app,
    url: str = "/",
    method: str = "GET",
    body: Iterable[bytes] = (),
    client: str = "127.0.0.1",
    **headers: str,
) -> Answer:
    """A request; an underscore in the name of a header stands for a hyphen."""
    path, _, query = url.partition("?")
    headers = {"host": "localhost:8080", **{k.replace("_", "-"): v for k, v in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items() if v is not None],
        "client": (client, 5000),
    }
    parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    return _run(app, scope, [*parts, {"type": "http.request", "body": b""}])


def connect(app, url: str = "/", messages: Iterable[str | bytes] = (), **headers: str) -> Answer:
    """A web socket that sends some messages."""
    path, _, query = url.partition("?")
    headers = {"host": "localhost:8080", **headers}
    scope = {
        "type": "websocket",
        "path": path,
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 5000),
    }
    incoming = [{"type": "websocket.connect"}]
    for message in messages:
        kind = "text" if isinstance(message, str) else "bytes"
        incoming.append({"type": "websocket.receive", kind: message})
    return _run(app, scope, [*incoming, {"type": "websocket.disconnect", "code": 1000}])


def _run(app, scope: dict, incoming: list[dict]) -> Answer:
    answer = Answer(scope=scope)
    waiting = iter(incoming)

    async def receive() -> dict:
        return next(waiting)

    async def send(message: dict) -> None:
        answer.sent.append(message)
        if message["type"] == "http.response.start":
            assert answer.status is None, "two answers"
            answer.status = message["status"]
            answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
        elif message["type"] == "websocket.close":
            answer.status = message["code"]

    asyncio.run(app(scope, receive, send))
    return answer


class Application:
    """Reads everything, and remembers what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[dict] = []
        self.received: list[dict] = []

    async def __call__(self, scope, receive, send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                self.received.append(message)
            return
        while True:
            message = await receive()
            self.received.append(message)
            if message["type"] == "http.disconnect":
                raise RuntimeError("the visitor is gone")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})
