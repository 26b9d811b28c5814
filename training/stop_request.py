"""Signals that ask a run to stop after its step, with its state saved.

Python calls a signal handler only after the current PyTorch operation, which can take long. Here
a thread receives the signals, so the second signal ends the process at once.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import Any

from dnnlib import interrupts, moved
from dnnlib.interrupts import SIGNALS

__getattr__ = moved.names_of(__name__)
SAY_SEC = 0.5


class StopRequest:
    """Notes the first signal of `SIGNALS` while a `with` block runs; the second ends the process.

    Signals that were ignored before stay ignored, such as SIGHUP under `nohup`.

    Args:
        is_main: Whether this process tells the user.
    """

    def __init__(self, is_main: bool) -> None:
        self.is_set = False
        self._is_main = is_main
        self._first = 0
        self._time = 0.0
        self._old_handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._numbers, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()
            self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            self._old_handlers = {
                num: signal.signal(num, _do_nothing)
                for num in SIGNALS
                if signal.getsignal(num) is not signal.SIG_IGN
            }
        return self

    def __exit__(self, *_exc: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for num, handler in self._old_handlers.items():
                signal.signal(num, handler)
            signal.set_wakeup_fd(self._old_fd)
            # Ends the thread. Closing alone would not: forked processes hold the socket, too.
            self._writer.shutdown(socket.SHUT_WR)
            self._thread.join()
            self._writer.close()
            self._numbers.close()

    def _read(self) -> None:
        while numbers := self._numbers.recv(100):
            for num in numbers:
                if num in SIGNALS:  # the numbers of other handled signals arrive as well
                    self._note(num)

    def _note(self, num: int) -> None:
        now = time.monotonic()
        if not self.is_set:
            self.is_set, self._first, self._time = True, num, now
            self._say(_FIRST)
        elif not interrupts.is_echo(self._first, num, now - self._time):
            self._say(_SECOND)
            os._exit(128 + num)

    def _say(self, message: bytes) -> None:
        if self._is_main:
            # Writing blocks when nobody reads, and the next signal must still be received.
            thread = threading.Thread(target=_write, args=[message], daemon=True)
            thread.start()
            thread.join(SAY_SEC)


_FIRST = b"\nStopping: finishing the step and saving the state. Once more to exit at once.\n"
_SECOND = b"\nExiting at once: what came after the last state is lost.\n"


def _write(message: bytes) -> None:
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            # Not print(): another thread may be in the middle of one.
            os.write(sys.__stderr__.fileno(), message)


def _do_nothing(_num: int, _frame: FrameType | None) -> None:
    """Replace the default action; the thread of `StopRequest` reads the signal."""
