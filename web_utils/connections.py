"""Limits on connections, which uvicorn counts but does not end."""

from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from web_utils.asgi import visitor

FIRST_REQUEST_SEC = 10  # until a connection has sent the head of a request
# Visitors through `ssh -L` share an address. A page has one connection, and six while it loads.
MAX_OF_ADDRESS = 200


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection of a visitor, for `uvicorn.Config(http=...)`.

    A connection without a request is closed after a while, and so is one too many of an address.
    Otherwise, one visitor with idle connections would use up `limit_concurrency` for all.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        own = visitor(self.client)
        if sum(visitor(other.client) == own for other in self.connections) > MAX_OF_ADDRESS:
            transport.abort()
            return
        self.loop.call_later(FIRST_REQUEST_SEC, self._close_without_request)

    def _close_without_request(self) -> None:
        # A web socket has got a protocol of its own.
        if self.cycle is None and self.transport.get_protocol() is self:
            self.transport.abort()
