"""Complete a partial file from a web address, with several attempts."""

import email.utils
import re
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tqdm import tqdm

from dnnlib import heartbeat, http_stream
from dnnlib.http_stream import StalledError, TransientError
from dnnlib.partial_file import PartialFile, is_sendable
from dnnlib.text import printable

_FIRST_DELAY_SEC = 0.5  # before the second attempt of a download; doubles from attempt to attempt
_MAX_DELAY_SEC = 8.0
_MAX_RETRY_AFTER_SEC = 60.0  # longest pause at the request of a server
_MAX_STALLS = 3  # attempts that may stall without progress
_PROGRESS_BYTES = 1 << 20  # of progress in an attempt; with less, it counts as stalled
_MAX_UNANNOUNCED_BYTES = 1 << 34  # of a body without a stated length, which may be endless
_LENGTH = r"\d{1,19}"  # in bytes; Python refuses to read numbers of thousands of digits
_MIN_AGE = timedelta(seconds=60)  # of a file; then Last-Modified distinguishes versions
# Compression is useless, because networks hardly shrink, and would hide the length of the file.
_IDENTITY = {"Accept-Encoding": "identity"}
_COMPRESSIONS = ("gzip", "deflate", "compress", "br", "zstd", "dcb", "dcz")


def complete(
    url: str, partial: PartialFile, num_attempts: int, verbose: bool, path: Path | None
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
            if partial.offset() > offset:  # progress
                delay_sec = _FIRST_DELAY_SEC
            pause_sec = max(delay_sec, min(err.delay_sec, _MAX_RETRY_AFTER_SEC))
        if verbose:
            print(f"{url}: {reason}; next attempt in {pause_sec:g} s", file=sys.stderr)
        time.sleep(pause_sec)
        delay_sec = min(2 * delay_sec, _MAX_DELAY_SEC)


def _attempt(url: str, partial: PartialFile, verbose: bool) -> None:
    """Ask once for the missing rest and, if the server cannot continue, for the whole file."""
    offset = partial.offset()
    if offset and offset == partial.total:
        return  # complete, but killed before it was renamed
    if offset:
        assert partial.validator is not None  # or the offset would be 0
        # With If-Range, a server that has another version sends the whole file, with status 200.
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


def _take_whole(url: str, answer: http_stream.Answer, partial: PartialFile, verbose: bool) -> None:
    _check_status(url, answer)
    length = answer.headers.get("Content-Length", "")
    is_chunked = "Transfer-Encoding" in answer.headers  # then Content-Length is not valid
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
        # We did not request compression. The true length is unknown, and 2 MB can unpack to 2 GB.
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
    """Whether the body is compressed. Servers also send meaningless words, such as "none"."""
    names = answer.headers.get("Content-Encoding", "").lower().split(",")
    return any(name.strip().removeprefix("x-") in _COMPRESSIONS for name in names)


def _strong_validator(answer: http_stream.Answer) -> str | None:
    """The name of exactly this version for an If-Range header (RFC 9110, 13.1.5), or `None`."""
    headers = answer.headers
    if headers.get("Accept-Ranges", "").lower() == "none":
        return None
    if etag := headers.get("ETag"):
        # W/"..." may stand for different bytes.
        return etag if etag.startswith('"') and is_sendable(etag) else None
    changed, now = (_parse_date(headers.get(name, "")) for name in ("Last-Modified", "Date"))
    is_strong = changed is not None and now is not None and now - changed >= _MIN_AGE
    is_strong = is_strong and is_sendable(headers["Last-Modified"])
    return headers["Last-Modified"] if is_strong else None


def _parse_date(text: str) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


def _accept_rest(answer: http_stream.Answer, partial: PartialFile, offset: int) -> int | None:
    """The end of the answer in the file, if it continues our version at `offset`; else `None`.

    The answer may state the length of the file, if the first one did not.
    """
    content_range = answer.headers.get("Content-Range", "").strip()
    match = re.fullmatch(rf"bytes ({_LENGTH})-({_LENGTH})/({_LENGTH}|\*)", content_range, re.ASCII)
    if answer.status_code != 206 or match is None or _is_encoded(answer):
        return None
    first, last = int(match[1]), int(match[2])
    total = partial.total if match[3] == "*" else int(match[3])
    # An answer that does not name its version may be of any version.
    assert partial.validator is not None
    name = "ETag" if partial.validator.startswith('"') else "Last-Modified"
    is_same = answer.headers.get(name) == partial.validator and partial.total in (None, total)
    if not is_same or total is None or not first == offset <= last < total:
        return None
    partial.total = total
    return last + 1


def _append_body(
    url: str, answer: http_stream.Answer, partial: PartialFile, end: int | None, verbose: bool
) -> None:
    """Append a body; `end` is the size of the file after it, if the server states it."""
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
