"""What this process has got done so far, as numbers: how a watchdog tells slow from stuck.

Work that can take minutes calls `beat` now and then; exchanges between processes are `collective`s.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import IO, Any


@dataclasses.dataclass
class Progress:
    """Counters of one process.

    Attributes:
        beats: Grows whenever something is done.
        collectives: Exchanges that were begun. All processes begin the same ones in the same
            order: who has begun fewer keeps the others waiting.
        is_waiting: Whether this process is inside an exchange.
    """

    beats: int = 0
    collectives: int = 0
    is_waiting: bool = False


progress = Progress()  # of this process


def beat() -> None:
    """Note that something was done. It costs next to nothing."""
    progress.beats += 1


@contextlib.contextmanager
def collective() -> Iterator[None]:
    """Note an exchange with the other processes, in which this one may have to wait."""
    progress.collectives += 1
    progress.is_waiting = True
    try:
        yield
    finally:
        progress.is_waiting = False
        progress.beats += 1


class BeatingFile:
    """A file that beats with every write; otherwise it behaves as the file.

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
