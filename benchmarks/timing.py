"""Repeated timing, a description of the machine, and tables, for all benchmarks."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Generic, TypeVar

import torch

from dnnlib.text import format_table as format_table
from torch_utils import devices

MIN_RUNS, MAX_RUNS = 2, 100
CUDA_FLUSH_BYTES = 256 << 20  # more than the caches of any GPU

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing(Generic[Result]):
    """Durations of repeated calls.

    Attributes:
        runs_sec: Duration of each timed call, in order.
        result: Result of the last call.
    """

    runs_sec: tuple[float, ...]
    result: Result

    @property
    def median_sec(self) -> float:
        """Median duration."""
        return median(self.runs_sec)

    @property
    def spread(self) -> float:
        """Interquartile range relative to the median; below four calls, slowest minus fastest."""
        low, high = min(self.runs_sec), max(self.runs_sec)
        if len(self.runs_sec) >= 4:
            low, _, high = quantiles(self.runs_sec, n=4, method="inclusive")
        return (high - low) / self.median_sec


def measure(
    function: Callable[[], Result],
    device: torch.device,
    num_runs: int | None = None,
    num_warmup: int = 1,
    budget_sec: float = 2,
) -> Timing[Result]:
    """Time repeated calls, from an idle device to an idle device.

    Args:
        function: The call to time.
        device: Where it computes.
        num_runs: Timed calls; `None` for as many as fit into `budget_sec`, which is `MIN_RUNS` at
            least and `MAX_RUNS` at most.
        num_warmup: Calls before the first timed one.
        budget_sec: Total duration of the timed calls to aim at.
    """
    for _ in range(num_warmup):
        function()
    runs_sec: list[float] = []
    while not _is_enough(runs_sec, num_runs, budget_sec):
        devices.synchronize(device)
        start = time.perf_counter()
        result = function()
        devices.synchronize(device)
        runs_sec.append(time.perf_counter() - start)
    return Timing(tuple(runs_sec), result)


def measure_kernels(
    function: Callable[[], Result],
    device: torch.device,
    num_runs: int | None = None,
    budget_sec: float = 0.5,
) -> Timing[Result]:
    """Time the kernels of a call, without launching them; on CPUs the same as `measure`.

    On CUDA, launching short kernels takes longer than running them. The calls are therefore queued
    behind a pause that is long enough, and timed by events; between them the cache of the device is
    overwritten, so that every call finds its inputs in memory.
    """
    if device.type != "cuda":
        return measure(function, device, num_runs, budget_sec=budget_sec)
    flush = torch.empty([CUDA_FLUSH_BYTES], dtype=torch.uint8, device=device)
    function()
    devices.synchronize(device)
    start = time.perf_counter()
    result = function()
    launch_sec = time.perf_counter() - start
    devices.synchronize(device)
    total_sec = time.perf_counter() - start
    if total_sec > budget_sec and num_runs in (None, 1):
        return Timing((total_sec,), result)  # too long for launching to matter
    num_runs = num_runs or min(50, int(budget_sec / total_sec))
    # Twice the time of launching, at about 2 GHz.
    torch.cuda._sleep(int(4e9 * min(num_runs * launch_sec, budget_sec)))
    events = []
    for _ in range(num_runs):
        flush.zero_()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        result = function()
        after.record()
        events.append((before, after))
    devices.synchronize(device)
    return Timing(tuple(a.elapsed_time(b) / 1e3 for a, b in events), result)


def describe_machine(device: torch.device) -> str:
    """Device, versions and number of CPU threads in one line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    cuda = f", CUDA {torch.version.cuda}" if device.type == "cuda" else ""
    return (
        f"{device.type}: {name}; {torch.get_num_threads()} CPU threads; torch {torch.__version__}"
        f"{cuda}, Python {platform.python_version()}"
    )


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: the first column to the left, the others to the right."""
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(map(format_markdown_row, (header, ruler, *rows)))


def format_markdown_row(row: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    cells = (str(cell).replace("|", "\\|") for cell in row)
    return f"| {' | '.join(cells)} |"


def _is_enough(runs_sec: list[float], num_runs: int | None, budget_sec: float) -> bool:
    if num_runs is not None:
        return len(runs_sec) >= num_runs
    if len(runs_sec) < MIN_RUNS:
        return False
    return len(runs_sec) >= MAX_RUNS or sum(runs_sec) + median(runs_sec) > budget_sec


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Linux only, where `platform` does not know the model
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
