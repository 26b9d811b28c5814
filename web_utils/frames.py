"""Sends a browser the newest picture as fast as the browser takes pictures, and no faster.

The browser answers to each frame: "begun" when it has the header, a short text; "got" for each
piece of the files; "drawn" when the frame is on screen. The time from "begun" to "drawn" is what
the size of the frame costs, because a long way to the browser delays both alike. The pieces let a
large exact picture give way as soon as the picture moves again.
"""

import asyncio
import json
import math
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from web_utils import encoding
from web_utils.overlay import NOTHING, SHADE, Overlay
from web_utils.pace import Pace

REST_SEC = 0.25  # a picture without a successor for so long rests, and is sent exactly
MAX_IN_FLIGHT = 2  # frames on their way: the next one is encoded while the last one travels
PIECE_BYTES = 65536
MAX_PIECES = 4  # of an exact picture on their way
STATISTIC_SEC = 2.0  # time over which frames are averaged


Step = Literal["begun", "got", "drawn"]


class Connection(Protocol):
    """The way to one browser; `starlette.websockets.WebSocket` is one."""

    async def send_text(self, data: str) -> None:
        """Send a text message."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""


@dataclass(frozen=True)
class Statistic:
    """Averages over the last seconds; all are zero if nothing was drawn.

    Attributes:
        frames_per_sec: Frames that the browser has drawn.
        answer_ms: Time from sending a frame to the answer that it is drawn.
        kb_per_frame: Size, in thousands of bytes.
        quality: Quality of the next moving picture, 1 to 100.
        reduction: Divisor for its width and height.
    """

    frames_per_sec: float
    answer_ms: float
    kb_per_frame: float
    quality: int
    reduction: int


@dataclass(frozen=True, eq=False)
class _Picture:
    """A picture of the stream, and when its pixels came; the overlay may be newer."""

    image: np.ndarray | None
    overlay: Overlay
    sec: float


@dataclass
class _Frame:
    """A frame on its way."""

    is_moving: bool  # it has a file with loss
    num_bytes: int
    sent_sec: float
    begun_sec: float = math.nan
    num_got: int = 0  # pieces


@dataclass
class _Browser:
    """What a browser has been sent."""

    picture: _Picture | None = None
    is_exact: bool = True
    frame_number: int = 0
    in_flight: dict[int, _Frame] = field(default_factory=dict)


class FrameStream:
    """The newest picture, and its way to the browser. All methods belong to one event loop.

    Args:
        quality: Quality of moving pictures, 1 to 100.
    """

    def __init__(self, quality: int = 85) -> None:
        if not 1 <= quality <= 100:
            raise ValueError(f"FrameStream: `quality` is from 1 to 100, got {quality}")
        self._pace = Pace(quality)
        self._picture: _Picture | None = None
        self._browser = _Browser()
        self._wake = asyncio.Event()
        self._drawn: deque[tuple[float, float, int]] = deque()  # time, seconds, bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the newest picture; (0, 0) without a picture."""
        if self._picture is None or self._picture.image is None:
            return (0, 0)
        height, width, _ = self._picture.image.shape
        return width, height

    @property
    def statistic(self) -> Statistic:
        """What happened in the last seconds."""
        self._forget()
        count = max(len(self._drawn), 1)
        answer_sec = sum(sec for _, sec, _ in self._drawn) / count
        num_bytes = sum(size for _, _, size in self._drawn) / count
        return Statistic(
            len(self._drawn) / STATISTIC_SEC,
            answer_sec * 1e3,
            num_bytes / 1e3,
            self._pace.quality,
            self._pace.reduction,
        )

    def put(self, image: np.ndarray | None, overlay: Overlay = NOTHING) -> None:
        """Show a picture; one that was not sent yet is dropped.

        Args:
            image: uint8 `[H, W, C]` with 1 (grey), 3 or 4 channels, or None for none. The arrays
                must not change afterwards. If the same array comes again, only what is drawn over
                the picture is sent, and nothing if this is the same, too.
            overlay: What is drawn over the picture.

        Raises:
            ValueError: If an array is no picture.
        """
        for array in (image, overlay.target):
            if array is not None:
                encoding.check(array)
        last, sec = self._picture, time.monotonic()
        if last is not None and last.image is image:
            if overlay.is_same(last.overlay):
                return
            sec = last.sec
        self._picture = _Picture(image, overlay, sec)
        self._wake.set()

    def acknowledge(self, number: int, step: Step) -> None:
        """Take an answer to a frame. An answer that is late, to a lost connection, changes nothing.

        Args:
            number: Number of the frame.
            step: What the browser has done.
        """
        frame = self._browser.in_flight.get(number)
        if frame is None:
            return
        now = time.monotonic()
        if step == "begun":
            frame.begun_sec = now
            return
        if step == "got":
            frame.num_got += 1
        else:
            del self._browser.in_flight[number]
            self._drawn.append((now, now - frame.sent_sec, frame.num_bytes))
            self._forget()
            if frame.is_moving and not math.isnan(frame.begun_sec):
                self._pace.add(now - frame.begun_sec)
        self._wake.set()

    async def send_to(self, connection: Connection) -> None:
        """Send frames to a browser that has none yet, until the task is cancelled."""
        browser = self._browser = _Browser()
        while True:
            self._wake.clear()
            wait_sec = self._pause(browser)
            if wait_sec > 0:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(
                        self._wake.wait(), None if math.isinf(wait_sec) else wait_sec
                    )
                continue
            await self._send(connection, browser)

    def _pause(self, browser: _Browser) -> float:
        """Seconds until there is something to send, if nothing new happens."""
        picture = self._picture
        if picture is None or len(browser.in_flight) >= MAX_IN_FLIGHT:
            return math.inf
        if browser.picture is not picture:
            return 0
        return math.inf if browser.is_exact else picture.sec + REST_SEC - time.monotonic()

    async def _send(self, connection: Connection, browser: _Browser) -> None:
        """Send the newest picture, or once more and exactly the picture that the browser has."""
        picture, last = self._picture, browser.picture
        assert picture is not None
        is_resting = last is picture
        is_exact = picture.image is None or browser.is_exact
        files: dict[str, tuple[bytes, str]] = {}
        if picture.image is not None and (
            is_resting or last is None or last.image is not picture.image
        ):
            is_exact = is_resting or encoding.is_small(picture.image)
            files["image"] = await self._encoded(picture.image, is_exact)
            if is_resting and self._picture is not picture:
                return  # it moves again
        overlay, before = picture.overlay, NOTHING if last is None else last.overlay
        if overlay.target is not None and overlay.target is not before.target:
            files["target"] = await asyncio.to_thread(encoding.exact, overlay.target)
        if overlay.mask is not None and overlay.mask is not before.mask:
            files["mask"] = await asyncio.to_thread(encoding.shade, overlay.mask, SHADE)
        browser.picture, browser.is_exact = picture, is_exact
        browser.frame_number += 1
        number, is_moving = browser.frame_number, "image" in files and not is_exact
        num_bytes = sum(len(data) for data, _ in files.values())
        frame = browser.in_flight[number] = _Frame(is_moving, num_bytes, time.monotonic())
        await connection.send_text(json.dumps(_header(number, picture, files, is_exact)))
        pieces = [piece for data, _ in files.values() for piece in _pieces(data)]
        for count, piece in enumerate(pieces):
            if is_resting and not await self._has_room(frame, count, picture):
                # It moves again. The next header makes the browser drop the pieces.
                del browser.in_flight[number]
                browser.is_exact = False
                return
            await connection.send_bytes(piece)

    async def _has_room(self, frame: _Frame, num_sent: int, picture: _Picture) -> bool:
        """Wait until few pieces are on their way; false if the picture is not the newest then."""
        while num_sent - frame.num_got >= MAX_PIECES:
            self._wake.clear()
            if self._picture is not picture:
                return False
            await self._wake.wait()
        return True

    async def _encoded(self, image: np.ndarray, is_exact: bool) -> tuple[bytes, str]:
        """The file of a picture; other messages are handled in the meantime."""
        if is_exact:
            return await asyncio.to_thread(encoding.exact, image)
        pace = self._pace
        return await asyncio.to_thread(encoding.moving, image, pace.quality, pace.reduction)

    def _forget(self) -> None:
        """Drop old frames of the statistic."""
        while self._drawn and self._drawn[0][0] < time.monotonic() - STATISTIC_SEC:
            self._drawn.popleft()


def _header(
    number: int, picture: _Picture, files: dict[str, tuple[bytes, str]], is_exact: bool
) -> dict[str, Any]:
    """What comes before the files of a frame; what `has` names and `files` does not is kept."""
    image, overlay = picture.image, picture.overlay
    arrays = {"image": image, "target": overlay.target, "mask": overlay.mask}
    return {
        "number": number,
        "size": [0, 0] if image is None else [image.shape[1], image.shape[0]],
        "isExact": is_exact,
        "has": [name for name, array in arrays.items() if array is not None],
        "files": [
            {"name": name, "type": kind, "numPieces": len(_pieces(data))}
            for name, (data, kind) in files.items()
        ],
        "overlay": overlay.to_json(),
    }


def _pieces(data: bytes) -> list[bytes]:
    return [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
