"""Reads arrays from NPZ files of any origin; memory stays in proportion to the file."""

import io
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dnnlib.errors import InputError

MAX_RATIO = 100  # bytes of an array per byte of the file; zeros can shrink to a thousandth
MAX_SMALL_BYTES = 1 << 26  # arrays up to this size may be compressed more
MAX_DIRECTORY_BYTES = 1 << 19  # of the list of arrays: about 10,000 of them, and 0.1 s to parse

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def names(path: str | os.PathLike) -> set[str]:
    """Names of the arrays in a file.

    Raises:
        OSError: If the file cannot be read.
        InputError: If the file is damaged, or lists very many arrays.
    """
    try:
        with _open(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, InputError):
        raise
    except Exception as error:  # damaged bytes can make the reader raise anything
        raise InputError(f"{path} is not an NPZ file") from error


def read_array(path: str | os.PathLike, name: str) -> np.ndarray:
    """Read one array of numbers or texts; nothing in the file is executed.

    NumPy alone would allocate the size in the header of an array, however small the file is.

    Args:
        path: The file, as `numpy.savez` or `numpy.savez_compressed` writes it.
        name: Name of the array.

    Raises:
        OSError: If the file cannot be read.
        InputError: If the file is damaged, lists very many arrays, lacks the array, or the array
            holds Python objects.
    """
    try:
        with _open(path) as archive:
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as f:
                shape, _, dtype = _HEADERS[np.lib.format.read_magic(f)](f)
                num_bytes = member.file_size - f.tell()
            if math.prod(shape) * dtype.itemsize != num_bytes:
                raise InputError(f"an array of shape {shape} does not have {num_bytes} bytes")
            if num_bytes > max(MAX_SMALL_BYTES, MAX_RATIO * os.path.getsize(path)):
                raise InputError("the array is far larger than the file")
            with archive.open(member) as f:
                return np.lib.format.read_array(f, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # damaged bytes can make the reader raise anything
        raise InputError(f"{path} has no array {name!r} that can be read") from error


class _File(io.FileIO):
    """A file for `ZipFile`, which reads the whole list of members at once and then parses it."""

    is_parsed = False

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.is_parsed and size is not None and size > MAX_DIRECTORY_BYTES:
            raise InputError(f"{self.name} lists more arrays than the files of this code")
        return super().read(size)


@contextmanager
def _open(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    with _File(path) as file, zipfile.ZipFile(file) as archive:
        file.is_parsed = True
        yield archive
