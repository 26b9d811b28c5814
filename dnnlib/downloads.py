"""Downloads behind `dnnlib.util.open_url`: resumed, checked, one process at a time.

Beside a file `NAME` in the cache folder there can be, for a while,

- `NAME.partial`, what has arrived so far, and `NAME.partial.json`, how to ask for the rest,
- `NAME.lock`, empty and locked by the process that downloads; without the lock it means nothing,

and, where somebody asked for a hash, `NAME.sha256`, the hash that was found.
"""

import contextlib
import email.utils
import errno
import hashlib
import io
import json
import os
import re
import sys
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO

import requests
import urllib3
from tqdm import tqdm

from dnnlib import file_lock, ownership

_FIRST_DELAY_SEC = 0.5  # before the second attempt of a download; doubles from attempt to attempt
_MAX_DELAY_SEC = 8.0
_MAX_RETRY_AFTER_SEC = 60.0  # of what a server asks us to wait
_TIMEOUT_SEC = (10, 60)  # to connect; between two packets
_MAX_REDIRECTS = 20
_CHUNK_BYTES = 1 << 16  # at most this much is taken from the network at once
_MIN_AGE = timedelta(seconds=60)  # of a Last-Modified that tells versions apart
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
                if sha256 is not None:
                    _remember_sha256(path, path.stat(), sha256)
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
        raise ValueError(
            f"cannot use the fragment '#{fragment}' of {address}: "
            "it must be '#sha256=' and 64 hexadecimal digits"
        )
    return address, match[1].lower()


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
        problem = "has no space left; make some or"
    else:
        problem = f"cannot be used ({err.strerror});"
    return f"the cache folder {folder} {problem} set DNNLIB_CACHE_DIR to another folder"


# Hashes


def _is_cached(path: Path, sha256: str | None) -> bool:
    return path.is_file() and (sha256 is None or _cached_sha256(path) == sha256)


