"""Downloads behind `dnnlib.util.open_url`: resumed, checked, one process at a time.

Beside a file `NAME` in the cache folder there can be, for a while,

- `NAME.partial`, what has arrived so far, and `NAME.partial.json`, how to ask for the rest,
- `NAME.lock`, empty and locked by the process that downloads; without the lock it means nothing.
"""

import contextlib
import email.utils
import errno
import hashlib
import io
import json
import os
import re
import shutil
import sys
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from dnnlib import file_lock, heartbeat, http_stream, ownership
from dnnlib.errors import InputError
from dnnlib.http_stream import StalledError, TransientError
from dnnlib.text import printable

_FIRST_DELAY_SEC = 0.5  # before the second attempt of a download; doubles from attempt to attempt
_MAX_DELAY_SEC = 8.0
_MAX_RETRY_AFTER_SEC = 60.0  # of what a server asks us to wait
_MAX_STALLS = 3  # of attempts that a server held up
_PROGRESS_BYTES = 1 << 20  # an attempt that got so much further may be held up in the end
_MAX_UNANNOUNCED_BYTES = 1 << 34  # of a body that does not tell its length, which may have no end
_LENGTH = r"\d{1,19}"  # of bytes; Python refuses to read numbers of thousands of digits
_MIN_AGE = timedelta(seconds=60)  # of a Last-Modified that tells versions apart
# Compression would be no use: networks hardly shrink. It would hide how long the file is.
_IDENTITY = {"Accept-Encoding": "identity"}
_COMPRESSIONS = ("gzip", "deflate", "compress", "br", "zstd", "dcb", "dcz")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


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
        with file_lock.hold(_beside(path, ".lock"), say_waiting) as is_locked:
            if not _is_cached(path, sha256):  # nobody was faster
                if verbose and path.is_file():
                    print(f"{path} has another SHA-256; downloading it again", file=sys.stderr)
                with _open_partial(path, is_locked) as partial:
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
    _download(url, _Partial(buffer), sha256, num_attempts, verbose)
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
        found = _sha256_of(file)
    if found != sha256:
        raise OSError(f"{path} has the SHA-256 {found}, expected {sha256}")


def _cache_file_name(url: str) -> str:
    tail = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rsplit("/", 1)[-1]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", tail)[-80:].lstrip(".")
    return f"{hashlib.sha256(url.encode()).hexdigest()[:32]}_{readable or 'download'}"


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _explain_storage(err: OSError, folder: Path) -> str:
    if err.errno in _DISK_FULL:
        is_announced = err.strerror != os.strerror(err.errno)
        size = f" {err.strerror}" if is_announced else ""
        problem = f"has no space left{size}; make some or"
    else:
        problem = f"cannot be used ({err.strerror});"
    return f"the cache folder {folder} {problem} set DNNLIB_CACHE_DIR to another folder"


# Hashes


def _is_cached(path: Path, sha256: str | None) -> bool:
    if not path.is_file():
        return False
    if sha256 is None:
        return True
    with path.open("rb") as file:
        return _sha256_of(file) == sha256  # each time: whatever is noted elsewhere may be wrong


def _sha256_of(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    """The dictionary in a file, `None` if there is none or it was cut short."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


# The beginning of a file


class _Partial:
    """The beginning of a file and, if it can be continued, how to ask for the rest.

    Attributes:
        validator: The server's name for this version; `None` if the file cannot be continued.
        total: Bytes in the whole file, `None` if the server did not say.
    """

    def __init__(self, file: BinaryIO, path: Path | None = None):
        self.file = file
        self._path = path
        self._note_path = _beside(path, ".json") if path is not None else None
        note = (_read_json(self._note_path) if self._note_path is not None else None) or {}
        self.validator, self.total = note.get("validator"), note.get("total")
        is_usable = _is_sendable(self.validator) and isinstance(self.total, int | None)
        if not is_usable or (self.total is not None and self.size() > self.total):
            self.discard()

    def size(self) -> int:
        return self.file.seek(0, os.SEEK_END)

    def offset(self) -> int:
        """Where to continue; 0 is from scratch."""
        return self.size() if self.validator is not None else 0

    def begin(self, validator: str | None, total: int | None) -> None:
        """Start from scratch with this version of the file.

        Raises:
            OSError: If the disk has no room for it.
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
        """Forget everything. The note goes first: killed in between, we must not continue."""
        self.validator = self.total = None
        if self._note_path is not None:
            self._note_path.unlink(missing_ok=True)
        self.file.truncate(0)

    def move_to(self, path: Path) -> None:
        """Give the complete file its name."""
        os.fsync(self.file.fileno())
        self.file.close()  # Windows renames no open file
        try:
            os.replace(self._path, path)
        except FileNotFoundError:
            # On cluster file systems locks may hold on one machine only, and another was faster.
            if not path.is_file():
                raise
        self._note_path.unlink(missing_ok=True)

    def close(self, is_kept: bool) -> None:
        """Close the file; it stays only if it is to be kept and can be continued."""
        if self.file.closed:
            return
        is_kept = is_kept and self.offset() > 0
        self.file.close()
        if not is_kept:
            for path in (self._note_path, self._path):
                with contextlib.suppress(OSError):
                    path.unlink()


@contextlib.contextmanager
def _open_partial(path: Path, is_locked: bool) -> Iterator[_Partial]:
    """Open what there is of a file; without the lock on it, a file of our own."""
    partial = None
    if is_locked:
        with contextlib.suppress(PermissionError):  # another user's
            partial = _Partial(*_create(_beside(path, ".partial"), 0))
    is_shared = partial is not None
    if not is_shared:
        partial = _Partial(*_create(_beside(path, f".{uuid.uuid4().hex}.partial"), os.O_EXCL))
    is_kept = is_shared
    try:
        yield partial
    except OSError as err:
        # A file that fits nowhere must not fill the disk for everybody else.
        is_kept = is_shared and err.errno not in _DISK_FULL
        raise
    finally:
        partial.close(is_kept)


def _create(path: Path, flags: int) -> tuple[BinaryIO, Path]:
    flags |= os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    # Unbuffered, so that a process that is killed leaves all that has arrived.
    return os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0), path


