"""Progress of a run: the time left, and the lines without a terminal."""

import io
import re
import sys
import time

import pytest

from dnnlib.util import Logger
from training import progress
from training.progress import Progress

BATCH, TICK, TOTAL = 10, 100, 5000
BATCH_SEC, FIRST_BATCH_SEC, SHEET_SEC, METRIC_SEC = 1, 60, 30, 40
SNAP = 3


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now_sec = 1000.0

        def go(self, seconds: float) -> None:
            self.now_sec += seconds

    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now_sec)
    return clock


def train(shown: Progress, clock) -> list[tuple[float | None, float]]:
    """Report as the loop does; returns the predicted and the real time left at each tick."""
    cur_nimg = tick_start = tick = 0
    said = []
    while cur_nimg < TOTAL:
        clock.go(BATCH_SEC if cur_nimg else FIRST_BATCH_SEC)
        cur_nimg += BATCH
        shown.update(cur_nimg)
        if tick == 0 or cur_nimg >= TOTAL or cur_nimg - tick_start >= TICK:
            with shown.paused():
                shown.finish_tick()
                said.append((shown.eta_sec(), clock.now_sec))
                if tick % SNAP == 0:
                    clock.go(METRIC_SEC if tick > 0 else SHEET_SEC)
            tick, tick_start = tick + 1, cur_nimg
    return [(eta, clock.now_sec - then) for eta, then in said]


def test_time_that_is_left_has_metrics_in_it_but_no_first_batch(clock):
    shown = Progress(TOTAL, TICK, SNAP)
    with shown.shown(0, 0):
        said = train(shown, clock)
    assert len(said) == TOTAL // TICK + 1
    assert said[0][0] is None and said[-1][0] is None  # unknown at first, none at the end
    # No metrics have been evaluated yet.
    assert said[1][0] == pytest.approx((TOTAL - TICK - BATCH) / BATCH * BATCH_SEC)
    for eta, left in said[2 * SNAP + 1 : -1]:
        assert eta == pytest.approx(left, abs=METRIC_SEC)


def test_a_run_that_became_faster_forgets_its_slow_past(clock):
    shown = Progress(100_000, TICK, snapshot_ticks=2)
    with shown.shown(0, 0):
        for i in range(200):
            clock.go(10 if i < 100 else 1)
            shown.update((i + 1) * BATCH)
            if (i + 1) % 10 == 0:
                with shown.paused():
                    shown.finish_tick()
        assert shown.eta_sec() == pytest.approx((100_000 - 2000) / BATCH, rel=1e-6)
        clock.go(5)  # in the middle of a batch it goes on
        assert shown.eta_sec() == pytest.approx((100_000 - 2000) / BATCH - 5, rel=1e-6)


def test_lines_say_what_is_known(clock):
    shown = Progress(1_000_000, 4000, snapshot_ticks=50)
    with shown.shown(0, 0):
        clock.go(61)
        assert shown.line() == (
            "  The first batch has been running for 1m 01s; it takes longer than the others."
        )
        shown.update(32)
        with shown.paused():
            shown.finish_tick()
            clock.go(100)
        clock.go(3)
        assert shown.line() == "  kimg 0.0       images of this tick 0 of 4000"
        for i in range(1, 21):
            shown.update(32 + 32 * i)
            clock.go(3)
        assert shown.line() == (
            "  kimg 0.7       images of this tick 640 of 4000  sec/kimg 93.75    eta 1d 02h 01m"
        )
    with shown.shown(999_000, 998_900):  # a run that is continued has a shorter last tick
        shown.update(999_100)
        clock.go(1)
        assert shown.line().endswith("images of this tick 200 of 1100")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_main", [True, False], ids=["main", "other"])
@pytest.mark.parametrize("where", ["file", "terminal"])
def test_lines_are_printed_without_a_terminal_and_never_in_a_pause(
    where, is_main, monkeypatch, tmp_path
):
    monkeypatch.setattr(progress, "LINE_INTERVAL_SEC", 0.02)
    out = io.StringIO() if where == "file" else Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", io.StringIO() if where == "file" else Terminal())
    with Logger(tmp_path / "log.txt"):
        shown = Progress(1000, 100, 1, is_main)
        with shown.shown(0, 0):
            shown.update(10)
            deadline = time.monotonic() + (10 if where == "file" and is_main else 0.2)
            while time.monotonic() < deadline and out.getvalue().count("\n") < 3:
                time.sleep(0.01)
            with shown.paused():
                before = out.getvalue()
                time.sleep(0.1)
                assert out.getvalue() == before
        after = out.getvalue()
        time.sleep(0.1)
        assert out.getvalue() == after
    log = (tmp_path / "log.txt").read_text()
    lines = [line for line in log.splitlines() if "images of this tick" in line]
    if where == "terminal" or not is_main:
        assert lines == [] and "images of this tick" not in after
    else:
        assert len(lines) >= 3 and all(re.match("  kimg 0.0 ", line) for line in lines)
        assert log == after


def test_a_huge_number_of_ticks_per_snapshot_is_no_trouble():
    assert Progress(1000, 100, 10**30).eta_sec() is None
