"""The picture that was projected, from its file."""

import click
import numpy as np
import PIL.Image


class TargetPicture:
    """Reads the last picture once."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._pixels: np.ndarray | None = None

    def pixels(self, path: str) -> np.ndarray | None:
        """The picture, uint8 `[H, W, 4]`; None, after a warning, if it cannot be read."""
        if path != self._path:
            self._path, self._pixels = path, None
            try:
                with PIL.Image.open(path) as picture:
                    self._pixels = np.asarray(picture.convert("RGBA"))
            except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
                click.echo(f"Warning: {path} cannot be read: {error}", err=True)
        return self._pixels
