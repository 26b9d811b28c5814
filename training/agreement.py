"""Decisions that all processes of a run take together, without a meeting in every iteration."""

import time

from torch_utils import collectives
from torch_utils.distributed import Worker


class Agreement:
    """Collects the flags of all processes about once in a period.

    All processes must call `any_of` in every iteration. They meet in the same iterations, because
    they also agree on the number of iterations from one meeting to the next. A single process needs
    no meetings: its flags take effect at once.

    Args:
        worker: This process.
        period_sec: Longest time from a flag to its effect, if iterations take as long as before.
    """

    def __init__(self, worker: Worker, period_sec: float) -> None:
        self._worker = worker
        self._period_sec = period_sec
        self._interval = 1  # iterations from one meeting to the next
        self._num_left = 1  # iterations from now to the next meeting
        self._met_at = time.monotonic()

    def any_of(self, *flags: bool) -> list[bool]:
        """OR each flag over all processes; all are false in an iteration without a meeting."""
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
