"""Pictures to project: files of any format that dataset_tool.py reads, as images of a network."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from data import formats, listing, reading
from data.conversion import decode
from data.conversion.decode import DecodeOptions
from data.conversion.transform import crop_centre
from dnnlib.errors import InputError
from torch_utils.networks import Generator

MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Target:
    """A picture to project.

    Attributes:
        name: Name of its file, without the extension.
        pixels: uint8 `[C, H, W]`.
        changes: What was done to the picture, in words.
    """

    name: str
    pixels: np.ndarray
    changes: tuple[str, ...]

    def image(self) -> Tensor:
        """The picture as networks see it, `[C, H, W]` in [-1, 1]."""
        return torch.from_numpy(self.pixels.astype(np.float32)) / 127.5 - 1


def find(path: str | os.PathLike) -> tuple[list[Path], int]:
    """The pictures of a folder in the order of their names, or the one file; and how many others.

    Raises:
        InputError: If a folder has no pictures, or two whose names differ only in their extension.
    """
    path = Path(path)
    if not path.is_dir():
        return [path], 0
    files = sorted(
        entry
        for entry in path.iterdir()
        if entry.is_file() and not listing.is_left_behind(entry.name)
    )
    found = [f for f in files if formats.extension_of(f.name) in formats.image_extensions()]
    if not found:
        raise InputError(f"{path} has no pictures")
    counts = Counter(f.stem for f in found)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InputError(f"{path} has several pictures that are called {twice[0]}; rename them")
    return found, len(files) - len(found)


def read(
    path: Path, G: Generator, crops: bool = True, options: DecodeOptions | None = None
) -> Target:
    """Read a picture, and give it the size and the colours of a network's images.

    Args:
        path: The file; EXIF orientation and colour profiles are heeded.
        G: The generator.
        crops: Whether the centre of a picture becomes the square; otherwise it is stretched.
        options: Background of transparent pictures.

    Raises:
        InputError: If the picture cannot be used; the message names it, and the remedy.
        OSError: If the file cannot be read.
    """
    if G.img_channels not in MODES:
        raise InputError(f"the network has {G.img_channels} colour channels; pictures have 1 or 3")
    try:
        picture, notes = decode.read_image(reading.read_file(path), options)
    except reading.UnusableImage as error:
        raise InputError(f"{path} {str(error).partition(', or leave such files')[0]}") from error
    changes = list(notes)
    image, mode = picture.image, MODES[G.img_channels]
    if image.mode != mode:
        changes.append(f"{image.mode} made {mode}")
        image = image.convert(mode)
    size = (G.img_resolution, G.img_resolution)
    if image.width != image.height:
        side = min(image.size)
        how = "cropped" if crops else "stretched"
        changes.append(f"{image.width}x{image.height} {how} to a square")
        image = crop_centre(image, side, side) if crops else image
    if image.size != size:
        changes.append(f"resized to {size[0]}x{size[1]}")
        image = image.resize(size, PIL.Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return Target(path.stem, np.ascontiguousarray(pixels), tuple(changes))
