"""Write a dataset, a ZIP or a folder, which appears only when it is complete."""

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dnnlib import paths, util

Write = Callable[[str, bytes], None]  # of a name within the dataset, and the content


@contextlib.contextmanager
def open_destination(dest: Path) -> Iterator[Write]:
    """Collect files for `dest`: a ZIP if its name ends in `.zip`, otherwise a new or empty folder.

    Nothing is left behind if the `with` block raises, Ctrl-C included.

    Raises:
        OSError: If the destination exists, or cannot be written.
    """
    check_destination(dest)
    with _parent_folders(dest), _open_zip(dest) if _is_zip(dest) else _open_folder(dest) as write:
        yield write


def check_destination(dest: Path) -> None:
    """Raise `FileExistsError` unless `dest` is free."""
    if _is_zip(dest) or not dest.is_dir():
        if dest.exists() or dest.is_symlink():
            raise FileExistsError(f"--dest={dest} exists already; remove it or choose another name")
    elif any(dest.iterdir()):
        raise FileExistsError(f"--dest={dest} is not empty; choose a new or an empty folder")


def _is_zip(dest: Path) -> bool:
    return dest.suffix.lower() == ".zip"


@contextlib.contextmanager
def _open_zip(dest: Path) -> Iterator[Write]:
    """Store members uncompressed and without times, so that equal input gives equal bytes."""
    with util.open_atomic(dest) as file, zipfile.ZipFile(file, "w") as archive:

        def write(name: str, data: bytes) -> None:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)

        yield write


@contextlib.contextmanager
def _open_folder(dest: Path) -> Iterator[Write]:
    """Collect files in a hidden folder beside `dest`, or in `dest` if it exists (maybe a mount)."""
    has_dest = dest.exists()
    beside = dest if has_dest else dest.absolute().parent
    temp = Path(
        tempfile.mkdtemp(
            dir=beside, prefix=f".{paths.shorten_name(dest.name, 100)}.", suffix=".tmp"
        )
    )
    try:
        temp.chmod(0o755)  # mkdtemp makes it private

        def write(name: str, data: bytes) -> None:
            path = temp / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

        yield write
        if has_dest:
            for path in sorted(temp.iterdir()):  # image folders first, then dataset.json
                path.rename(dest / path.name)
        else:
            temp.rename(dest)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


@contextlib.contextmanager
def _parent_folders(dest: Path) -> Iterator[None]:
    """Create the folders above `dest`; after a failure, remove those that stayed empty."""
    missing = [parent for parent in dest.absolute().parents if not parent.exists()]
    dest.absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for parent in missing:  # innermost first
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
