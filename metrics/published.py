"""Check that a file is the published feature network, which can run code.

The hashes of these networks are not published, so the hash of the first download over https is kept
beside the file, and the file must keep this hash. Files put into the cache by hand have no hash.
"""

import contextlib
import functools
import hashlib
import json
import sys
from pathlib import Path

from dnnlib import downloads, file_lock, ownership, util

NUM_ATTEMPTS = 2  # to download a file


def cached_path(url: str) -> Path:
    """The path of the file in the cache, whether it exists or not."""
    return downloads.cached_path(url, Path(util.make_cache_dir_path("downloads")))


def record_path(path: Path) -> Path:
    """The path of the hash of a file's first download."""
    return path.with_name(f"{path.name}.first-download.json")


def fetch(url: str) -> Path:
    """The file, from the cache or downloaded by one process at a time.

    Raises:
        OSError: If the file cannot be downloaded.
    """
    path = cached_path(url)
    record = record_path(path)
    if path.is_file() and record.is_file():
        return path
    with contextlib.suppress(OSError):  # the download will report it
        ownership.make_private(path.parent)

    def say_waiting() -> None:
        print(f"{url}: waiting for another process that downloads it", file=sys.stderr)

    # Other processes must not find the file before it has its record.
    with file_lock.hold(path.with_name(f"{path.name}.first-download.lock"), say_waiting):
        is_download = not path.is_file()
        util.open_url(url, num_attempts=NUM_ATTEMPTS, return_filename=True)
        is_ours = is_download and is_secure(url) and _find_fault(path) is None
        if is_ours and not record.is_file():
            _remember(path, url)
    return path


def forget(url: str) -> None:
    """Forget the hash of a damaged download, so that the next download counts as the first."""
    with contextlib.suppress(OSError):
        record_path(cached_path(url)).unlink()


def find_doubt(url: str, path: Path, sha256: str) -> str | None:
    """The reason to doubt that a cached file was published, and the way out; `None` if none.

    Args:
        url: Published address of the file.
        path: Result of `fetch`.
        sha256: Hash of the file.
    """
    if (fault := _find_fault(path)) is not None:
        return f"{fault}; or name a folder of your own in DNNLIB_CACHE_DIR"
    record, again = record_path(path), "delete it to download it again"
    try:
        note = json.loads(record.read_text(encoding="utf-8"))
        first = note["sha256"] if note["url"] == url else None
    except (OSError, ValueError, TypeError, KeyError):
        first = None
    if first is None:
        return f"it was not downloaded from {url} by this program: {again}"
    if first != sha256:
        return (
            f"it is not the file that was first downloaded from {url} (SHA-256 {sha256}, first "
            f"{first}): {again}, and {record}, too, if the publisher has changed it"
        )
    return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file. The file is read again only if it has changed."""
    status = path.stat()
    return _sha256_of(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_secure(url: str) -> bool:
    """Whether the connection protects a file from being replaced on its way."""
    return url.startswith("https://")


def _find_fault(path: Path) -> str | None:
    """The reason why other users could have written a file or its record."""
    places = (path.parent, path, record_path(path))
    return next(filter(None, map(ownership.find_fault, places)), None)


def _remember(path: Path, url: str) -> None:
    with contextlib.suppress(OSError):  # the file then counts as put there by hand
        with util.open_atomic(record_path(path), "w") as file:
            json.dump(dict(url=url, sha256=sha256_of(path)), file)
        record_path(path).chmod(0o600)


@functools.lru_cache(maxsize=8)
def _sha256_of(path: Path, *_: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
