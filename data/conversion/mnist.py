"""Read MNIST's compressed IDX files, and those of Fashion-MNIST and KMNIST."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from data.reading import shorten
from dnnlib.errors import InputError

IMAGES_SUFFIX, LABELS_SUFFIX = "-images-idx3-ubyte.gz", "-labels-idx1-ubyte.gz"
BYTES_OF_RANK = {1: 0x801, 3: 0x803}  # first number of a file of bytes, by number of axes
SIZE, PADDING = 28, 2
MAX_COUNT, MAX_SIZE = 2**22, 2**8


def read(path: Path, with_labels: bool = True) -> tuple[np.ndarray, list[int] | None]:
    """Images padded with black, uint8 `[N, 32, 32]`, and classes from the file beside them.

    Raises:
        ValueError: If a file is missing, damaged, or another file.
    """
    images = _read_idx(path, 3)
    if images.shape[1:] != (SIZE, SIZE):
        raise InputError(
            f"--source={path}: its images are {images.shape[2]}x{images.shape[1]}, those of MNIST"
            f" are {SIZE}x{SIZE}"
        )
    images = np.pad(images, [(0, 0), (PADDING, PADDING), (PADDING, PADDING)])
    if not with_labels:
        return images, None
    labels_path = path.with_name(path.name.removesuffix(IMAGES_SUFFIX) + LABELS_SUFFIX)
    if not labels_path.is_file():
        raise InputError(
            f"--source={path}: there is no {labels_path.name} beside it; put it there, or convert"
            " without labels by --labels=none"
        )
    labels = _read_idx(labels_path, 1)
    if len(labels) != len(images):
        raise InputError(
            f"--source={path}: there are {len(images)} images, but {len(labels)} labels in"
            f" {labels_path.name}; they belong to different sets"
        )
    return images, labels.tolist()


def _read_idx(path: Path, rank: int) -> np.ndarray:
    where = f"--source={path}"
    try:
        with gzip.open(path) as file:
            magic, *shape = struct.unpack(f">{1 + rank}I", file.read(4 * (1 + rank)))
            is_sane = shape[0] <= MAX_COUNT and max(shape[1:], default=0) <= MAX_SIZE
            if magic != BYTES_OF_RANK[rank] or not is_sane:
                raise InputError(f"{where}: not a file of MNIST (it starts with {magic}, {shape})")
            size = int(np.prod(shape))
            data = file.read(size + 1)  # one byte more shows that a file is too long
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise InputError(
            f"{where}: cannot be read ({shorten(error)}); is the download complete?"
        ) from error
    if len(data) != size:
        raise InputError(f"{where}: holds more or less than the {size} bytes that it announces")
    return np.frombuffer(data, np.uint8).reshape(shape)
