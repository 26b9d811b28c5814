"""The picture that was projected, from its file."""

import os

import click
import numpy as np
import PIL.Image


class TargetPicture:
    """Reads the last picture once; a picture that has changed is read again."""

    def __init__(self) -> None:
        self._version: tuple[str, int, int] | None = None
        self._pixels: np.ndarray | None = None

    def pixels(self, path: str) -> np.ndarray | None:
        """The picture, uint8 `[H, W, 4]`; None, after a warning, if it cannot be read."""
        try:
            status = os.stat(path)
        except OSError:  # gone
            return None
        version = (path, status.st_mtime_ns, status.st_size)
        if version != self._version:
            self._version, self._pixels = version, None
            try:
                with PIL.Image.open(path) as picture:
                    self._pixels = np.asarray(picture.convert("RGBA"))
            except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
                click.echo(f"Warning: {path} cannot be read: {error}", err=True)
        return self._pixels
