"""Attribute dictionaries, lookup by name, durations, log files, addresses, atomic writes."""

import atexit
import contextlib
import errno
import functools
import importlib
import os
import re
import shutil
import stat
import sys
import tempfile
import threading
import traceback
import urllib.parse
import urllib.request
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

from dnnlib import downloads
from dnnlib.errors import InputError
from dnnlib.paths import HomeError, expand_home, folder_from_environment, shorten_name
from dnnlib.text import printable  # noqa: F401  (other modules import it from here)


class EasyDict(dict):
    """A dictionary whose items are attributes as well: `d.key` is `d["key"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"EasyDict has no item {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"EasyDict has no item {name!r}") from None


def get_obj_by_name(name: str) -> Any:
    """Import and return the module, class, function or attribute at a dotted path.

    Raises:
        ImportError: If some part of the path does not exist or cannot be imported; says which.
    """
    parts = name.split(".")
    if not all(parts):
        raise ImportError(f"{name!r} is not a dotted path like 'package.module.Class'")
    obj, num_found = _import_longest_prefix(name, parts)
    for i, part in enumerate(parts[num_found:], start=num_found):
        try:
            obj = getattr(obj, part)
        except AttributeError as err:
            found = ".".join(parts[:i])
            raise ImportError(f"cannot find {name!r}: {found!r} has no attribute {part!r}") from err
    return obj


def call_func_by_name(*args, func_name: str, **kwargs) -> Any:
    """Call the function at the dotted path `func_name` with the other arguments."""
    func = get_obj_by_name(func_name)
    if not callable(func):
        raise TypeError(f"{func_name!r} is not callable")
    return func(*args, **kwargs)


def construct_class_by_name(*args, class_name: str, **kwargs) -> Any:
    """Construct the class at the dotted path `class_name` with the other arguments."""
    return call_func_by_name(*args, func_name=class_name, **kwargs)


def format_time(seconds: float) -> str:
    """A duration in its largest units: `59s`, `1m 00s`, `2h 05m 09s`, `3d 04h 05m`."""
    total_sec = round(seconds)
    minutes, sec = divmod(total_sec, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if total_sec < 60:
        return f"{total_sec}s"
    if total_sec < 60 * 60:
        return f"{minutes}m {sec:02d}s"
    if total_sec < 24 * 60 * 60:
        return f"{hours}h {minutes:02d}m {sec:02d}s"
    return f"{days}d {hours:02d}h {minutes:02d}m"


def is_power_of_two(number: int) -> bool:
    """Whether `number` is 1, 2, 4, 8, ..."""
    return number > 0 and number & (number - 1) == 0


def nearest_power_of_two(number: int) -> int:
    """The power of two at the smallest ratio to `number`, from 1 on: 256 for 182 to 362."""
    smaller = 1 << (number.bit_length() - 1)
    return smaller if number**2 < 2 * smaller**2 else 2 * smaller


class Logger:
    """Repeats everything written to `sys.stdout` and `sys.stderr` in a log file, until closed.

    Lines that are drawn over with carriage returns (progress bars) appear on the console only.
    When a `with` block ends in an exception, its traceback goes to the file as well. When nobody
    reads the console any more (a closed terminal, the end of `| tee`), the file goes on.

    Args:
        file_name: The log file, or `None` to leave the streams as they are.
        file_mode: `"w"` to start afresh, `"a"` to append.
        should_flush: Write through to the file and the console at once.
    """

    def __init__(
        self,
        file_name: str | os.PathLike | None = None,
        file_mode: str = "w",
        should_flush: bool = True,
    ):
        self.file = None
        if file_name is not None:
            text_file = open(file_name, file_mode, encoding="utf-8", errors="replace")  # noqa: SIM115
            self.file = _LogFile(text_file)
        lock = threading.RLock()
        self._stdout = _Tee(sys.stdout, self.file, should_flush, lock)
        self._stderr = _Tee(sys.stderr, self.file, should_flush, lock)
        if self.file is not None:
            sys.stdout, sys.stderr = self._stdout, self._stderr

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, exc_type, exc, tb) -> None:
        if self.file is not None and exc is not None and not isinstance(exc, SystemExit):
            self.flush()
            self.file.write("".join(traceback.format_exception(exc_type, exc, tb)))
        self.close()

    def write(self, text: str | bytes) -> None:
        """Write to the standard output and to the file."""
        self._stdout.write(text)

    def flush(self) -> None:
        """Flush the console and the file."""
        self._stdout.flush()
        self._stderr.flush()

    def close(self) -> None:
        """Give the streams back and close the file; a second call does nothing."""
        if self.file is None:
            return
        self.flush()
        if sys.stdout is self._stdout:
            sys.stdout = self._stdout.console
        if sys.stderr is self._stderr:
            sys.stderr = self._stderr.console
        # Whoever still holds a stream (a logging handler, say) keeps writing to the console.
        self._stdout.file = self._stderr.file = None
        self.file.close()
        self.file = None


def make_cache_dir_path(*paths: str) -> str:
    """A path inside the cache folder: `$DNNLIB_CACHE_DIR`, else the user's own for `stylegan3`.

    A user without a home folder gets, with a warning, one that is gone when the process ends.

    Raises:
        HomeError: If an environment variable names the home folder of an unknown user.
    """
    return os.path.join(_cache_dir(), *paths)


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


def open_url(
    url: str,
    cache_dir: str | None = None,
    num_attempts: int = 10,
    verbose: bool = True,
    return_filename: bool = False,
    cache: bool = True,
) -> BinaryIO | str:
    """Open a web address, a `file:` address or a local path for reading bytes.

    A download goes to the cache folder first and is opened from there ever after; where several
    processes ask for the same address, one downloads and the others wait. Lost connections,
    silence, short bodies, overload (429) and server errors (5xx) are tried again with growing
    pauses; other refusals, such as 404, are final. What has arrived is kept, if the server names
    versions of its files, and the next attempt, or the next process, asks for the rest only.

    A server that is silent for a minute, or slower than 1 kB/s, breaks an attempt; three attempts
    that hardly got further for that reason end the download. Compressed answers are refused.

    An address may end in `#sha256=` and the hash that the file must have.

    Args:
        url: Address or path.
        cache_dir: Folder of the downloads; `None` for the one below `make_cache_dir_path()`.
        num_attempts: How often to try at most.
        verbose: Say on the standard error what is going on, with a progress bar on a terminal.
        return_filename: Return the path of the (cached) file in place of the open file.
        cache: Whether to use the cache; `False` downloads into memory.

    Raises:
        OSError: If the file cannot be had; the message gives the address and the reason.
        ValueError: If the address has another fragment.
    """
    url = os.fspath(url)
    if not is_url(url):
        path = _local_path(url)
        return path if return_filename else open(path, "rb")
    if num_attempts < 1:
        raise InputError(f"open_url: `num_attempts` must be at least 1, got {num_attempts}")
    if not cache:
        if return_filename:
            raise InputError("open_url: `return_filename=True` needs `cache=True`")
        return downloads.fetch_into_memory(url, num_attempts, verbose)
    path = downloads.fetch(url, _downloads_dir(cache_dir), num_attempts, verbose)
    return str(path) if return_filename else path.open("rb")


def remove_download(url: str, status: os.stat_result, cache_dir: str | None = None) -> str:
    """Remove what `open_url` has put into the cache, because it is not what it should be.

    Without this, a web page or half a file would come from the cache for ever.

    Args:
        url: What `open_url` got. Of anything but a web address, nothing is removed.
        status: Of the file that it opened (`os.fstat`), so that no other one is removed.
        cache_dir: As for `open_url`.

    Returns:
        A part of a sentence that says what became of the file; empty if `url` is no web address.
    """
    if not is_url(url):
        return ""
    return downloads.remove_cached(url, _downloads_dir(cache_dir), status)


def cached_download(url: str, cache_dir: str | None = None) -> str:
    """Where `open_url` keeps what it downloads from an address, whether it is there or not."""
    return str(downloads.cached_path(url, _downloads_dir(cache_dir)))


def remove_leftovers(folder: Path, names: re.Pattern[str]) -> tuple[int, int]:
    """Remove what `open_atomic` left of files when a process was killed.

    The caller makes sure that no other process writes these files now.

    Args:
        folder: Where they were to be.
        names: What their names were to be, in full.

    Returns:
        How many there were, and their bytes.

    Raises:
        OSError: If one cannot be removed.
    """
    num = num_bytes = 0
    for path in folder.iterdir():
        match = _LEFTOVER.fullmatch(path.name)
        if match is not None and names.fullmatch(match[1]):
            num, num_bytes = num + 1, num_bytes + path.stat().st_size
            path.unlink()
    return num, num_bytes


_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")


@contextlib.contextmanager
def open_atomic(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Open a file for writing that takes its name only when the `with` block ends well.

    Until then the data is in a hidden file of the same folder; after an exception that file is
    gone and the target is as it was. Text is UTF-8. Links are followed; devices and pipes, which
    cannot be replaced, are written directly.
    """
    if not mode.startswith("w"):
        raise InputError(f"open_atomic: `mode` must be 'w' or 'wb', got {mode!r}")
    target = Path(os.path.realpath(path))
    old_mode = target.stat().st_mode if target.exists() else None
    encoding = None if "b" in mode else "utf-8"
    if old_mode is not None and not stat.S_ISREG(old_mode):
        with open(target, mode, encoding=encoding) as file:  # a folder raises IsADirectoryError
            yield file
        return
    temp = target.with_name(f".{shorten_name(target.name, 100)}.{uuid.uuid4().hex}.tmp")
    try:
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except FileNotFoundError as err:
        message = "the folder to write into does not exist"
        raise FileNotFoundError(errno.ENOENT, message, str(path)) from err
    try:
        with os.fdopen(fd, mode, encoding=encoding) as file:
            yield file
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
        if old_mode is not None:
            os.chmod(temp, stat.S_IMODE(old_mode))
        os.replace(temp, target)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def _downloads_dir(cache_dir: str | None) -> Path:
    return Path(cache_dir or make_cache_dir_path("downloads"))


