"""Stands before a web application: who may ask, from which page, how much and how often.

The guard knows what visitors send: a token, a `Host`, an `Origin`, bodies and messages. What a
visitor may open is not its business.

Browsers send cookies to all ports of a machine: if a visitor opens a page of another server on the
same machine, that server sees the cookie, and could use it. No server with a cookie can prevent it.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from web_utils import bodies
from web_utils.asgi import (
    Application,
    Message,
    Receive,
    Refusal,
    Scope,
    Send,
    answer,
    header,
    page,
    visitor,
    wants_page,
)
from web_utils.bodies import Bodies
from web_utils.rates import Rate, Rates

TOKEN = "token"  # in `?token=...`
# At once, and a second from then on. A page asks for some sixty files; all visitors through
# `ssh -L` have one address.
REQUESTS = (2000, 200)  # of an address
PAGES = (20, 1)  # of an address; a page takes the server much longer than a file
WRONG_TOKENS = (10, 0.1)  # of an address
ALL_WRONG_TOKENS = (100, 1)
# For `uvicorn.Config`. Its log of requests is not needed, and `X-Forwarded-For` would come from a
# visitor because no proxy stands before the server.
SERVER_SETTINGS: dict[str, Any] = dict(
    access_log=False,
    proxy_headers=False,
    server_header=False,
    log_level="warning",
    limit_concurrency=500,  # connections; many systems allow a process 1024 files
    ws_max_size=bodies.MAX_MESSAGE_BYTES,
    ws_per_message_deflate=False,  # frames are files that are compressed already
    timeout_graceful_shutdown=2,  # seconds; sockets of open pages would hold up Ctrl-C
)

# NiceGUI's page has scripts in its text, and evaluates code that comes over its socket. All else
# comes from this server, and nothing goes to another.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "object-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": _POLICY.encode(),
    b"cache-control": b"no-store",
}
# The script repeats nothing that a visitor has sent, as a redirection would; the fragment stays.
_ENTER = (
    "const address = new URL(location.href);"
    f'address.searchParams.delete("{TOKEN}");'
    "location.replace(address.href);"
)
_ENTER_HASH = base64.b64encode(hashlib.sha256(_ENTER.encode()).digest()).decode()
_ENTER_POLICY = f"default-src 'none'; script-src 'sha256-{_ENTER_HASH}'; frame-ancestors 'none'"
_LOOPBACK_HOST = re.compile(
    r"(localhost|([a-z0-9-]+\.)+localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.ASCII
)


class Guard:
    """An ASGI application that passes on what is allowed. Wrap it around everything else.

    With a token, a browser shows the token once, in the address of the page, and then has a cookie;
    a script may show it with each request. Without a token, the server must be bound to the
    loopback, and only names of the loopback are accepted in `Host`: any page on the internet could
    otherwise point a name of its own at 127.0.0.1 and ask from there (DNS rebinding).

    The pages of other servers are kept out by `Origin` and `Sec-Fetch-Site`. The token is removed
    from the scope, in place: servers log the address from there.

    Args:
        app: The application. NiceGUI looks for it under this name.
        token: What visitors have to know; None on the loopback.
        max_upload_bytes: Largest file that may be uploaded; 0 for none.
        clock: Time in seconds.
    """

    def __init__(
        self,
        app: Application,
        *,
        token: str | None,
        max_upload_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._token = None if token is None else token.encode()
        self._cookie = secrets.token_urlsafe(32).encode()  # tells nothing of the token
        self._clock = clock
        self._bodies = Bodies(max_upload_bytes)
        self._requests = Rates(*REQUESTS, clock)
        self._pages = Rates(*PAGES, clock)
        self._wrong_tokens = Rates(*WRONG_TOKENS, clock)
        self._all_wrong_tokens = Rate(*ALL_WRONG_TOKENS, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or a web socket, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        tokens = _take_tokens(scope)
        send = _with_headers(send)
        try:
            self._check(scope, tokens)
        except Refusal as refusal:
            await refusal.send(scope, send)
            return
        if scope["type"] == "websocket":
            await bodies.pass_messages(self.app, scope, receive, send, self._clock)
        elif self._token is not None and tokens and scope["method"] == "GET" and wants_page(scope):
            await self._enter(scope, send)
        elif (wait_sec := self._wait_for_page(scope)) > 0:
            message = "Too many pages at once: load this one later."
            await Refusal(429, message, wait_sec).send(scope, send)
        else:
            await self._bodies.pass_on(self.app, scope, receive, send)

    def _check(self, scope: Scope, tokens: list[bytes]) -> None:
        address = visitor(scope.get("client"))
        if (wait_sec := self._requests.take(address)) > 0:
            raise Refusal(429, "Too many requests.", wait_sec)
        host = header(scope, b"host").lower()
        if self._token is None and not _LOOPBACK_HOST.fullmatch(host):
            raise Refusal(
                403,
                "Without a token, this server can be reached as localhost only. To reach it under "
                "another name, start it with --token and open the link that it prints.",
            )
        _check_site(scope, host, needs_origin=self._token is None)
        if self._token is not None and not self._has_cookie(scope, host):
            self._check_tokens(tokens, self._token, address)

    def _wait_for_page(self, scope: Scope) -> float:
        """Count a request for the page; seconds until the page may be asked for."""
        return self._pages.take(visitor(scope.get("client"))) if scope["path"] == "/" else 0.0

    def _has_cookie(self, scope: Scope, host: str) -> bool:
        name = _cookie_name(host)
        for pair in re.split("[;,]", header(scope, b"cookie")):
            key, _, value = pair.strip().partition("=")
            if key == name and hmac.compare_digest(value.encode(), self._cookie):
                return True
        return False

    def _check_tokens(self, tokens: list[bytes], expected: bytes, address: str) -> None:
        if not tokens:
            raise Refusal(
                403, "This server asks for a token: open the whole link that it has printed."
            )
        # One try a request. Whoever has the token does not wait because of others who guess.
        if len(tokens) == 1 and hmac.compare_digest(tokens[0], expected):
            return
        wait_sec = max(self._wrong_tokens.take(address), self._all_wrong_tokens.take())
        if wait_sec > 0:
            raise Refusal(429, "Too many wrong tokens.", wait_sec)
        raise Refusal(
            403,
            "This is not the token of this server, which makes a new one whenever it starts: "
            "open the link that it has printed last.",
        )

    async def _enter(self, scope: Scope, send: Send) -> None:
        """Set the cookie, and take the token out of the address of the page."""
        name = _cookie_name(header(scope, b"host").lower())
        # Links on other sites lead to a view, too; `_check_site` admits nothing else from there.
        cookie = f"{name}={self._cookie.decode()}; HttpOnly; SameSite=Lax; Path=/"
        headers = {
            b"content-type": b"text/html; charset=utf-8",
            b"content-security-policy": _ENTER_POLICY.encode(),
            b"set-cookie": cookie.encode(),
        }
        content = f"<script>{_ENTER}</script><noscript>This page needs JavaScript.</noscript>"
        await answer(send, 200, page("One moment", content), headers)


def _check_site(scope: Scope, host: str, needs_origin: bool) -> None:
    """Refuse what the pages of other servers ask for; they may only link to a page."""
    refusal = Refusal(403, "Only pages of this server may ask for this.")
    origin = header(scope, b"origin").lower()
    if origin:
        scheme, _, origin_host = origin.partition("://")
        if scheme not in ("http", "https") or not host or origin_host != host:
            raise refusal
    elif scope["type"] == "websocket" and needs_origin:
        raise refusal
    if header(scope, b"sec-fetch-site") in ("cross-site", "same-site"):
        asked = (header(scope, b"sec-fetch-mode"), header(scope, b"sec-fetch-dest"))
        if asked != ("navigate", "document") or scope.get("method") != "GET":
            raise refusal


def _take_tokens(scope: Scope) -> list[bytes]:
    """Remove the tokens from the address, and return them."""
    tokens, rest = [], []
    for piece in scope["query_string"].split(b"&"):
        name, _, value = piece.partition(b"=")
        if urllib.parse.unquote_plus(name.decode("latin-1")) == TOKEN:
            tokens.append(urllib.parse.unquote_to_bytes(value))
        else:
            rest.append(piece)
    scope["query_string"] = b"&".join(rest)
    return tokens


def _cookie_name(host: str) -> str:
    """A name for each port that browsers see, which `ssh -L` may have changed."""
    port = re.search(r":(\d{1,5})$", host, re.ASCII)
    return f"{TOKEN}-{port[1] if port else 80}"


def _with_headers(send: Send) -> Send:
    """Add headers to answers that lack them."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            missing = [pair for pair in _HEADERS.items() if pair[0] not in names]
            message = {**message, "headers": [*given, *missing]}
        await send(message)

    return send_with_headers
