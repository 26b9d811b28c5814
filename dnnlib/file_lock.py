"""Lock files that one process holds at a time, also on cluster file systems with locks."""

import contextlib
import errno
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

_POLL_SEC = 0.1  # while another process has the lock
_NOTICE_SEC = 3.0  # of waiting in silence


@contextlib.contextmanager
def hold(
    path: Path, say_waiting: Callable[[], None], patience_sec: float = math.inf
) -> Iterator[bool]:
    """Hold the lock on a file, which is removed afterwards. Yields False where locks do not work.

    The lock belongs to the open file, so it excludes threads as well, and the system releases it
    when the process ends, in whatever way. The file is empty; an unlocked file has no meaning.

    Args:
        path: The file.
        say_waiting: Called once, after a few seconds of waiting.
        patience_sec: How long to wait for another process.

    Raises:
        TimeoutError: If another process holds the lock during that time.
    """
    fd = _acquire(path, say_waiting, patience_sec)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            _release(path, fd)


def _acquire(path: Path, say_waiting: Callable[[], None], patience_sec: float) -> int | None:
    start = time.monotonic()
    is_noticed = False
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        is_ours = False
        try:
            # The process that held the lock may have removed the file that we opened, so that it
            # locks nothing.
            is_ours = _try_lock(fd) and _is_same_file(fd, path)
            if is_ours:
                return fd
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        finally:
            if not is_ours:
                os.close(fd)
        waited_sec = time.monotonic() - start
        if waited_sec >= patience_sec:
            raise TimeoutError(f"{path} is locked by another process")
        if waited_sec >= _NOTICE_SEC and not is_noticed:
            say_waiting()
            is_noticed = True
        time.sleep(_POLL_SEC)


def _try_lock(fd: int) -> bool:
    """Lock an open file unless it is locked; an `OSError` means that locks do not work."""
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except OSError as err:
        if err.errno not in ((errno.EWOULDBLOCK, errno.EAGAIN) if fcntl else (errno.EACCES,)):
            raise
        return False
    return True


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _release(path: Path, fd: int) -> None:
    with contextlib.suppress(OSError):
        if fcntl is not None:
            path.unlink()  # under the lock: no process may lock a file without a name
            fcntl.flock(fd, fcntl.LOCK_UN)  # forked processes may have the file open, too
        else:
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
    os.close(fd)
    if fcntl is None:
        with contextlib.suppress(OSError):
            path.unlink()  # fails on Windows if another process has opened it
