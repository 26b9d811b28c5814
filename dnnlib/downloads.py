"""Downloads behind `dnnlib.util.open_url`: resumed, checked, one process at a time.

During a download these files lie beside the file `NAME` in the cache folder:

- `NAME.partial`, the bytes so far, and `NAME.partial.json`, the data to request the rest;
- `NAME.lock`, empty and locked by the downloading process; an unlocked file has no meaning.
"""

import hashlib
import io
import os
import re
import sys
import urllib.parse
from pathlib import Path

from dnnlib import file_lock, ownership, transfer
from dnnlib.errors import InputError
from dnnlib.partial_file import DISK_FULL, PartialFile, beside, open_partial, sha256_of


def fetch(url: str, folder: Path, num_attempts: int, verbose: bool) -> Path:
    """Get the file of `url` from the cache folder, or else from the network.

    Raises:
        ValueError: If the fragment of `url` is not `#sha256=` and a hash.
        OSError: If the download fails; the message gives the address and the reason.
    """
    url, sha256 = split_sha256(url)
    path = folder / _cache_file_name(url)

    def say_waiting() -> None:
        if verbose:
            print(f"{url}: another process downloads it; waiting", file=sys.stderr)

    try:
        if _is_cached(path, sha256):
            return path
        ownership.make_private(folder)
        with file_lock.hold(beside(path, ".lock"), say_waiting) as is_locked:
            if not _is_cached(path, sha256):  # no other process was faster
                if verbose and path.is_file():
                    print(f"{path} has another SHA-256; downloading it again", file=sys.stderr)
                with open_partial(path, is_locked) as partial:
                    _download(url, partial, sha256, num_attempts, verbose, path)
                    partial.move_to(path)
    except OSError as err:
        if err.errno is None:  # already explained: only errors of the system have a number
            raise
        raise OSError(f"cannot download {url}: {_explain_storage(err, folder)}") from err
    return path


def cached_path(url: str, folder: Path) -> Path:
    """The path at which `fetch` keeps the file of `url`; the file may be missing."""
    return folder / _cache_file_name(split_sha256(url)[0])


def fetch_into_memory(url: str, num_attempts: int, verbose: bool) -> io.BytesIO:
    """Get the file of `url` from the network without the cache; raises as `fetch` does."""
    url, sha256 = split_sha256(url)
    buffer = io.BytesIO()
    _download(url, PartialFile(buffer), sha256, num_attempts, verbose)
    buffer.seek(0)
    return buffer


def split_sha256(url: str) -> tuple[str, str | None]:
    """Split `ADDRESS#sha256=HASH` into address and hash, in lower case; `None` without a hash."""
    address, _, fragment = url.partition("#")
    if not fragment:
        return address, None
    match = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment, re.IGNORECASE)
    if match is None:
        raise InputError(
            f"cannot use the fragment '#{fragment}' of {address}: "
            "it must be '#sha256=' and 64 hexadecimal digits"
        )
    return address, match[1].lower()


def remove_cached(url: str, folder: Path, status: os.stat_result) -> str:
    """Remove a damaged download, so that the next `fetch` repeats it.

    Args:
        url: Address of the download.
        folder: The cache folder.
        status: Status of the opened file. A file that another process has put in its place is kept,
            and so is a link to a file of the user.

    Returns:
        The end of a message, which says whether the file was removed.
    """
    path = cached_path(url, folder)
    try:
        if not os.path.samestat(path.lstat(), status):
            return f"it is cached as {path}"
        path.unlink()
    except OSError as err:
        return f"delete {path}, which cannot be removed from here ({err.strerror})"
    return "its copy in the cache was removed, so that the next attempt downloads it again"


def is_web_page(head: bytes) -> bool:
    """Whether a file that begins with `head` is HTML or XML, as servers send instead of files."""
    return head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))


def check_sha256(path: str | os.PathLike, sha256: str) -> None:
    """Raise an `OSError` unless the file has this hash."""
    with open(path, "rb") as file:
        found = sha256_of(file)
    if found != sha256:
        raise OSError(f"{path} has the SHA-256 {found}, expected {sha256}")


def _cache_file_name(url: str) -> str:
    tail = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", tail)[-80:].lstrip(".")
    return f"{hashlib.sha256(url.encode()).hexdigest()[:32]}_{readable or 'download'}"


def _explain_storage(err: OSError, folder: Path) -> str:
    if err.errno in DISK_FULL:
        is_announced = err.strerror != os.strerror(err.errno)
        size = f" {err.strerror}" if is_announced else ""
        problem = f"has no space left{size}; make some or"
    else:
        problem = f"cannot be used ({err.strerror});"
    return f"the cache folder {folder} {problem} set DNNLIB_CACHE_DIR to another folder"


def _is_cached(path: Path, sha256: str | None) -> bool:
    if not path.is_file():
        return False
    if sha256 is None:
        return True
    with path.open("rb") as file:
        return sha256_of(file) == sha256  # computed each time: a stored hash could be wrong


def _download(
    url: str,
    partial: PartialFile,
    sha256: str | None,
    num_attempts: int,
    verbose: bool,
    path: Path | None = None,
) -> None:
    """Complete a file and check its hash; messages name `path`, a place for it by hand."""
    for is_last in (False, True):
        transfer.complete(url, partial, num_attempts, verbose, path)
        if sha256 is None or (found := sha256_of(partial.file)) == sha256:
            return
        partial.discard()
        if verbose and not is_last:
            print(f"{url}: damaged (SHA-256 {found}); once more from scratch", file=sys.stderr)
    raise OSError(f"cannot download {url}: the file has the SHA-256 {found}, expected {sha256}")
