"""Ctrl-C where Python would answer with a traceback: during imports, and in other processes.

Scripts import this module before all others, so it must stay quick to import.
"""

import contextlib
import os
import signal
from collections.abc import Iterator


def end_quietly() -> None:
    """Let Ctrl-C print "Aborted" and end this process at once, until `raise_again` is called.

    For scripts, before they import packages that take seconds. Nothing needs to be cleaned up yet,
    and an exception in the middle of a compiled module's import can turn into any other.
    """
    # Commands in the background of a shell script ignore Ctrl-C: they go on doing so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let Ctrl-C wait, and processes that start meanwhile never see it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # when it starts, it unblocks the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end(signum: int, frame: object) -> None:
    os.write(2, b"Aborted\n")  # what has been imported of `sys` and `io` may be in any state
    os._exit(128 + signum)
