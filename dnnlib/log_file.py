"""A log file that repeats what a program writes to the console."""

import contextlib
import errno
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import IO, Any, TextIO


class Logger:
    """Repeats all output to `sys.stdout` and `sys.stderr` in a log file, until closed.

    Lines that are redrawn with carriage returns (progress bars) appear on the console only. If the
    `with` block ends in an exception, its traceback goes to the file as well. If the console is
    gone (a closed terminal, the end of `| tee`), logging continues.

    Args:
        file_name: The log file, or `None` to leave the streams unchanged.
        file_mode: `"w"` to start afresh, `"a"` to append.
        should_flush: Flush the file and the console after every write.
    """

    def __init__(
        self,
        file_name: str | os.PathLike | None = None,
        file_mode: str = "w",
        should_flush: bool = True,
    ):
        self.file: _LogFile | None = None
        if file_name is not None:
            self.file = _LogFile(open(file_name, file_mode, encoding="utf-8", errors="replace"))  # noqa: SIM115
        lock = threading.RLock()
        self._stdout = _Tee(sys.stdout, self.file, should_flush, lock)
        self._stderr = _Tee(sys.stderr, self.file, should_flush, lock)
        if self.file is not None:
            sys.stdout, sys.stderr = self._stdout, self._stderr

    def __enter__(self) -> "Logger":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self.file is not None and exc is not None and not isinstance(exc, SystemExit):
            self.flush()
            self.file.write("".join(traceback.format_exception(exc_type, exc, tb)))
        self.close()

    def write(self, text: str | bytes) -> None:
        """Write to the console and to the file."""
        self._stdout.write(text)

    def flush(self) -> None:
        """Flush the console and the file."""
        self._stdout.flush()
        self._stderr.flush()

    def close(self) -> None:
        """Restore the streams and close the file; a second call does nothing."""
        if self.file is None:
            return
        self.flush()
        if sys.stdout is self._stdout:
            sys.stdout = self._stdout.console
        if sys.stderr is self._stderr:
            sys.stderr = self._stderr.console
        # A program part that holds a stream (a logging handler) keeps writing to the console.
        self._stdout.file = self._stderr.file = None
        self.file.close()
        self.file = None


class _LogFile:
    """A text file that drops lines when the disk is full, so that the run can continue."""

    def __init__(self, file: IO[str]):
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
    """Repeats finished lines of a console stream in a file, and otherwise behaves as the stream."""

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
        self._line = ""  # the part of the current line that is not in the file yet
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
                    self._finish_line(self.file, line.removesuffix("\r"))
            if self._should_flush:
                self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
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

    def _to_console(self, function: Callable, *args: str) -> None:
        """Write to the console; if this fails, write only to the log file from then on."""
        try:
            function(*args)
        except OSError as error:
            if self.file is None:
                raise
            if error.errno in _READER_IS_GONE:
                assert self.console is not None
                _detach(self.console)
                self.file.write(f"Note: the console is gone ({error.strerror}); the log goes on.\n")

    def _finish_line(self, file: _LogFile, line: str) -> None:
        is_progress = "\r" in line
        if not is_progress:
            file.write(line)
        if not is_progress or self._is_line_started:
            file.write("\n")
        self._is_line_started = False


# A pipe without a reader; a terminal that was closed.
_READER_IS_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


def _detach(console: TextIO) -> None:
    """Discard all further output of a stream, also its buffer at the end of the process."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file
        fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(fd, console.fileno())
        os.close(fd)
