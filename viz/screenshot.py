"""Pictures of the viewer's window, which need no display."""

import time
from typing import Any

import numpy as np

from dnnlib.errors import MachineError
from gui_utils.window import Window
from viz.application import Application
from viz.settings import Settings
from viz.view import Result

STILL_FRAMES = 8  # frames in which the panes are laid out


def draw_window(
    size: tuple[int, int], network: str | None, **options: Any
) -> tuple[np.ndarray, Result | None]:
    """The pixels of a window, uint8 `[H, W, 3]`, and the result that it shows.

    Args:
        size: Width and height of the window.
        network: Path or URL; `None` shows the first screen.
        options: Keyword arguments of `Application`.

    Raises:
        RuntimeError: If no window can be drawn, or the picture takes too long.
    """
    window = Window("Visualizer", size, is_offscreen=True)
    application = Application(window, Settings(), is_async=False, **options)
    try:
        if network is not None:
            application.load(network)
        return take_screenshot(application), application.result
    finally:
        application.close()
        window.close()


def take_screenshot(application: Application, timeout_sec: float = 600) -> np.ndarray:
    """The pixels of the window once its picture is finished, uint8 `[H, W, 3]`.

    Raises:
        RuntimeError: If it takes too long.
    """
    window, deadline = application.window, time.monotonic() + timeout_sec
    captured: list[np.ndarray] = []
    settled_frames = 0
    while not captured:
        if time.monotonic() > deadline:
            raise MachineError(f"no picture after {timeout_sec:.0f} seconds")
        settled_frames = settled_frames + 1 if application.is_settled else 0
        if settled_frames == STILL_FRAMES:
            window.capture(captured.append)
        window.request_frame(1)
        window.step(application.draw)
    return captured[0]
