"""Requests and answers of ASGI, for what stands before an application."""

import html
import ipaddress
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><p>{content}</p></body></html>
"""


class Refusal(Exception):
    """What a visitor gets in place of an answer.

    Args:
        status: Status of HTTP.
        message: What is wrong, and what to do, in one line.
        wait_sec: When to try again; 0 for no hint.
    """

    def __init__(self, status: int, message: str, wait_sec: float = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.wait_sec = wait_sec

    async def send(self, scope: Scope, send: Send) -> None:
        """Send it: as a page if the visitor wants one, as a line of text otherwise."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": self.message[:100]})
            return
        # The rest of a body is not waited for.
        headers = {b"connection": b"close"}
        text, wait_sec = self.message, math.ceil(self.wait_sec)
        if wait_sec > 0:
            headers[b"retry-after"] = str(wait_sec).encode()
            text = f"{text} Try again in {wait_sec} s."
        if wants_page(scope):
            headers[b"content-type"] = b"text/html; charset=utf-8"
            headers[b"content-security-policy"] = b"default-src 'none'; frame-ancestors 'none'"
            text = page("Refused", html.escape(text))
        else:
            headers[b"content-type"] = b"text/plain; charset=utf-8"
        await answer(send, self.status, text, headers)


def header(scope: Scope, name: bytes) -> str:
    """The value of a header; empty if there is none; joined by a comma if there are several."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def wants_page(scope: Scope) -> bool:
    """Whether a browser asks for a page, rather than for a part of one."""
    return scope["type"] == "http" and "text/html" in header(scope, b"accept")


def page(title: str, content: str) -> str:
    """A small page of HTML."""
    return _PAGE.format(title=title, content=content)


async def answer(send: Send, status: int, text: str, headers: Mapping[bytes, bytes]) -> None:
    """Send a whole answer."""
    body = text.encode()
    pairs = [*headers.items(), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def visitor(client: Sequence[Any] | None) -> str:
    """Whose a connection is: its address; in IPv6 the network, which belongs to one visitor.

    Args:
        client: Address and port, as in a scope.
    """
    if not client:
        return ""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0]
    if address.version == 4 or address.ipv4_mapped is not None:
        return str(getattr(address, "ipv4_mapped", None) or address)
    return str(ipaddress.ip_network((address, 64), strict=False))
