"""Handle signals: Ctrl-C without a traceback, and signals that arrive twice.

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

# A signal can arrive more than once: from `timeout`, or from a batch system that signals all
# processes while their parent passes the signal on.
ECHO_SEC = 0.2
# `torchrun` passes on signals that a terminal has sent to all processes. When a terminal closes,
# the system and the shell both send SIGHUP, perhaps followed by SIGTERM.
LATE_ECHO_SEC = 2.0


def end_quietly() -> None:
    """Let Ctrl-C print "Aborted" and end this process at once, until `raise_again` is called.

    Scripts call this before imports that take seconds. Nothing needs to be cleaned up yet, and an
    exception during the import of a compiled module can turn into any other exception.
    """
    # Commands in the background of a shell script must go on ignoring Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Delay Ctrl-C until the block ends. Processes that start inside the block never get it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start would unblock the signal
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
    """Whether a signal repeats an earlier one, rather than being a second request.

    Args:
        first: The earlier signal.
        num: The signal.
        after_sec: Time between them.
    """
    is_typed = num == first and num != getattr(signal, "SIGHUP", None)
    is_late = not is_typed or "TORCHELASTIC_RUN_ID" in os.environ
    return after_sec <= (LATE_ECHO_SEC if is_late else ECHO_SEC)


def _end(signum: int, frame: object) -> None:
    os.write(2, b"Aborted\n")  # `sys` and `io` may be half imported
    os._exit(128 + signum)
