"""Decisions that all processes of a run take alike, without meeting in every iteration."""

import time

from torch_utils import collectives
from torch_utils.distributed import Worker


class Agreement:
    """Collects flags of all processes about once in a period; a single process has its own at once.

    All processes must call `any_of` in every iteration. They meet in the same iterations, because
    they also agree on the number of iterations from one meeting to the next.

    Args:
        worker: This process.
        period_sec: Longest time from a flag to its effect, if iterations take as long as before.
    """

    def __init__(self, worker: Worker, period_sec: float) -> None:
        self._worker = worker
        self._period_sec = period_sec
        self._interval = self._num_left = 1  # iterations from one meeting to the next; and from now
        self._met_at = time.monotonic()

    def any_of(self, *flags: bool) -> list[bool]:
        """OR each flag over all processes; all false in an iteration in which they do not meet."""
        if self._worker.size == 1:
            return list(flags)
        self._num_left -= 1
        if self._num_left > 0:
            return [False] * len(flags)
        elapsed_sec, self._met_at = time.monotonic() - self._met_at, time.monotonic()
        affordable = int(self._period_sec * self._interval / max(elapsed_sec, 1e-9))
        # The slowest process decides. The first iterations say little about those that follow.
        wanted = max(1, min(affordable, 2 * self._interval))
        highest = collectives.highest(self._worker, -wanted, *flags)
        self._interval = self._num_left = -highest[0]
        return [bool(flag) for flag in highest[1:]]
