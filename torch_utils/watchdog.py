"""Ends a run in which one process keeps the others waiting for ever, and says which one.

Every process leaves its `heartbeat.progress` where the others can read it, and looks at that of the
others, in a thread of its own. When none of them has got anything done for too long, those that
have begun fewer exchanges than the others are the ones that hang.
"""

import contextlib
import faulthandler
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from dnnlib import heartbeat
from dnnlib.util import format_time
from torch_utils import local_processes
from torch_utils.distributed import Worker

MAX_POLL_SEC = 30.0
POLLS_PER_LIMIT = 20
ALL_BUSY = 6  # how much longer all processes together may be busy with the same work


@dataclass(frozen=True)
class Report:
    """What a process has left for the others.

    Attributes:
        num_polls: Grows as long as the process runs at all.
        beats: As the others, see `heartbeat.Progress`.
        collectives: Exchanges that were begun.
        is_waiting: Whether it is inside one.
        place: Where it runs, in words.
    """

    num_polls: int
    beats: int
    collectives: int
    is_waiting: bool
    place: str

    def encode(self) -> str:
        numbers = (self.num_polls, self.beats, self.collectives, int(self.is_waiting))
        return " ".join(map(str, numbers)) + " " + self.place

    @staticmethod
    def decode(text: str) -> "Report":
        num_polls, beats, collectives, is_waiting, place = text.split(" ", 4)
        return Report(int(num_polls), int(beats), int(collectives), is_waiting == "1", place)


@contextlib.contextmanager
def watch(worker: Worker, limit_sec: float) -> Iterator[None]:
    """Watch over the processes of a run while a `with` block runs; all processes do.

    Args:
        worker: This process.
        limit_sec: How long there may be no progress; 0 watches over nothing.
    """
    if worker.size == 1 or limit_sec <= 0:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(worker, limit_sec, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(local_processes.GRACE_SEC)


def stuck(reports: dict[int, Report], frozen: list[int]) -> list[int] | None:
    """Who keeps the others waiting, given that nobody makes progress.

    Args:
        reports: The last one of each process, by rank.
        frozen: Ranks of processes that do not even report any more.

    Returns:
        Ranks; an empty list if all are in the same exchange, which is the network's fault; `None`
        if all are busy with the same work, which may simply take long.
    """
    if frozen:
        return frozen
    fewest = min(report.collectives for report in reports.values())
    behind = [rank for rank, report in sorted(reports.items()) if report.collectives == fewest]
    if len(behind) < len(reports):
        return behind
    return [] if any(report.is_waiting for report in reports.values()) else None


def describe(reports: dict[int, Report], ranks: list[int], size: int, limit_sec: float) -> str:
    """What has happened, in a line for users; `ranks` is what `stuck` says."""
    waited = f"for {format_time(limit_sec)} without progress"
    advice = "--watchdog-minutes allows more time"
    if not ranks:
        whole = f"the {size} processes have waited for one another"
        return f"{whole} {waited}: the network between them is broken; {advice}"
    if len(ranks) == size:
        whole = f"none of the {size} processes has got anything done for {format_time(limit_sec)}"
        return f"{whole}; {advice}"
    names = ", ".join(f"process {rank} of {size} ({reports[rank].place})" for rank in ranks)
    verb = "hangs" if len(ranks) == 1 else "hang"
    return f"{names} {verb}: the others have waited {waited}; {advice}"


def _watch(worker: Worker, limit_sec: float, stop: threading.Event) -> None:
    poll_sec = min(limit_sec / POLLS_PER_LIMIT, MAX_POLL_SEC)
    start = time.monotonic()
    progress, progress_time, poll_time = None, start, start
    alive_times = dict.fromkeys(range(worker.size), start)
    last_polls: dict[int, int] = {}
    num_polls = 0
    while not stop.wait(poll_sec):
        num_polls += 1
        now = time.monotonic()
        # Who was stopped, or slept with the machine, must not blame the others for it.
        was_asleep = now - poll_time > 5 * poll_sec + 2
        poll_time = now
        reports = _exchange(worker, num_polls)
        for rank, report in reports.items():
            if was_asleep or last_polls.get(rank) != report.num_polls:
                alive_times[rank], last_polls[rank] = now, report.num_polls
        new_progress = {rank: (r.beats, r.collectives) for rank, r in reports.items()}
        if new_progress != progress or was_asleep:
            progress, progress_time = new_progress, now
        elif now - progress_time > limit_sec:
            frozen = [rank for rank in reports if now - alive_times[rank] > limit_sec]
            ranks = stuck(reports, frozen)
            if ranks is None and now - progress_time > ALL_BUSY * limit_sec:
                # On GPUs, exchanges go on by themselves, and nobody seems to wait.
                ranks, limit_sec = sorted(reports), ALL_BUSY * limit_sec
            if ranks is not None:
                _end(worker, reports, ranks, limit_sec)


def _exchange(worker: Worker, num_polls: int) -> dict[int, Report]:
    """Leave what this process has done so far; what all have left, by rank."""
    now = heartbeat.progress
    place = f"{socket.gethostname()}, process id {os.getpid()}"
    mine = Report(num_polls, now.beats, now.collectives, now.is_waiting, place)
    reports = {worker.rank: mine}
    try:
        worker.reports.write(worker.rank, mine.encode())
        for rank in range(worker.size):
            if rank != worker.rank and (text := worker.reports.read(rank)) is not None:
                reports[rank] = Report.decode(text)
    except RuntimeError:
        # The machine that holds the store is gone: the next exchange fails by itself.
        return {worker.rank: mine}
    return reports


def _end(worker: Worker, reports: dict[int, Report], ranks: list[int], limit_sec: float) -> None:
    """End this process; the first one of those that are well says why."""
    message = describe(reports, ranks, worker.size, limit_sec)
    if worker.rank in ranks:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(f"Process {worker.rank} hangs here:", file=sys.__stderr__, flush=True)
            faulthandler.dump_traceback(sys.__stderr__)
    if worker.rank == min((rank for rank in reports if rank not in ranks), default=0):
        with contextlib.suppress(OSError, ValueError):
            print(f"\nError: {message}", flush=True)  # for the log
        local_processes.fail(message)
    time.sleep(local_processes.GRACE_SEC)  # the word is with that one
    os._exit(1)
