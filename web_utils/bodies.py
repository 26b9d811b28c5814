"""Limits on what visitors send: bodies of requests, uploads among them, and messages of sockets."""

import asyncio
import re
import time
from collections.abc import Callable

from web_utils.asgi import Application, Message, Receive, Refusal, Scope, Send, header
from web_utils.rates import Rate

MAX_BODY_BYTES = 2**20  # of a request that uploads no file; socket.io takes no more either
MAX_MESSAGE_BYTES = 2**20  # of a web socket, likewise
FORM_BYTES = 2**16  # what a form adds to the file in it
MESSAGES = (1000, 300)  # at once, and a second from then on; a drag sends one for each frame
UPLOAD_PATH = re.compile(r"/_nicegui/client/[^/]+/upload/\d+")


class Bodies:
    """Passes requests on, but ends one whose body grows too large.

    The form of an upload goes to a temporary file while it comes in, so the limit ends it early.

    Args:
        max_upload_bytes: Largest file; 0 for none. All uploads that run at the same time may have
            twice as much.
    """

    def __init__(self, max_upload_bytes: int) -> None:
        self._max_upload_bytes = max_upload_bytes
        self._running_bytes = 0  # of all uploads that run now

    async def pass_on(self, app: Application, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer a request, or refuse it."""
        is_upload = UPLOAD_PATH.fullmatch(scope["path"]) is not None and self._max_upload_bytes > 0
        limit = self._max_upload_bytes + FORM_BYTES if is_upload else MAX_BODY_BYTES
        too_large = Refusal(
            413, f"This request is larger than {limit / 2**20:.0f} MB, the limit of this server."
        )
        announced = header(scope, b"content-length")
        if announced.isdecimal() and int(announced) > limit:
            await too_large.send(scope, send)
            return
        num_bytes = 0
        is_refused = is_answered = False

        async def refuse(refusal: Refusal) -> Message:
            nonlocal is_refused
            is_refused = True
            if not is_answered:
                await refusal.send(scope, send)
            return {"type": "http.disconnect"}

        async def receive_part() -> Message:
            nonlocal num_bytes
            message = {"type": "http.disconnect"} if is_refused else await receive()
            if message["type"] != "http.request":
                return message
            size = len(message.get("body", b""))
            num_bytes += size
            self._running_bytes += size if is_upload else 0
            if num_bytes > limit:
                return await refuse(too_large)
            if is_upload and self._running_bytes > 2 * limit:
                return await refuse(Refusal(503, "Other uploads are running.", 10))
            return message

        async def send_part(message: Message) -> None:
            nonlocal is_answered
            if not is_refused:
                is_answered = True
                await send(message)

        try:
            await app(scope, receive_part, send_part)
        except Exception:
            if not is_refused:  # otherwise the application only misses its visitor
                raise
        finally:
            self._running_bytes -= num_bytes if is_upload else 0


async def pass_messages(
    app: Application,
    scope: Scope,
    receive: Receive,
    send: Send,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Let the application talk over a web socket; close it if a message is too large.

    A visitor who sends too many messages has to wait: they are not taken from the connection.
    """
    rate = Rate(*MESSAGES, clock)
    is_closed = False

    async def receive_message() -> Message:
        nonlocal is_closed
        message = await receive()
        if message["type"] != "websocket.receive":
            return message
        if len(message.get("bytes") or message.get("text") or "") > MAX_MESSAGE_BYTES:
            is_closed = True
            await send({"type": "websocket.close", "code": 1009, "reason": "message too large"})
            return {"type": "websocket.disconnect", "code": 1009}
        while (wait_sec := rate.take()) > 0:
            await asyncio.sleep(wait_sec)
        return message

    async def send_message(message: Message) -> None:
        if not is_closed:
            await send(message)

    await app(scope, receive_message, send_message)
