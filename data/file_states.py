"""Detect changes of files, for caches of values that were computed from them.

Stricter than a fingerprint, and valid on one machine: a file that was touched has changed.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dnnlib import heartbeat


def describe(folder: Path, names: Iterable[str], *more: str) -> str:
    """A digest that changes when one of the files is written, replaced, renamed or touched.

    The digest covers name, size and inode of each file, and the times in nanoseconds of its last
    modification (mtime) and status change (ctime). Programs that keep the mtime (`cp -p`,
    `rsync -a`, `mv`, archivers) cannot set the ctime.

    Args:
        folder: Where the files lie.
        names: Their names, relative to the folder.
        more: Texts to include.

    Raises:
        OSError: If one of the files is gone.
    """
    digest = hashlib.sha256("\0".join(more).encode())
    parent = os.fspath(folder)
    for name in names:
        state = os.stat(os.path.join(parent, name))
        heartbeat.beat()  # a million files take minutes, and other processes wait
        numbers = (state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
        digest.update(f"\0{name}\0{numbers}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
