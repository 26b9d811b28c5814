"""Image files as bytes: no pipe is waited for, and no absurd size is read."""

import os
import stat
from pathlib import Path

from dnnlib.errors import InputError
from dnnlib.util import printable

MAX_FILE_BYTES = 2**30
MAX_ERROR = 200  # characters of what another library says


class UnusableImage(InputError):
    """Why a file is no usable image: completes "<name> ...", with the remedy after a semicolon."""


def unusable(reason: str, remedy: str) -> UnusableImage:
    """The error for an image that one may also leave out."""
    return UnusableImage(f"{reason}; {remedy}, or leave such files out with --on-error=skip")


def read_file(path: Path, size: int | None = None) -> bytes:
    """The content of a file, or its first `size` bytes.

    Raises:
        OSError: If it cannot be read.
        UnusableImage: If it is no file but a pipe, device or folder, or larger than any image.
    """
    # Without waiting: a pipe that nobody writes to would keep us here for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise unusable("is no file but a pipe, device or folder", "remove it")
        check_size(status.st_size)
        with open(handle, "rb", closefd=False) as file:
            return file.read(-1 if size is None else size)
    finally:
        os.close(handle)


def shorten(error: Exception) -> str:
    """What an error says, in one line of bounded length, whatever of a file is quoted in it."""
    text = str(error) or type(error).__name__
    return printable(text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]} ...")


def check_size(num_bytes: int) -> None:
    """Refuse files that are, or unpack to, more bytes than any sensible image has.

    Raises:
        UnusableImage: It says so.
    """
    if num_bytes > MAX_FILE_BYTES:
        raise unusable(
            f"unpacks to {num_bytes} bytes, which is no sensible image file", "remove it"
        )
