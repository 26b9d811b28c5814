"""Counters of this process's progress; a watchdog uses them to tell slow from stuck processes.

Code that can take minutes calls `beat` regularly; collectives run inside `collective`.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import IO, Any


@dataclasses.dataclass
class Progress:
    """Counters of one process.

    Attributes:
        beats: Grows with every step of work.
        collectives: Number of collectives begun. All processes begin the same collectives in the
            same order, so the others wait for a process that has begun fewer.
        is_waiting: Whether this process is inside a collective.
    """

    beats: int = 0
    collectives: int = 0
    is_waiting: bool = False


progress = Progress()  # of this process


def beat() -> None:
    """Note a step of work. A call costs next to nothing."""
    progress.beats += 1


@contextlib.contextmanager
def collective() -> Iterator[None]:
    """Note a collective, in which this process may have to wait for others."""
    progress.collectives += 1
    progress.is_waiting = True
    try:
        yield
    finally:
        progress.is_waiting = False
        progress.beats += 1


class BeatingFile:
    """A file that calls `beat` at every write, and otherwise behaves like the file that it wraps.

    Args:
        file: Open for writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_file"], name)

    def write(self, data: bytes) -> int:
        beat()
        return self._file.write(data)
