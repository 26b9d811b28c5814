"""Captured files go to the computer of the browser."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from gui_utils.toolkit import Toolkit


class Downloads:
    """Where the page saves, see `viz.capture_widget.Store`.

    Args:
        send: Gets the name and the content of a file.
    """

    place = "the browser's downloads"

    def __init__(self, send: Callable[[str, bytes], None]) -> None:
        self._send = send
        self._count = 0

    def draw(self, ui: Toolkit) -> None:
        """Nothing: the browser has settings of its own."""

    def save(self, stem: str, suffix: str, write: Callable[[Path], None]) -> str:
        """Send a file that `write` writes, and return its name."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{stem}{self._count:04d}{suffix}"
            write(path)
            self._send(path.name, path.read_bytes())
        self._count += 1
        return path.name
