"""Whether files are still those that they were: for caches of what was computed from them.

Stricter than a fingerprint, and for one machine: what only looks like a change counts as one.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dnnlib import heartbeat


def describe(folder: Path, names: Iterable[str], *more: str) -> str:
    """A digest that changes when one of the files is written, replaced, renamed or touched.

    It covers the name of each file, its size, its inode, and the times of its last modification and
    of its last change in nanoseconds. Programs that keep the time of modification (`cp -p`,
    `rsync -a`, `mv`, archivers) cannot set the time of change.

    Args:
        folder: Where the files lie.
        names: Their names, relative to the folder.
        more: Texts that count as well.

    Raises:
        OSError: If one of the files is gone.
    """
    digest = hashlib.sha256("\0".join(more).encode())
    parent = os.fspath(folder)
    for name in names:
        state = os.stat(os.path.join(parent, name))
        heartbeat.beat()  # a million of them take minutes, and other processes wait
        numbers = (state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
        digest.update(f"\0{name}\0{numbers}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