def _cache_dir() -> str:
    if root := folder_from_environment("DNNLIB_CACHE_DIR"):
        return root
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return os.path.join(local, "stylegan3")
    if root := folder_from_environment("XDG_CACHE_HOME"):
        return os.path.join(root, "stylegan3")
    try:
        home = expand_home("~")
    except HomeError:
        return _temporary_cache_dir()
    return os.path.join(home, ".cache", "stylegan3")


@functools.cache
def _temporary_cache_dir() -> str:
    # Private: what lies in a cache is trusted, so it must not have a name that others can foresee.
    folder = tempfile.mkdtemp(prefix="stylegan3-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    warnings.warn(
        "there is no home folder to keep downloads, kernels and features of datasets in, so this "
        "process makes its own; name a folder in DNNLIB_CACHE_DIR",
        stacklevel=4,
    )
    return folder


def _import_longest_prefix(name: str, parts: list[str]) -> tuple[Any, int]:
    """The innermost importable module on a dotted path and the number of parts that name it."""
    for num_parts in range(len(parts), 0, -1):
        module_name = ".".join(parts[:num_parts])
        try:
            return importlib.import_module(module_name), num_parts
        except ModuleNotFoundError as err:
            # A module that exists but lacks something it imports must not pass for a missing one.
            if err.name is None or not f"{module_name}.".startswith(f"{err.name}."):
                raise ImportError(f"cannot import {name!r}: {err}") from err
            if num_parts == 1:
                raise ImportError(f"cannot find {name!r}: no module {module_name!r}") from err
    raise AssertionError("unreachable")