# The network


def _download(
    url: str,
    partial: _Partial,
    sha256: str | None,
    num_attempts: int,
    verbose: bool,
    path: Path | None = None,
) -> None:
    """Complete a file and check its hash; `path` is where a user could put it by hand."""
    for is_last in (False, True):
        _complete(url, partial, num_attempts, verbose, path)
        if sha256 is None or (found := _sha256_of(partial.file)) == sha256:
            return
        partial.discard()
        if verbose and not is_last:
            print(f"{url}: damaged (SHA-256 {found}); once more from scratch", file=sys.stderr)
    raise OSError(f"cannot download {url}: the file has the SHA-256 {found}, expected {sha256}")


def _complete(
    url: str, partial: _Partial, num_attempts: int, verbose: bool, path: Path | None
) -> None:
    delay_sec = _FIRST_DELAY_SEC
    num_stalls = 0
    for attempt in range(1, num_attempts + 1):
        offset = partial.offset()
        try:
            _attempt(url, partial, verbose)
            return
        except TransientError as err:
            reason = str(err)
            is_held_up = partial.offset() - offset < _PROGRESS_BYTES
            num_stalls += isinstance(err, StalledError) and is_held_up
            if attempt == num_attempts or num_stalls == _MAX_STALLS:
                plural = "attempt" if attempt == 1 else "attempts"
                place = f", or save it as {path}" if path is not None else ""
                raise OSError(
                    f"cannot download {url} ({attempt} {plural}): {reason}. Without a network, "
                    f"fetch the file elsewhere and give its local path instead{place}."
                ) from err
            if partial.offset() > offset:  # we are getting on
                delay_sec = _FIRST_DELAY_SEC
            pause_sec = max(delay_sec, min(err.delay_sec, _MAX_RETRY_AFTER_SEC))
        if verbose:
            print(f"{url}: {reason}; next attempt in {pause_sec:g} s", file=sys.stderr)
        time.sleep(pause_sec)
        delay_sec = min(2 * delay_sec, _MAX_DELAY_SEC)


def _attempt(url: str, partial: _Partial, verbose: bool) -> None:
    """Ask once for what is missing and, if the server cannot continue, for the whole file."""
    offset = partial.offset()
    if offset and offset == partial.total:
        return  # only the name was missing
    if offset:
        # With If-Range a server that has another version by now sends it all, with status 200.
        headers = {"Range": f"bytes={offset}-", "If-Range": partial.validator}
        with http_stream.get(url, _IDENTITY | headers) as answer:
            end = _accept_rest(answer, partial, offset)
            if end is not None:
                _append_body(url, answer, partial, end, verbose)
                return
            if answer.status_code not in (206, 412, 416):
                _take_whole(url, answer, partial, verbose)
                return
        partial.discard()
    with http_stream.get(url, _IDENTITY) as answer:
        _take_whole(url, answer, partial, verbose)


def _take_whole(url: str, answer: http_stream.Answer, partial: _Partial, verbose: bool) -> None:
    _check_status(url, answer)
    length = answer.headers.get("Content-Length", "")
    is_chunked = "Transfer-Encoding" in answer.headers  # which a length beside it does not count
    is_known = re.fullmatch(_LENGTH, length, re.ASCII) and not is_chunked
    total = int(length) if is_known else None
    partial.begin(_strong_validator(answer), total)
    _append_body(url, answer, partial, total, verbose)


