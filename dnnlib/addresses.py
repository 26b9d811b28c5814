"""Open paths, `file:` and web addresses, with a cache for the web, and networks in the box."""

import os
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO, Literal, overload

from dnnlib import downloads, pretrained
from dnnlib.cache_dir import make_cache_dir_path
from dnnlib.errors import InputError


def is_url(obj: Any, allow_file_urls: bool = False) -> bool:
    """Whether `obj` is a string with an `http`, `https` or, if allowed, `file` URL."""
    if not isinstance(obj, str):
        return False
    try:
        parts = urllib.parse.urlsplit(obj)
    except ValueError:
        return False
    if parts.scheme == "file":
        return allow_file_urls and bool(parts.path)
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def is_address(text: str) -> bool:
    """Whether a text is a URL (http, https, file) or `pretrained:NAME` rather than a path."""
    return is_url(text, allow_file_urls=True) or pretrained.is_pretrained(text)


@overload
def open_url(
    url: str,
    cache_dir: str | None = None,
    num_attempts: int = 10,
    verbose: bool = True,
    return_filename: Literal[False] = False,
    cache: bool = True,
) -> BinaryIO: ...
@overload
def open_url(
    url: str,
    *,
    return_filename: Literal[True],
    cache_dir: str | None = None,
    num_attempts: int = 10,
    verbose: bool = True,
    cache: bool = True,
) -> str: ...
def open_url(
    url: str,
    cache_dir: str | None = None,
    num_attempts: int = 10,
    verbose: bool = True,
    return_filename: bool = False,
    cache: bool = True,
) -> BinaryIO | str:
    """Open a web address, a `file:` address, `pretrained:NAME` or a local path for reading bytes.

    A download goes to the cache folder and is opened from there, now and later. If several
    processes ask for the same address, one downloads and the others wait. Lost connections,
    silence, short bodies, overload (429) and server errors (5xx) are tried again with exponential
    back-off; other refusals, such as 404, are final. If the server names versions of its files, a
    partial download is kept, and the next attempt or process asks only for the rest.

    An attempt ends if the server is silent for a minute, or slower than 1 kB/s. After three such
    attempts with hardly any progress the download fails. Compressed answers are refused.

    An address may end in `#sha256=` and the hash that the file must have.

    Args:
        url: Address or path.
        cache_dir: Folder of downloads; `None` for the one below `make_cache_dir_path()`.
        num_attempts: Number of attempts, at most.
        verbose: Report to the standard error, with a progress bar on a terminal.
        return_filename: Return the path of the (cached) file instead of the open file.
        cache: Whether to use the cache; `False` downloads into memory.

    Raises:
        OSError: If the file cannot be downloaded or opened; the message gives address and reason.
        ValueError: If the address has another fragment than `#sha256=`, or names a network in the
            box that does not exist.
    """
    url = os.fspath(url)
    if not is_url(url):
        local_path = _local_path(url)
        return local_path if return_filename else open(local_path, "rb")
    if num_attempts < 1:
        raise InputError(f"open_url: `num_attempts` must be at least 1, got {num_attempts}")
    if not cache:
        if return_filename:
            raise InputError("open_url: `return_filename=True` needs `cache=True`")
        return downloads.fetch_into_memory(url, num_attempts, verbose)
    path = downloads.fetch(url, _downloads_dir(cache_dir), num_attempts, verbose)
    return str(path) if return_filename else path.open("rb")


def remove_download(url: str, status: os.stat_result, cache_dir: str | None = None) -> str:
    """Remove a damaged download of `open_url` from the cache.

    Otherwise the cache would return a web page or an incomplete file for ever.

    Args:
        url: Argument of `open_url`. Only downloads of web addresses are removed.
        status: `os.fstat` of the opened file, so that no other file is removed.
        cache_dir: As for `open_url`.

    Returns:
        A part of a sentence that says whether the file was removed; empty for a local `url`.
    """
    if not is_url(url):
        return ""
    return downloads.remove_cached(url, _downloads_dir(cache_dir), status)


def cached_download(url: str, cache_dir: str | None = None) -> str:
    """The path of the download of an address in the cache; the file may be missing."""
    return str(downloads.cached_path(url, _downloads_dir(cache_dir)))


def _downloads_dir(cache_dir: str | None) -> Path:
    return Path(cache_dir or make_cache_dir_path("downloads"))


def _local_path(url: str) -> str:
    """The path behind a `file:` address, `pretrained:NAME` or a plain path."""
    if pretrained.is_pretrained(url):
        return str(pretrained.path_of(url))
    if is_url(url, allow_file_urls=True):
        address, sha256 = downloads.split_sha256(url)
        path = urllib.request.url2pathname(urllib.parse.urlsplit(address).path)
        if sha256 is not None:
            downloads.check_sha256(path, sha256)
        return path
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", url):
        raise OSError(f"cannot open {url}: only http, https and file addresses are supported")
    in_the_box = pretrained.PREFIX + url
    if not os.path.exists(url) and in_the_box in pretrained.addresses():
        raise InputError(f"{url}: no such file; did you mean {in_the_box}?")
    return url
