"""Downloads behind `dnnlib.util.open_url`: resumed, checked, one process at a time.

Beside a file `NAME` in the cache folder there can be, for a while,

- `NAME.partial`, what has arrived so far, and `NAME.partial.json`, how to ask for the rest,
- `NAME.lock`, empty and locked by the process that downloads; without the lock it means nothing.
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
    """The file behind `url`, from the cache folder or else from the network.

    Raises:
        ValueError: If the fragment of `url` is not `#sha256=` and a hash.
        OSError: If the file cannot be had; the message gives the address and the reason.
    """
    url, sha256 = split_sha256(url)
    path = folder / _cache_file_name(url)

    def say_waiting() -> None:
        if verbose:
            print(f"{url}: already being downloaded; waiting for that", file=sys.stderr)

    try:
        if _is_cached(path, sha256):
            return path
        ownership.make_private(folder)
        with file_lock.hold(beside(path, ".lock"), say_waiting) as is_locked:
            if not _is_cached(path, sha256):  # nobody was faster
                if verbose and path.is_file():
                    print(f"{path} has another SHA-256; downloading it again", file=sys.stderr)
                with open_partial(path, is_locked) as partial:
                    _download(url, partial, sha256, num_attempts, verbose, path)
                    partial.move_to(path)
    except OSError as err:
        if err.errno is None:  # explained already; what the system raises has a number
            raise
        raise OSError(f"cannot download {url}: {_explain_storage(err, folder)}") from err
    return path


def cached_path(url: str, folder: Path) -> Path:
    """Where `fetch` keeps the file behind `url`, whether it is there or not."""
    return folder / _cache_file_name(split_sha256(url)[0])


def fetch_into_memory(url: str, num_attempts: int, verbose: bool) -> io.BytesIO:
    """The file behind `url`, straight from the network; raises what `fetch` raises."""
    url, sha256 = split_sha256(url)
    buffer = io.BytesIO()
    _download(url, PartialFile(buffer), sha256, num_attempts, verbose)
    buffer.seek(0)
    return buffer


def split_sha256(url: str) -> tuple[str, str | None]:
    """Split `ADDRESS#sha256=HASH` into the address and the hash, in lower case, if there is one."""
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
    """Remove a download that is not what it should be, so that the next `fetch` repeats it.

    Args:
        url: Its address.
        folder: The cache folder.
        status: Of the file that was opened. Another process may have replaced it by now, and a link
            in the folder leads to somebody's own file: both stay.

    Returns:
        What was done, for the end of a message.
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
    """Whether a file that begins with `head` is HTML or XML, as servers send in place of files."""
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
        return sha256_of(file) == sha256  # each time: whatever is noted elsewhere may be wrong


def _download(
    url: str,
    partial: PartialFile,
    sha256: str | None,
    num_attempts: int,
    verbose: bool,
    path: Path | None = None,
) -> None:
    """Complete a file and check its hash; `path` is where a user could put it by hand."""
    for is_last in (False, True):
        transfer.complete(url, partial, num_attempts, verbose, path)
        if sha256 is None or (found := sha256_of(partial.file)) == sha256:
            return
        partial.discard()
        if verbose and not is_last:
            print(f"{url}: damaged (SHA-256 {found}); once more from scratch", file=sys.stderr)
    raise OSError(f"cannot download {url}: the file has the SHA-256 {found}, expected {sha256}")
