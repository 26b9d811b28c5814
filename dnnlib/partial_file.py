"""The beginning of a file that is being downloaded, and a note to request the rest."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class PartialFile:
    """The beginning of a file. If the download can be continued, a note says how.

    Attributes:
        validator: The server's name for this version; `None` if the download cannot go on.
        total: Bytes in the whole file; `None` if the server did not say.
    """

    def __init__(self, file: BinaryIO, path: Path | None = None):
        self.file = file
        self._path = path
        self._note_path = beside(path, ".json") if path is not None else None
        note = (_read_json(self._note_path) if self._note_path is not None else None) or {}
        self.validator: str | None = note.get("validator")
        self.total: int | None = note.get("total")
        is_usable = is_sendable(self.validator) and isinstance(self.total, int | None)
        if not is_usable or (self.total is not None and self.size() > self.total):
            self.discard()

    def size(self) -> int:
        return self.file.seek(0, os.SEEK_END)

    def offset(self) -> int:
        """Position at which to continue; 0 means from scratch."""
        return self.size() if self.validator is not None else 0

    def begin(self, validator: str | None, total: int | None) -> None:
        """Start from scratch with this version of the file.

        Raises:
            OSError: If the disk has no room for the file.
        """
        self.discard()
        if self._path is not None and total is not None:
            num_free = shutil.disk_usage(self._path.parent).free
            if total > num_free:
                sizes = [tqdm.format_sizeof(size, "B", 1024) for size in (total, num_free)]
                raise OSError(errno.ENOSPC, "for {}, {} are free".format(*sizes))
        self.validator, self.total = validator, total
        if self._note_path is not None and validator is not None:
            self._note_path.write_text(json.dumps(dict(validator=validator, total=total)) + "\n")

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]

    def discard(self) -> None:
        """Forget everything. The note goes first, in case the process is killed in between."""
        self.validator = self.total = None
        if self._note_path is not None:
            self._note_path.unlink(missing_ok=True)
        self.file.truncate(0)

    def move_to(self, path: Path) -> None:
        """Give the complete file its name."""
        assert self._path is not None and self._note_path is not None
        os.fsync(self.file.fileno())
        self.file.close()  # Windows renames no open file
        try:
            os.replace(self._path, path)
        except FileNotFoundError:
            # On cluster file systems a lock may hold on one machine only: another was faster.
            if not path.is_file():
                raise
        self._note_path.unlink(missing_ok=True)

    def close(self, is_kept: bool) -> None:
        """Close the file, and remove it unless it is to be kept and can be continued."""
        if self.file.closed:
            return
        is_kept = is_kept and self.offset() > 0
        self.file.close()
        if not is_kept:
            for path in (self._note_path, self._path):
                if path is not None:
                    with contextlib.suppress(OSError):
                        path.unlink()


@contextlib.contextmanager
def open_partial(path: Path, is_locked: bool) -> Iterator[PartialFile]:
    """Open the partial file of `path`; without the lock, a file of our own."""
    shared = None
    if is_locked:
        with contextlib.suppress(PermissionError):  # the file of another user
            shared = PartialFile(*_create(beside(path, ".partial"), 0))
    is_kept = is_shared = shared is not None
    partial = shared or PartialFile(
        *_create(beside(path, f".{uuid.uuid4().hex}.partial"), os.O_EXCL)
    )
    try:
        yield partial
    except OSError as err:
        # A file that does not fit must not keep the disk full for other users.
        is_kept = is_shared and err.errno not in DISK_FULL
        raise
    finally:
        partial.close(is_kept)


def _create(path: Path, flags: int) -> tuple[BinaryIO, Path]:
    flags |= os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    # Unbuffered, so that all received bytes survive if the process is killed.
    return os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0), path


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def is_sendable(validator: Any) -> bool:
    """Whether a validator is safe in a request header, which line ends would break."""
    return isinstance(validator, str) and re.fullmatch(r"[\x20-\x7e]{1,500}", validator) is not None


def sha256_of(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    """The dictionary in a file; `None` if the file is missing, or was cut short."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
