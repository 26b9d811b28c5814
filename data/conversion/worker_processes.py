"""Work in other processes: an ordered `map` in several, or a generator in one that may crash."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection
from typing import TypeVar

from dnnlib import interrupts
from dnnlib.errors import MachineError
from torch_utils.host_memory import keep_freed_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK_SIZE = 4  # items per message: a compromise between large and small images


def map_ordered(
    function: Callable[[Item], Result], items: Iterable[Item], num_workers: int
) -> Generator[Result]:
    """Yield `function(item)` for each item, in order.

    Function and items must be picklable if `num_workers` is above 1. Closing the generator stops
    early: it waits only for the few items in flight.

    Raises:
        RuntimeError: If a process dies.
    """
    if num_workers <= 1:
        yield from map(function, items)
        return
    items = iter(items)
    pending: deque[Future[list[Result]]] = deque()
    # Spawned: forking a process with threads (of a progress bar, of a library) may hang.
    pool = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), initializer=_follow_parent
    )
    try:
        while chunk := list(islice(items, CHUNK_SIZE)):
            with interrupts.held_back():  # the first calls start the processes
                pending.append(pool.submit(_map_chunk, function, chunk))
            if len(pending) > 2 * num_workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise MachineError(
            "a worker process died, perhaps for lack of memory; try fewer with --workers=1"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def iterate_apart(function: Callable[[Item], Iterable[Result]], argument: Item) -> Iterator[Result]:
    """Yield the items of `function(argument)`, which runs in a process of its own.

    Function, argument and items must be picklable.

    Raises:
        ChildProcessError: If the process dies. Items from before its death were yielded.
        ValueError: If the function raises one.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, argument), daemon=True)
    try:
        with sender, interrupts.held_back():
            process.start()
        while (message := receiver.recv()) is not None:
            if isinstance(message, ValueError):
                raise message
            (item,) = message
            yield item
    except EOFError:
        process.join()
        raise ChildProcessError(f"another process ended by {_end_of(process)}") from None
    finally:
        receiver.close()
        if process.pid is not None:
            process.kill()
            process.join()


def _send(sender: Connection, function: Callable[[Item], Iterable[Result]], argument: Item) -> None:
    _follow_parent()
    with contextlib.suppress(BrokenPipeError):  # the reader has stopped early
        try:
            for item in function(argument):
                sender.send((item,))
            sender.send(None)
        except ValueError as error:
            sender.send(error)


def _end_of(process: multiprocessing.process.BaseProcess) -> str:
    code = process.exitcode
    assert code is not None  # because the process has been joined
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _map_chunk(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent process, and end with the parent, even if it is killed."""
    keep_freed_memory()  # for the next images
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # because this process was started by another
    parent.join()
    os._exit(1)
