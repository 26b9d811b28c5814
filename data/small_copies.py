"""Small copies of large images, such as the sheets of a run."""

from pathlib import Path

import PIL.Image

from data import decoding, reading


def read(path: Path) -> PIL.Image.Image:
    """Read an image as RGB, or as RGBA if it is partly transparent.

    Raises:
        UnusableImage: If the file is no image, or damaged.
        OSError: If it cannot be read.
    """
    image = decoding.decode(reading.read_file(path)).image
    return image.convert("RGBA" if "A" in image.mode else "RGB")


def shrink(image: PIL.Image.Image, max_side: int) -> None:
    """Scale an image down in place, so that no side is longer than `max_side` pixels."""
    image.thumbnail((max_side, max_side), PIL.Image.Resampling.LANCZOS, reducing_gap=2)
