"""Read LSUN's databases: LMDB environments whose values are image files."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from data.conversion import worker_processes
from data.reading import shorten
from dnnlib.errors import InputError, MachineError

Entry = TypeVar("Entry")

FOLDER_SUFFIX = "_lmdb"


def count(path: Path) -> int:
    """Number of entries, after a check that the file is complete.

    Raises:
        RuntimeError: If the package `lmdb` is missing.
        ValueError: If the folder is no LSUN database, or damaged.
    """
    with _open(path) as environment:
        page_size = environment.stat()["psize"]
        size = (environment.info()["last_pgno"] + 1) * page_size
        if (path / "data.mdb").stat().st_size < size:
            # Reading beyond the end of this memory-mapped file would kill the process.
            raise InputError(
                f"--source={path}: data.mdb is shorter than its {size} bytes; is the download or"
                " copy complete?"
            )
        return environment.stat()["entries"]


def read(path: Path) -> Iterator[tuple[str, bytes]]:
    """Keys and image files in the order of keys.

    Raises:
        ValueError: If the database is damaged.
    """
    return _read_apart(_entries, path)


def keys(path: Path) -> Iterator[str]:
    """The keys alone, in order.

    Raises:
        ValueError: If the database is damaged.
    """
    return _read_apart(_keys, path)


def _read_apart(function: Callable[[Path], Iterator[Entry]], path: Path) -> Iterator[Entry]:
    """Read in another process: LMDB maps the file, and damaged pointers can crash it."""
    try:
        yield from worker_processes.iterate_apart(function, path)
    except ChildProcessError as error:
        raise InputError(
            f"--source={path}: data.mdb is damaged (reading it, {error}); download or copy it again"
        ) from error


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    with _open(path) as environment, environment.begin() as transaction:
        for key, value in transaction.cursor():
            yield key.decode("utf-8", "backslashreplace"), value


def _keys(path: Path) -> Iterator[str]:
    with _open(path) as environment, environment.begin() as transaction:
        for key in transaction.cursor().iternext(keys=True, values=False):
            yield key.decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open the `lmdb.Environment`. Its errors, while it is open, become one `ValueError`."""
    try:
        import lmdb
    except ImportError as error:
        raise MachineError(
            f"--source={path}: reading LSUN's databases needs another package: pip install lmdb"
        ) from error
    if not (path / "data.mdb").is_file():
        raise InputError(
            f"--source={path}: a folder named *{FOLDER_SUFFIX} is an LSUN database, but there is no"
            " data.mdb in it; rename the folder if it holds image files"
        )
    try:
        # No lock file: the folder may be read-only, and nobody writes.
        with lmdb.open(str(path), readonly=True, lock=False, readahead=False) as environment:
            yield environment
    except lmdb.Error as error:
        raise InputError(
            f"--source={path}: not a readable LMDB database ({shorten(error)}); is the download or"
            " copy complete?"
        ) from error
