"""Sheets of images in a run's folder: which there are, which to show, and small copies of them."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data import small_copies

NAME = re.compile(r"fakes(?:(\d{1,12})|_init)\.png")
MAX_SIDE = 1600  # pixels; small images stay legible in sheets of 8K, and a page scrolls
MIN_SIDE = 64
QUALITY = 80  # of WebP


@dataclass(frozen=True)
class SheetFile:
    """A sheet of generated images; `label` says when it was drawn."""

    path: Path
    kimg: float
    label: str


@dataclass(frozen=True)
class SmallCopy:
    """A sheet as it fits into a page.

    Attributes:
        address: The image, as a `data:` address.
        size: Width and height in pixels.
        full_size: Width and height of the file.
    """

    address: str
    size: tuple[int, int]
    full_size: tuple[int, int]


def find(run_dir: Path) -> list[SheetFile]:
    """The sheets of generated images in a folder, in the order in which they were drawn."""
    found = []
    for path in run_dir.iterdir():
        if match := NAME.fullmatch(path.name):
            if match[1] is None:
                found.append((-1, SheetFile(path, 0, "before training")))
            else:
                kimg = int(match[1])
                found.append((kimg, SheetFile(path, kimg, f"{kimg} kimg")))
    return [sheet for _, sheet in sorted(found, key=lambda pair: pair[0])]


def choose(sheets: Sequence[SheetFile], num: int) -> list[SheetFile]:
    """At most `num` of the sheets, evenly spaced, with the first and the last."""
    if len(sheets) <= num:
        return list(sheets)
    if num < 2:
        return list(sheets[-1:])
    return [sheets[round(i * (len(sheets) - 1) / (num - 1))] for i in range(num)]


def copy(path: Path, max_bytes: int) -> SmallCopy:
    """Encode a sheet as WebP, as large as it can be.

    Args:
        path: The sheet.
        max_bytes: Length of the address, at most; a copy of `MIN_SIDE` pixels may be longer.

    Raises:
        UnusableImage: If the file is no image, or damaged.
        OSError: If it cannot be read.
    """
    image = small_copies.read(path)
    full_size = image.size
    side = min(MAX_SIDE, max(full_size))
    while True:
        small_copies.shrink(image, side)
        data = io.BytesIO()
        image.save(data, "WEBP", quality=QUALITY, method=4)
        address = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
        if len(address) <= max_bytes or side <= MIN_SIDE:
            return SmallCopy(address, image.size, full_size)
        side = max(int(side * min((max_bytes / len(address)) ** 0.5, 0.9)), MIN_SIDE)
