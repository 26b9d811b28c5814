"""A renderer that takes its time, in place of a network that does."""

import threading
from collections.abc import Callable

import numpy as np

from viz.renderer import LayerInfo, NetworkInfo, Result, View

INFO = NetworkInfo(16, 3, 8, 0, 6, has_transform=True, has_noise=False)


class SlowRenderer:
    """As `AsyncRenderer`; the picture's grey level tells how often it has been asked.

    Args:
        render_sec: How long each picture takes.
        wake: Called from another thread when there is one.
        options: Ignored.
    """

    def __init__(
        self, *options, wake: Callable[[], None] = lambda: None, render_sec: float = 0.2
    ) -> None:
        self.wake = wake
        self.render_sec = render_sec
        self.status: str | None = None
        self.rendered: list[View] = []
        self.pid = None
        self._lock = threading.Lock()
        self._rendering: View | None = None
        self._waiting: View | None = None
        self._result: Result | None = None

    @property
    def is_busy(self) -> bool:
        return self._rendering is not None

    def submit(self, view: View) -> None:
        with self._lock:
            if self._rendering is None:
                self._start(view)
            else:
                self._waiting = view

    def poll(self) -> Result | None:
        with self._lock:
            result, self._result = self._result, None
        return result

    def close(self) -> None:
        self.wake = lambda: None

    def _start(self, view: View) -> None:
        self._rendering = view
        timer = threading.Timer(self.render_sec, self._finish)
        timer.daemon = True
        timer.start()

    def _finish(self) -> None:
        with self._lock:
            self.rendered.append(self._rendering)
            image = np.full([16, 16, 3], len(self.rendered) % 256, np.uint8)
            self._result = Result(
                self._rendering,
                image,
                network=INFO,
                layers=(LayerInfo("L0", (3, 16, 16), "float32"),),
                render_sec=self.render_sec,
                is_first=len(self.rendered) == 1,
                content_width=16,
            )
            self._rendering = None
            if self._waiting is not None:
                view, self._waiting = self._waiting, None
                self._start(view)
        self.wake()