class _LogFile:
    """A text file that costs lines when the disk is full, and not the run that it is the log of."""

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class _Tee:
    """A console stream that repeats finished lines in a file; otherwise behaves as the stream."""

    def __init__(
        self,
        console: TextIO | None,
        file: _LogFile | None,
        should_flush: bool,
        lock: threading.RLock,
    ):
        self.console = console  # None where there is no console (pythonw)
        self.file = file
        self._should_flush = should_flush
        self._lock = lock
        self._line = ""  # the current line, as far as it is not in the file yet
        self._is_line_started = False  # part of the current line is in the file already

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["console"], name)

    def write(self, text: str | bytes) -> int:
        if isinstance(text, bytes):
            text = text.decode("utf-8", errors="replace")
        with self._lock:
            if self.console is not None:
                self._to_console(self.console.write, text)
            if self.file is not None:
                *lines, self._line = (self._line + text).split("\n")
                for line in lines:
                    self._finish_line(line.removesuffix("\r"))
            if self._should_flush:
                self.flush()
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._lock:
            if self.console is not None:
                self._to_console(self.console.flush)
            if self.file is not None:
                if self._line and "\r" not in self._line:
                    self.file.write(self._line)
                    self._line, self._is_line_started = "", True
                self.file.flush()

    def _to_console(self, function: Callable, *args) -> None:
        """Write to the console; if that fails, the log file goes on alone."""
        try:
            function(*args)
        except OSError as error:
            if self.file is None:
                raise
            if error.errno in _READER_IS_GONE:
                _detach(self.console)
                self.file.write(f"Note: nobody reads the console any more ({error.strerror}).\n")

    def _finish_line(self, line: str) -> None:
        is_progress = "\r" in line
        if not is_progress:
            self.file.write(line)
        if not is_progress or self._is_line_started:
            self.file.write("\n")
        self._is_line_started = False


# A pipe without a reader; a terminal that was closed.
_READER_IS_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


def _detach(console: TextIO) -> None:
    """Let what is written to a stream vanish, also what is left for the end of the process."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file
        fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(fd, console.fileno())
        os.close(fd)


def _local_path(url: str) -> str:
    """The path behind a `file:` address or a plain path."""
    if is_url(url, allow_file_urls=True):
        address, sha256 = downloads.split_sha256(url)
        path = urllib.request.url2pathname(urllib.parse.urlsplit(address).path)
        if sha256 is not None:
            downloads.check_sha256(path, sha256)
        return path
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", url):
        raise OSError(f"cannot open {url}: only http, https and file addresses are supported")
    return url
