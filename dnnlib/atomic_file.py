"""Files that take their names only when they are complete."""

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dnnlib.errors import InputError
from dnnlib.heartbeat import BeatingFile
from dnnlib.paths import shorten_name

_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")


@contextlib.contextmanager
def open_atomic(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Open a file for writing that takes its name only if the `with` block succeeds.

    Until then the data are in a hidden file in the same folder. After an exception the hidden
    file is removed, and the target stays unchanged. Text is UTF-8. Links are followed. Devices and
    pipes, which cannot be replaced, are written directly.
    """
    if not mode.startswith("w"):
        raise InputError(f"open_atomic: `mode` must be 'w' or 'wb', got {mode!r}")
    target = Path(os.path.realpath(path))
    old_mode = target.stat().st_mode if target.exists() else None
    encoding = None if "b" in mode else "utf-8"
    if old_mode is not None and not stat.S_ISREG(old_mode):
        with open(target, mode, encoding=encoding) as file:  # a folder raises IsADirectoryError
            yield file
        return
    temp = _temporary(target)
    try:
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except FileNotFoundError as err:
        message = "the folder to write into does not exist"
        raise FileNotFoundError(errno.ENOENT, message, str(path)) from err
    try:
        with os.fdopen(fd, mode, encoding=encoding) as file:
            yield file
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
        if old_mode is not None:
            os.chmod(temp, stat.S_IMODE(old_mode))
        os.replace(temp, target)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def link_atomic(source: Path, path: Path) -> None:
    """Give a file a second name: as a hard link, or as a copy where these are not possible.

    Until the link or the copy is complete, `path` stays what it was.

    Raises:
        OSError: If `source` cannot be read, or `path` cannot be written.
    """
    if path.exists() and path.samefile(source):
        return  # POSIX would replace nothing, and leave the temporary name
    temp = _temporary(path)
    try:
        os.link(source, temp)
    except OSError:
        with source.open("rb") as file, open_atomic(path) as copy:
            shutil.copyfileobj(file, BeatingFile(copy))
        shutil.copystat(source, path)  # programs that look for the newest file go by its time
        return
    try:
        os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path, names: re.Pattern[str]) -> tuple[int, int]:
    """Remove unfinished files of `open_atomic`, which remain when a process is killed.

    The caller makes sure that no other process writes these files now.

    Args:
        folder: Folder of the finished files.
        names: Matches the full names of the finished files.

    Returns:
        Number and total bytes of the removed files.

    Raises:
        OSError: If a file cannot be removed.
    """
    num = num_bytes = 0
    for path in folder.iterdir():
        match = _LEFTOVER.fullmatch(path.name)
        if match is not None and names.fullmatch(match[1]):
            num, num_bytes = num + 1, num_bytes + path.stat().st_size
            path.unlink()
    return num, num_bytes


def _temporary(target: Path) -> Path:
    return target.with_name(f".{shorten_name(target.name, 100)}.{uuid.uuid4().hex}.tmp")
