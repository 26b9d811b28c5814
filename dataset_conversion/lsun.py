"""LSUN's databases: LMDB environments whose values are image files."""

from collections.abc import Iterator
from pathlib import Path

FOLDER_SUFFIX = "_lmdb"


def count(path: Path) -> int:
    """Number of entries, after a look at whether the database is whole.

    Raises:
        RuntimeError: If the package `lmdb` is missing.
        ValueError: If the folder is something else, or damaged.
    """
    with _open(path) as environment:
        page_size = environment.stat()["psize"]
        size = (environment.info()["last_pgno"] + 1) * page_size
        if (path / "data.mdb").stat().st_size < size:
            # To read on would end the process: the file is mapped into memory.
            raise ValueError(
                f"--source={path}: data.mdb is shorter than its {size} bytes; is the download or"
                " copy complete?"
            )
        return environment.stat()["entries"]


def read(path: Path) -> Iterator[tuple[str, bytes]]:
    """Keys and image files, in the order of the keys."""
    with _open(path) as environment, environment.begin() as transaction:
        for key, value in transaction.cursor():
            yield key.decode("utf-8", "backslashreplace"), value


def keys(path: Path) -> Iterator[str]:
    """The keys alone, in order."""
    with _open(path) as environment, environment.begin() as transaction:
        for key in transaction.cursor().iternext(keys=True, values=False):
            yield key.decode("utf-8", "backslashreplace")


def _open(path: Path):
    try:
        import lmdb
    except ImportError as error:
        raise RuntimeError(
            f"--source={path}: reading LSUN's databases needs another package: pip install lmdb"
        ) from error
    if not (path / "data.mdb").is_file():
        raise ValueError(
            f"--source={path}: a folder named *{FOLDER_SUFFIX} is an LSUN database, but there is no"
            " data.mdb in it; rename the folder if it holds image files"
        )
    try:
        # No lock file: the folder may be read-only, and nobody writes.
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise ValueError(f"--source={path}: not a readable LMDB database ({error})") from error