def _cached_sha256(path: Path) -> str:
    """The hash of the file: what was noted beside it, as long as nobody has touched the file."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        note = _read_json(_beside(path, ".sha256"))
        if note is not None and note == _hash_note(status, note.get("sha256")):
            return note["sha256"]
        found = _sha256_of(file)
    _remember_sha256(path, status, found)
    return found


def _remember_sha256(path: Path, status: os.stat_result, sha256: str) -> None:
    with contextlib.suppress(OSError):  # it only saves time
        _beside(path, ".sha256").write_text(json.dumps(_hash_note(status, sha256)) + "\n")


def _hash_note(status: os.stat_result, sha256: Any) -> dict[str, Any]:
    return dict(sha256=sha256, size=status.st_size, mtime_ns=status.st_mtime_ns)


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
        is_usable = isinstance(self.validator, str) and isinstance(self.total, int | None)
        if not is_usable or (self.total is not None and self.size() > self.total):
            self.discard()

    def size(self) -> int:
        return self.file.seek(0, os.SEEK_END)

    def offset(self) -> int:
        """Where to continue; 0 is from scratch."""
        return self.size() if self.validator is not None else 0

    def begin(self, validator: str | None, total: int | None) -> None:
        """Start from scratch with this version of the file."""
        self.discard()
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


class _TransientError(Exception):
    """A failure that may be gone at the next attempt."""

    def __init__(self, message: str, delay_sec: float = 0.0):
        super().__init__(message)
        self.delay_sec = delay_sec  # what the server asks us to wait


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
    for attempt in range(1, num_attempts + 1):
        offset = partial.offset()
        try:
            _attempt(url, partial, verbose)
            return
        except _TransientError as err:
            reason = str(err)
            if attempt == num_attempts:
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
        with _get(url, headers) as response:
            if _accept_rest(response, partial, offset):
                _append_body(url, response, partial, verbose)
                return
            if response.status_code not in (206, 412, 416):
                _take_whole(url, response, partial, verbose)
                return
        partial.discard()
    with _get(url, {}) as response:
        _take_whole(url, response, partial, verbose)


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    # Content-Length counts bytes on the wire: compression would make it useless as a check.
    headers = {"Accept-Encoding": "identity", **headers}
    try:
        with requests.Session() as session:
            session.max_redirects = _MAX_REDIRECTS
            return session.get(url, stream=True, timeout=_TIMEOUT_SEC, headers=headers)
    except requests.exceptions.RequestException as err:
        # ValueErrors are bad addresses, also those that a server sends us to: file:, for example.
        is_final = isinstance(err, ValueError | requests.exceptions.TooManyRedirects)
        if is_final or "CERTIFICATE_VERIFY_FAILED" in str(err):
            raise OSError(f"cannot download {url}: {_one_line(err)}") from err
        raise _TransientError(_explain_network(err)) from err


def _take_whole(url: str, response: requests.Response, partial: _Partial, verbose: bool) -> None:
    _check_status(url, response)
    length = response.headers.get("Content-Length", "")
    is_known = length.isdecimal() and not _is_encoded(response)
    partial.begin(_strong_validator(response), int(length) if is_known else None)
    _append_body(url, response, partial, verbose)


def _check_status(url: str, response: requests.Response) -> None:
    status = f"the server answers {response.status_code} {response.reason}"
    if response.status_code in (408, 429) or response.status_code >= 500:
        raise _TransientError(status, _retry_after_sec(response))
    if response.status_code != 200:
        raise OSError(f"cannot download {url}: {status}")


def _retry_after_sec(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    date = _parse_date(text)
    return (date - datetime.now(timezone.utc)).total_seconds() if date is not None else 0.0


def _is_encoded(response: requests.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity").lower() != "identity"


def _strong_validator(response: requests.Response) -> str | None:
    """What names this version, byte for byte, in an If-Range header (RFC 9110, 13.1.5)."""
    headers = response.headers
    if _is_encoded(response) or headers.get("Accept-Ranges", "").lower() == "none":
        return None
    if etag := headers.get("ETag"):
        return etag if etag.startswith('"') else None  # W/"..." may stand for different bytes
    changed, now = (_parse_date(headers.get(name, "")) for name in ("Last-Modified", "Date"))
    is_strong = changed is not None and now is not None and now - changed >= _MIN_AGE
    return headers["Last-Modified"] if is_strong else None


def _parse_date(text: str) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


def _accept_rest(response: requests.Response, partial: _Partial, offset: int) -> bool:
    """Whether the answer is the rest, from `offset` on, of the version that we have begun.

    If it is, it may tell the length of a file that came without at first.
    """
    content_range = response.headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", content_range)
    if response.status_code != 206 or match is None or _is_encoded(response):
        return False
    first, last = int(match[1]), int(match[2])
    total = partial.total if match[3] == "*" else int(match[3])
    name = "ETag" if partial.validator.startswith('"') else "Last-Modified"
    is_same = response.headers.get(name, partial.validator) == partial.validator
    is_same = is_same and partial.total in (None, total)
    is_rest = first == offset <= last and (total is None or last < total)
    if is_same and is_rest:
        partial.total = total
    return is_same and is_rest


def _append_body(url: str, response: requests.Response, partial: _Partial, verbose: bool) -> None:
    size = partial.size()
    total = partial.total
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    if verbose and not is_terminal:
        rest = f" from {tqdm.format_sizeof(size, 'B', 1024)} on" if size else ""
        print(f"Downloading {url}{rest}", file=sys.stderr)
    # read1 returns what has arrived; read would lose it if the rest does not come (old urllib3).
    read = getattr(response.raw, "read1", response.raw.read)
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
            while chunk := read(_CHUNK_BYTES, decode_content=True):
                partial.append(chunk)
                progress.update(len(chunk))
        except urllib3.exceptions.HTTPError as err:
            arrived = f"after {partial.size()} bytes" + (f" of {total}" if total else "")
            raise _TransientError(f"{_explain_network(err)} {arrived}") from err
    size = partial.size()
    if total is not None and size != total:
        if size > total:
            partial.discard()
        raise _TransientError(f"got {size} bytes of {total}")


def _explain_network(err: Exception) -> str:
    if isinstance(err, requests.exceptions.ConnectTimeout):
        return f"no connection within {_TIMEOUT_SEC[0]:g} s"
    if isinstance(err, requests.exceptions.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return f"the server sent nothing for {_TIMEOUT_SEC[1]:g} s"
    if isinstance(err, urllib3.exceptions.ProtocolError):
        return "the connection broke"
    return f"{type(err).__name__}: {_one_line(err)}"


def _one_line(err: Exception) -> str:
    return " ".join(str(err).split())
