"""Read image files; refuse pipes and files of absurd size."""

import os
import stat
from pathlib import Path

from dnnlib.errors import InputError
from dnnlib.util import printable

MAX_FILE_BYTES = 2**30
MAX_ERROR = 200  # characters of an error of another library


class UnusableImage(InputError):
    """A file is no usable image. The message completes "<name> ..."; its remedy follows a `;`."""


def unusable(reason: str, remedy: str) -> UnusableImage:
    """An error whose remedy includes leaving the image out."""
    return UnusableImage(f"{reason}; {remedy}, or leave such files out with --on-error=skip")


def read_file(path: Path, size: int | None = None) -> bytes:
    """The content of a file, or its first `size` bytes.

    Raises:
        OSError: If the file cannot be read.
        UnusableImage: If it is a pipe, device or folder, or larger than any image.
    """
    # O_NONBLOCK: opening a pipe without a writer would never return.
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
    """The message of an error in one line of bounded length, even if it quotes a file."""
    text = str(error) or type(error).__name__
    return printable(text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]} ...")


def check_size(num_bytes: int) -> None:
    """Refuse a file that has, or unpacks to, more bytes than any sensible image.

    Raises:
        UnusableImage: If the size is above `MAX_FILE_BYTES`.
    """
    if num_bytes > MAX_FILE_BYTES:
        raise unusable(
            f"unpacks to {num_bytes} bytes, which is no sensible image file", "remove it"
        )
