"""Signals that ask a run to stop: after the step, with everything saved."""

import os
import signal
import sys
import threading
import time

SIGNALS = (signal.SIGTERM, signal.SIGINT)
REPEAT_SEC = 2.0  # a terminal and a launcher may both pass on what was sent once


class StopRequest:
    """Notes the first SIGTERM or SIGINT while a `with` block runs; the second ends the process.

    Args:
        is_main: Whether this process tells the user.
    """

    def __init__(self, is_main: bool) -> None:
        self.is_set = False
        self._is_main = is_main
        self._time = 0.0
        self._old_handlers: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._old_handlers = {num: signal.signal(num, self._handle) for num in SIGNALS}
        return self

    def __exit__(self, *_exc) -> None:
        for num, handler in self._old_handlers.items():
            signal.signal(num, handler)

    def _handle(self, num: int, _frame) -> None:
        if not self.is_set:
            self.is_set = True
            self._time = time.monotonic()
            if self._is_main:
                # Not print(): a signal may arrive in the middle of another one.
                os.write(sys.__stderr__.fileno(), _MESSAGE)
        elif time.monotonic() - self._time > REPEAT_SEC:
            os._exit(128 + num)


_MESSAGE = b"\nStopping: finishing the step and saving the state. Once more to exit at once.\n"


def ignore_signals(*_args) -> None:
    """Leave signals to the process that started this one."""
    for num in SIGNALS:
        signal.signal(num, signal.SIG_IGN)
