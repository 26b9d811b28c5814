"""Short texts that the processes of a run share: each process replaces its own text."""

import multiprocessing
import struct
import time
import zlib

import torch

_HEADER = struct.Struct("=II")  # checksum of a text, and its size in bytes
_NUM_LOOKS = 50  # attempts to read a text that is being written
_PAUSE_SEC = 0.001


class TextsInMemory:
    """Texts in memory that this process shares with the processes that it starts.

    Neither a full disk nor a stopped process keeps others from reading and writing.

    Args:
        num: Number of processes.
        max_bytes: Largest size of a text in UTF-8; longer texts lose their beginning.
    """

    def __init__(self, num: int, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        size = num * (_HEADER.size + max_bytes)
        self._memory = multiprocessing.get_context("spawn").RawArray("B", size)

    def write(self, rank: int, text: str) -> None:
        """Replace the text of a process."""
        data = text.encode("utf-8", errors="replace")[-self._max_bytes :]
        record = _HEADER.pack(zlib.crc32(data), len(data)) + data
        self._slot(rank)[: len(record)] = record

    def read(self, rank: int) -> str | None:
        """The text of a process; `None` if the process wrote none, or died while writing."""
        for _ in range(_NUM_LOOKS):
            slot = bytes(self._slot(rank))
            checksum, num_bytes = _HEADER.unpack_from(slot)
            if num_bytes == 0:
                return None
            data = slot[_HEADER.size : _HEADER.size + num_bytes]
            if zlib.crc32(data) == checksum:
                return data.decode("utf-8", errors="replace")
            time.sleep(_PAUSE_SEC)
        return None

    def _slot(self, rank: int) -> memoryview:
        num_bytes = _HEADER.size + self._max_bytes
        return memoryview(self._memory).cast("B")[rank * num_bytes : (rank + 1) * num_bytes]


class TextsInStore:
    """Texts in a store of PyTorch that processes on several machines share.

    Args:
        store: For example a `TCPStore`. Not a `FileStore`: after its disk was full, it keeps its
            readers busy for ever.
    """

    def __init__(self, store: torch.distributed.Store) -> None:
        self._store = store

    def write(self, rank: int, text: str) -> None:
        """Leave the text of a process.

        Raises:
            RuntimeError: If the store cannot be reached.
        """
        self._store.set(f"text/{rank}", text)

    def read(self, rank: int) -> str | None:
        """The text of a process; `None` if it wrote none.

        Raises:
            RuntimeError: If the store cannot be reached.
        """
        key = f"text/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else None
