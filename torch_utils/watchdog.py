"""Ends a run in which one process keeps the others waiting for ever, and names that process.

In a thread of its own, every process publishes its `heartbeat.progress` and reads that of the
others. If no process makes progress for too long, the processes that hang are those that have
begun fewer exchanges than the others.
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
ALL_BUSY = 6  # factor on the limit while all processes are busy with the same work


@dataclass(frozen=True)
class Report:
    """The progress of a process, as it tells the others.

    Attributes:
        num_polls: Grows as long as the process runs.
        beats: See `heartbeat.Progress`, like the next two.
        collectives: Number of exchanges that the process has begun.
        is_waiting: Whether the process is inside an exchange.
        place: Machine and process id, in words.
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
    """Watch the processes of a run during a `with` block; each process must call this.

    Args:
        worker: This process.
        limit_sec: Longest time without progress; 0 turns the watch off.
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
    """Find the processes that keep the others waiting, given that none makes progress.

    Args:
        reports: The last report of each process, by rank.
        frozen: Ranks of processes that have stopped reporting.

    Returns:
        Their ranks. The list is empty if all are in the same exchange: the network is broken.
        `None` if all are busy with the same work, which may simply take long.
    """
    if frozen:
        return frozen
    fewest = min(report.collectives for report in reports.values())
    behind = [rank for rank, report in sorted(reports.items()) if report.collectives == fewest]
    if len(behind) < len(reports):
        return behind
    return [] if any(report.is_waiting for report in reports.values()) else None


def describe(reports: dict[int, Report], ranks: list[int], size: int, limit_sec: float) -> str:
    """One line for users about the processes `ranks` that `stuck` has found."""
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
        # A process that was paused, alone or with the machine, must not blame the others.
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
                # On GPUs, exchanges run asynchronously, so no process seems to wait.
                ranks, limit_sec = sorted(reports), ALL_BUSY * limit_sec
            if ranks is not None:
                _end(worker, reports, ranks, limit_sec)


def _exchange(worker: Worker, num_polls: int) -> dict[int, Report]:
    """Publish the progress of this process; return that of all processes, by rank."""
    now = heartbeat.progress
    place = f"{socket.gethostname()}, process id {os.getpid()}"
    mine = Report(num_polls, now.beats, now.collectives, now.is_waiting, place)
    reports, texts = {worker.rank: mine}, worker.reports
    assert texts is not None  # there are several processes
    try:
        texts.write(worker.rank, mine.encode())
        for rank in range(worker.size):
            if rank != worker.rank and (text := texts.read(rank)) is not None:
                reports[rank] = Report.decode(text)
    except RuntimeError:
        # The machine that holds the store is gone: the next exchange fails by itself.
        return {worker.rank: mine}
    return reports


def _end(worker: Worker, reports: dict[int, Report], ranks: list[int], limit_sec: float) -> None:
    """End this process; the first of the processes that do not hang reports why."""
    message = describe(reports, ranks, worker.size, limit_sec)
    if worker.rank in ranks and sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):
            print(f"Process {worker.rank} hangs here:", file=sys.__stderr__, flush=True)
            faulthandler.dump_traceback(sys.__stderr__)
    if worker.rank == min((rank for rank in reports if rank not in ranks), default=0):
        with contextlib.suppress(OSError, ValueError):
            print(f"\nError: {message}", flush=True)  # for the log
        local_processes.fail(message)
    time.sleep(local_processes.GRACE_SEC)  # the other process reports meanwhile
    os._exit(1)
