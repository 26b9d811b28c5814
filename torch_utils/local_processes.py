"""Runs a function in several processes, which end together and report failure in one line."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NoReturn

from dnnlib import errors, interrupts
from dnnlib.errors import MachineError
from dnnlib.interrupts import SIGNALS as STOP_SIGNALS
from torch_utils.shared_texts import TextsInMemory

MAX_WORDS = 16_000  # bytes of a message or traceback
_RESULT, _MESSAGE, _TRACEBACK = "result\n", "message\n", "traceback\n"
GRACE_SEC = 2.0  # time for the other processes to end when one has failed

# In a process that `run` started: the place for its result, message or traceback, which the parent
# reads. The text begins with `_RESULT`, `_MESSAGE` or `_TRACEBACK`.
_last_words: TextsInMemory | None = None
_rank = 0


class ProcessDied(MachineError):
    """A process ended without a message: the user or the system killed it."""


class ChildError(Exception):
    """A process raised an unexpected error; the message holds its traceback."""


def run(function: Callable[..., str | None], num_processes: int, *args: Any) -> str | None:
    """Call `function(rank, *args)` in new processes, and wait until all have ended.

    When one fails, the others are killed, because they would wait for it. Each SIGTERM, SIGINT or
    SIGHUP that this process gets (repetitions of the same request aside) is passed on to the
    processes as one SIGTERM. They ignore signals that a terminal sends to all processes at once.
    They end when this process is gone.

    Args:
        function: A module-level function, because other processes must find it by name.
        num_processes: How many.
        args: Further arguments, which must pickle.

    Returns:
        What the function returned in process 0, a short text or `None`.

    Raises:
        MachineError: If a process raised an error for users or called `fail`, with its message.
        ProcessDied: If a process was killed.
        ChildError: If a process raised anything else.
        KeyboardInterrupt: If the processes were asked to stop, and had no other way to end.
    """
    context = multiprocessing.get_context("spawn")
    last_words = TextsInMemory(num_processes, MAX_WORDS)
    processes = [
        context.Process(target=_run_one, args=(function, rank, last_words, args))
        for rank in range(num_processes)
    ]
    with _passing_on_signals(processes) as received:
        try:
            with interrupts.held_back():
                for process in processes:
                    process.start()
            if received:  # perhaps before the processes existed
                _terminate(processes)
            failed = _wait(processes)
        except BaseException:
            _end([process for process in processes if process.pid is not None])
            raise
    if failed is None:
        words = last_words.read(0)
        return None if words is None else words.removeprefix(_RESULT)
    texts = [last_words.read(rank) or "" for rank in (failed, *range(num_processes))]
    messages, tracebacks = (
        [text.removeprefix(kind) for text in texts if text.startswith(kind)]
        for kind in (_MESSAGE, _TRACEBACK)
    )
    if messages:
        raise MachineError(messages[0])
    exit_code = processes[failed].exitcode
    assert exit_code is not None  # the process has ended
    # When one was killed, the exchanges of the others fail; their tracebacks would explain nothing.
    if tracebacks and exit_code >= 0:
        raise ChildError(f"\n{tracebacks[0]}")
    if received:
        raise KeyboardInterrupt
    raise ProcessDied(f"process {failed} of {num_processes} {_how(exit_code)}")


def fail(message: str) -> NoReturn:
    """End this process at once, from any thread, with a message for users."""
    if _last_words is not None:
        _leave(_MESSAGE, message)
    else:
        with contextlib.suppress(OSError):
            print(f"Error: {message}", file=sys.stderr, flush=True)
    os._exit(1)


def end_with_parent() -> None:
    """Let this `multiprocessing` process end as soon as its parent process is gone."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def keep_handler_of_ended_children() -> Iterator[None]:
    """Undo the handler of SIGCHLD that a `DataLoader` sets when it starts its processes.

    PyTorch's handler raises an error at any place in this process. Without the handler, the
    error is raised when the next batch is requested.
    """
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if handler is not None:  # `None` is a handler of a C library, which Python cannot set
            signal.signal(signal.SIGCHLD, handler)


def _wait(processes: Sequence[BaseProcess]) -> int | None:
    """Wait until all processes have ended; return the number of the first that failed, if any."""
    running: dict[Any, int] = {process.sentinel: rank for rank, process in enumerate(processes)}
    while running:
        for sentinel in multiprocessing.connection.wait(list(running)):
            rank = running.pop(sentinel)
            processes[rank].join()
            if processes[rank].exitcode != 0:
                _end([processes[other] for other in running.values()])
                return rank
    return None


def _end(processes: Sequence[BaseProcess]) -> None:
    """Give processes a moment to end by themselves, then kill them."""
    deadline = time.monotonic() + GRACE_SEC
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()


def _terminate(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.pid is not None and process.is_alive():
            process.terminate()


@contextlib.contextmanager
def _passing_on_signals(processes: Sequence[BaseProcess]) -> Iterator[list[int]]:
    """Pass signals on to the processes, as SIGTERM; yields the list of signals received so far."""
    received: list[int] = []
    first_time = 0.0

    def pass_on(num: int, _frame: FrameType | None) -> None:
        nonlocal first_time
        if not received:
            first_time = time.monotonic()
        elif interrupts.is_echo(received[0], num, time.monotonic() - first_time):
            return  # the processes only get SIGTERM, and could not tell an echo
        received.append(num)
        _terminate(processes)

    is_main_thread = threading.current_thread() is threading.main_thread()
    # A signal that is ignored (because of nohup, say) stays ignored.
    numbers = [num for num in STOP_SIGNALS if signal.getsignal(num) is not signal.SIG_IGN]
    numbers = numbers if is_main_thread else []
    old_handlers = {num: signal.signal(num, pass_on) for num in numbers}
    try:
        yield received
    finally:
        for num, handler in old_handlers.items():
            signal.signal(num, handler)


def _run_one(
    function: Callable[..., str | None], rank: int, last_words: TextsInMemory, args: tuple
) -> None:
    global _last_words, _rank
    _last_words, _rank = last_words, rank
    for num in STOP_SIGNALS:
        if num != signal.SIGTERM:
            signal.signal(num, signal.SIG_IGN)  # see `run`
    end_with_parent()
    try:
        result = function(rank, *args)
        if result is not None:
            _leave(_RESULT, result)
    except KeyboardInterrupt:
        os._exit(130)
    except Exception as error:
        if errors.is_for_users(error):  # its message alone tells the user what to do
            _leave(_MESSAGE, errors.message_of(error))
        else:
            _leave(_TRACEBACK, traceback.format_exc())
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        # At once, because exit handlers of libraries may wait for the other processes.
        os._exit(1)


def _leave(kind: str, text: str) -> None:
    assert _last_words is not None
    max_chars = MAX_WORDS // 4 - len(kind)  # a character takes up to 4 bytes in UTF-8
    _last_words.write(_rank, kind + text[-max_chars:])


def _how(exit_code: int) -> str:
    """How a process ended, in words."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    guess = "; the system kills processes when memory is full" if name == "SIGKILL" else ""
    return f"was killed ({name}{guess})"
