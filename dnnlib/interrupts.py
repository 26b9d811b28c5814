"""Signals: Ctrl-C where Python would answer with a traceback, and those that come twice.

Scripts import this module before all others, so it must stay quick to import.
"""

import contextlib
import os
import signal
from collections.abc import Iterator

# Signals that ask a process to stop.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)

# What was sent once can arrive more than once: from `timeout`, say, and from a batch system that
# tells all processes while their parent passes it on.
ECHO_SEC = 0.2
# `torchrun` passes on what a terminal sends to all; and a closed terminal sends SIGHUP by the
# system and by the shell, perhaps followed by SIGTERM.
LATE_ECHO_SEC = 2.0


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


def ignore_signals() -> None:
    """Leave the `SIGNALS` to the process that started this one."""
    signal.set_wakeup_fd(-1)  # a forked process shares it with the process that started it
    for num in SIGNALS:
        signal.signal(num, signal.SIG_IGN)


def is_echo(first: int, num: int, after_sec: float) -> bool:
    """Whether a signal is part of an earlier one, and does not mean that somebody asks again.

    Args:
        first: The earlier one.
        num: The signal.
        after_sec: How much later it came.
    """
    is_typed = num == first and num != getattr(signal, "SIGHUP", None)
    is_late = not is_typed or "TORCHELASTIC_RUN_ID" in os.environ
    return after_sec <= (LATE_ECHO_SEC if is_late else ECHO_SEC)


def _end(signum: int, frame: object) -> None:
    os.write(2, b"Aborted\n")  # what has been imported of `sys` and `io` may be in any state
    os._exit(128 + signum)
