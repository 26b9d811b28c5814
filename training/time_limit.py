"""The time limit of a session: a run stops early enough to save its state.

How long work takes is measured during the run, and kept in the training state.
"""

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from torch_utils import distributed

EXIT_CODE = 3  # of `train.py` after a stop because of the time; errors have 1 and 2
CAUTION = 1.5  # work may take so many times as long as before
# Time to end the processes: seconds, and at most this share of a short limit.
ENDING_SEC, ENDING_SHARE = 10.0, 0.05
NUM_STEPS = 64  # recent steps, of which the longest counts
STATE = "state"


@dataclass
class Attempt:
    """A piece of work that is being measured.

    Attributes:
        is_complete: False if a part has failed: the whole may take longer.
    """

    is_complete: bool = True


class TimeLimit:
    """Tells whether there is time for a piece of work. The main process decides for all.

    Args:
        minutes: The limit; 0 for none.
        age_sec: How long the session has been running.
        closing_sec: What the end of the session may take beside ending the processes.
    """

    def __init__(self, minutes: float = 0, age_sec: float = 0, closing_sec: float = 0) -> None:
        self.minutes = minutes
        self.durations: dict[str, float] = {}  # seconds, by the name of the work
        self._started = time.monotonic() - age_sec
        self._limit_sec = minutes * 60 if minutes else math.inf
        self._ending_sec = min(ENDING_SEC, ENDING_SHARE * self._limit_sec) + closing_sec
        self._setup_sec = 0.0
        self._steps: deque[float] = deque(maxlen=NUM_STEPS)
        self._is_first_step = True

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self.minutes > 0

    def finish_setup(self) -> None:
        """Note that training begins; each session needs the time until now.

        If `torchrun` has restarted this process, the time before does not count.
        """
        self._setup_sec = self._age_sec()
        if distributed.is_torchrun():
            self._setup_sec = min(self._setup_sec, time.time() - psutil.Process().create_time())

    @contextlib.contextmanager
    def measuring(self, work: str) -> Iterator[Attempt]:
        """Measure a piece of work, unless it raises an error.

        An incomplete attempt counts only if it has taken longer than the one before.
        """
        attempt = Attempt()
        start = time.monotonic()
        yield attempt
        duration = time.monotonic() - start
        if not attempt.is_complete:
            duration = max(duration, self.durations.get(work, 0.0))
        self.durations[work] = duration

    @contextlib.contextmanager
    def measuring_step(self) -> Iterator[None]:
        """Measure a step of training. The first does not count, because it takes longer."""
        start = time.monotonic()
        yield
        if not self._is_first_step:
            self._steps.append(time.monotonic() - start)
        self._is_first_step = False

    def is_time_for(self, *work: str) -> bool:
        """Whether work can be done before the limit, and the state be saved after it.

        Work that has never been measured counts as nothing.
        """
        return self._age_sec() + self._needed_sec(*work) <= self._limit_sec

    def is_time_for_step(self, delay_sec: float) -> bool:
        """The same of one more step of training.

        Args:
            delay_sec: Time until all processes know that they must stop.
        """
        step_sec = CAUTION * max(self._steps, default=0.0) + delay_sec
        return self._age_sec() + step_sec + self._needed_sec() <= self._limit_sec

    def fits_into_a_session(self, *work: str) -> bool:
        """Whether another session, which begins with this work, has time for it.

        Work that has never been measured fits as far as anybody knows.
        """
        if not all(name in self.durations for name in work):
            return True
        return self._setup_sec + self._needed_sec(*work) <= self._limit_sec

    def _age_sec(self) -> float:
        return time.monotonic() - self._started

    def _needed_sec(self, *work: str) -> float:
        work_sec = sum(self.durations.get(name, 0.0) for name in (*work, STATE))
        return CAUTION * work_sec + self._ending_sec


def session_start() -> float:
    """When this session began, in seconds of `time.time()`: this process, or its `torchrun`."""
    pid = os.getppid() if distributed.is_torchrun() else os.getpid()
    return psutil.Process(pid).create_time()
