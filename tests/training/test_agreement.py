"""Processes take decisions in the same iterations, and rarely meet for them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from torch_utils.distributed import Worker
from training import agreement
from training.agreement import Agreement


class Meeting:
    """Stands for `collectives.highest` between two threads."""

    def __init__(self) -> None:
        self.num = 0
        self._numbers: list[tuple[int, ...]] = []
        self._barrier = threading.Barrier(2, timeout=60)

    def highest(self, worker: Worker, *numbers: int) -> list[int]:
        self._numbers.append(numbers)
        if self._barrier.wait() == 0:
            self.num += 1
        found = [max(pair) for pair in zip(*self._numbers[-2:], strict=True)]
        self._barrier.wait()
        return found


def run(monkeypatch, period_sec: float, iteration_sec: list[float], asked_at: int) -> tuple:
    """Two processes; the second is asked to stop at an iteration. When each stops; meetings."""
    meeting, clocks = Meeting(), threading.local()
    monkeypatch.setattr(agreement.collectives, "highest", meeting.highest)
    monkeypatch.setattr(agreement.time, "monotonic", lambda: getattr(clocks, "now", 0.0))

    def process(rank: int) -> int:
        clocks.now = 0.0
        agreed = Agreement(Worker(rank, 2), period_sec)
        for i in range(10_000):
            clocks.now += iteration_sec[rank]
            is_stopping, other = agreed.any_of(rank == 1 and i >= asked_at, False)
            assert other is False
            if is_stopping:
                return i
        raise AssertionError("was not asked to stop")

    with ThreadPoolExecutor(2) as pool:
        stops = list(pool.map(process, range(2)))
    return *stops, meeting.num


def test_all_stop_in_the_same_iteration_within_the_period(monkeypatch):
    first, second, meetings = run(monkeypatch, 1, [0.0099, 0.0124], asked_at=500)
    assert first == second
    assert 500 <= first <= 500 + 1 / 0.0124
    # The interval doubles from 1 to 80 iterations; then there is one meeting a second.
    assert meetings <= 7 + 500 * 0.0124 + 2


def test_processes_meet_after_each_slow_iteration(monkeypatch):
    first, second, meetings = run(monkeypatch, 1, [1.5, 1.4], asked_at=7)
    assert first == second == 7 and meetings == 8


def test_processes_meet_after_each_iteration_with_a_period_of_zero(monkeypatch):
    first, second, meetings = run(monkeypatch, 0, [0.01, 0.01], asked_at=20)
    assert first == second == 20 and meetings == 21


def test_single_process_decides_at_once_and_meets_nobody(monkeypatch):
    monkeypatch.setattr(agreement.collectives, "highest", pytest.fail)
    agreed = Agreement(Worker(), 1000)
    assert [agreed.any_of(flag, not flag) for flag in (False, True)] == [
        [False, True],
        [True, False],
    ]
