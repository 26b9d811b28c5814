"""The live picture of the page: frames to the browser, input from the browser.

Frames and input have a web socket of their own, because NiceGUI's takes text only and because a
picture must not wait for other messages.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
from nicegui import app, events, ui
from starlette.websockets import WebSocket, WebSocketDisconnect

from dnnlib.text import drawable
from web_utils.frames import FrameStream, Statistic
from web_utils.inputs import DragMove, Event, KeyPress, Pointer, read_events, read_message
from web_utils.overlay import NOTHING, Overlay

BEAT_SEC = 4  # the browser waits three times as long
EM_PIXELS = 15  # of the page; the font size of the window
GONE, REFUSED, REPLACED = 1001, 1008, 4409  # codes of closed sockets

_pictures: WeakValueDictionary[str, "Picture"] = WeakValueDictionary()


class Picture(ui.element, component="picture.js", dependencies=["picture_*.js"]):
    """Shows pictures, which the browser alone zooms and pans, and reports input.

    The wheel zooms at the mouse, the right or middle mouse button or two fingers pan, two fingers
    pinch, and a double click or Ctrl+0 shows the whole picture. The left mouse button or one
    finger is reported.

    Args:
        on_drag: Called with a movement in ems, if the mode is "drag".
        on_pointer: Called with the pointer, if the mode is "points". A press is always followed by
            a release, also when the connection breaks.
        on_key: Called with keys that are pressed anywhere in the page but in inputs.
        kept_keys: Keys that shall not do what the browser does by default, such as `F1`, `Ctrl+S`
            and `Ctrl+Shift+C`.
        quality: Quality of moving pictures, 1 to 100.
    """

    def __init__(
        self,
        *,
        on_drag: Callable[[float, float], Any] | None = None,
        on_pointer: Callable[[Pointer], Any] | None = None,
        on_key: Callable[[KeyPress], Any] | None = None,
        kept_keys: Sequence[str] = (),
        quality: int = 85,
    ) -> None:
        super().__init__()
        self._stream = FrameStream(quality)
        self._on_drag, self._on_pointer, self._on_key = on_drag, on_pointer, on_key
        self._held: Pointer | None = None  # the last event of a button that is down
        self._task: asyncio.Task[None] | None = None  # serves the socket
        self._is_gone = False
        self._token = secrets.token_urlsafe()
        _pictures[self._token] = self
        self._props["socket"] = f"/frames/{self._token}"
        self._props["em"] = EM_PIXELS
        self._props["mode"] = "drag"
        self._props["status"] = ""
        self._props["takes-keys"] = on_key is not None
        self._props["kept-keys"] = list(kept_keys)

    def show(self, image: np.ndarray | None, overlay: Overlay = NOTHING) -> None:
        """Show a picture, see `FrameStream.put`."""
        self._stream.put(image, overlay)

    def set_mode(self, mode: Literal["drag", "points"]) -> None:
        """Choose what the left mouse button is reported as."""
        if self._props["mode"] != mode:
            self._props["mode"] = mode

    def set_status(self, status: str) -> None:
        """Write the line beneath the picture; the browser adds how far it has zoomed in."""
        status = drawable(status)
        if self._props["status"] != status:
            self._props["status"] = status

    @property
    def statistic(self) -> Statistic:
        """What the connection takes."""
        return self._stream.statistic

    async def serve(self, socket: WebSocket) -> None:
        """Serve a browser until its socket closes; it replaces an earlier one."""
        if self._task is not None:
            self._task.cancel()
            self._release()
        self._task = asyncio.current_task()
        receiving = asyncio.create_task(self._receive(socket))
        sending = asyncio.create_task(self._stream.send_to(socket))
        beating = asyncio.create_task(_beat(socket))
        tasks = (receiving, sending, beating)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = next(task for task in tasks if task.done())
            error = ended.exception()
            # A binary message is a KeyError.
            if ended is receiving and isinstance(error, ValueError | KeyError):
                await self._close(socket, REFUSED, str(error))
            elif error is not None and not isinstance(error, WebSocketDisconnect):
                raise error
        except asyncio.CancelledError:
            await self._close(socket, GONE if self._is_gone else REPLACED)
        finally:
            for task in tasks:
                task.cancel()
            if self._task is asyncio.current_task():
                self._task = None
                self._release()

    @staticmethod
    async def _close(socket: WebSocket, code: int, reason: str = "") -> None:
        with suppress(RuntimeError, WebSocketDisconnect):  # it is closed already
            await socket.close(code, reason[:100])

    async def _receive(self, socket: WebSocket) -> None:
        while True:
            await self._take(await socket.receive_text(), socket)

    async def _take(self, text: str, socket: WebSocket) -> None:
        message = read_message(text)
        match message:
            case {"frame": int(number), "step": "begun" | "got" | "drawn" as step}:
                self._stream.acknowledge(number, step)
            case {"events": values}:
                for event in read_events(values, self._stream.size):
                    self._handle(event)
                await socket.send_text('{"taken": true}')
            case _:
                raise ValueError("a message is an answer or has events")

    def _handle(self, event: Event) -> None:
        if isinstance(event, DragMove):
            self._call(self._on_drag, event.dx, event.dy)
        elif isinstance(event, KeyPress):
            self._call(self._on_key, event)
        else:
            self._held = event if event.is_held else None
            self._call(self._on_pointer, event)

    def _release(self) -> None:
        """Release a button whose release did not arrive."""
        if self._held is not None and not self._is_gone:
            self._handle(replace(self._held, is_pressed=False, is_held=False))

    def _call(self, callback: Callable[..., Any] | None, *values: Any) -> None:
        """Call as NiceGUI calls: inside the page, and errors go where its errors go."""
        if callback is not None:
            arguments = events.GenericEventArguments(sender=self, client=self.client, args=values)
            events.handle_event(lambda arguments: callback(*arguments.args), arguments)

    def _handle_delete(self) -> None:
        _pictures.pop(self._token, None)
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()
        super()._handle_delete()


async def _beat(socket: WebSocket) -> None:
    """Send a sign of life, so that the browser notices when nothing arrives any more."""
    while True:
        await asyncio.sleep(BEAT_SEC)
        await socket.send_text("{}")


@app.websocket("/frames/{token}")
async def _frames(socket: WebSocket, token: str) -> None:
    picture = _pictures.get(token)
    if picture is None:
        await socket.close()  # without `accept`, this refuses the socket
        return
    await socket.accept()
    await picture.serve(socket)