def _check_status(url: str, answer: http_stream.Answer) -> None:
    status = f"the server answers {answer.status_code} {answer.reason}"
    if answer.status_code in (408, 429) or answer.status_code >= 500:
        raise TransientError(status, _retry_after_sec(answer))
    if answer.status_code != 200:
        raise OSError(f"cannot download {url}: {status}")
    if _is_encoded(answer):
        # Nobody asked for it, its true length is unknown, and 2 MB can unpack to 2 GB.
        encoding = printable(answer.headers["Content-Encoding"])
        raise OSError(
            f"cannot download {url}: the server compresses the file (Content-Encoding: {encoding}) "
            "although it was asked not to; fetch the file elsewhere and give its local path instead"
        )


def _retry_after_sec(answer: http_stream.Answer) -> float:
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    date = _parse_date(text)
    return (date - datetime.now(timezone.utc)).total_seconds() if date is not None else 0.0


def _is_encoded(answer: http_stream.Answer) -> bool:
    """Whether the body is compressed; servers also send words here that mean nothing ("none")."""
    names = answer.headers.get("Content-Encoding", "").lower().split(",")
    return any(name.strip().removeprefix("x-") in _COMPRESSIONS for name in names)


def _strong_validator(answer: http_stream.Answer) -> str | None:
    """What names this version, byte for byte, in an If-Range header (RFC 9110, 13.1.5)."""
    headers = answer.headers
    if headers.get("Accept-Ranges", "").lower() == "none":
        return None
    if etag := headers.get("ETag"):
        # W/"..." may stand for different bytes.
        return etag if etag.startswith('"') and _is_sendable(etag) else None
    changed, now = (_parse_date(headers.get(name, "")) for name in ("Last-Modified", "Date"))
    is_strong = changed is not None and now is not None and now - changed >= _MIN_AGE
    is_strong = is_strong and _is_sendable(headers["Last-Modified"])
    return headers["Last-Modified"] if is_strong else None


def _is_sendable(validator: Any) -> bool:
    """Whether it may stand in the header of a request, which line ends would break."""
    return isinstance(validator, str) and re.fullmatch(r"[\x20-\x7e]{1,500}", validator) is not None


def _parse_date(text: str) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


def _accept_rest(answer: http_stream.Answer, partial: _Partial, offset: int) -> int | None:
    """Where the answer ends, if it goes on from `offset` in the version that we have begun.

    It may tell the length of a file that came without at first.
    """
    content_range = answer.headers.get("Content-Range", "").strip()
    match = re.fullmatch(rf"bytes ({_LENGTH})-({_LENGTH})/({_LENGTH}|\*)", content_range, re.ASCII)
    if answer.status_code != 206 or match is None or _is_encoded(answer):
        return None
    first, last = int(match[1]), int(match[2])
    total = partial.total if match[3] == "*" else int(match[3])
    # An answer that does not name its version may be of any.
    name = "ETag" if partial.validator.startswith('"') else "Last-Modified"
    is_same = answer.headers.get(name) == partial.validator and partial.total in (None, total)
    if not is_same or total is None or not first == offset <= last < total:
        return None
    partial.total = total
    return last + 1


def _append_body(
    url: str, answer: http_stream.Answer, partial: _Partial, end: int | None, verbose: bool
) -> None:
    """Append what comes; `end` is the size that the file has then, if the server tells."""
    size = partial.size()
    total = partial.total
    limit = _MAX_UNANNOUNCED_BYTES if end is None else end
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    if verbose and not is_terminal:
        rest = f" from {tqdm.format_sizeof(size, 'B', 1024)} on" if size else ""
        print(f"Downloading {url}{rest}", file=sys.stderr)
    with tqdm(
        total=total,
        initial=size,
        desc=f"Downloading {url}",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=not (verbose and is_terminal),
    ) as progress:
        try:
            for chunk in answer.chunks():
                size += len(chunk)
                if size > limit:
                    partial.discard()
                    what = "announced" if end is not None else "any network has"
                    raise TransientError(f"the server sends more than the {limit} bytes {what}")
                partial.append(chunk)
                progress.update(len(chunk))
                heartbeat.beat()  # other processes may wait for the file
        except TransientError as err:
            arrived = f"after {partial.size()} bytes" + (f" of {total}" if total else "")
            raise type(err)(f"{err} {arrived}") from err
    if total is not None and size != total:
        raise TransientError(f"got {size} bytes of {total}")
