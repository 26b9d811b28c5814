"""Training statistics: report values anywhere, collect their mean and spread over all processes.

`report()` copies a value on its device; sums of many values are computed together. It waits for the
device only once in `MAX_UNCOLLECTED` reports that nobody collects.
`Collector.update()` adds up the sums of all devices and processes; all processes must call it.
"""

import contextlib
import re
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

import dnnlib
from dnnlib import heartbeat

MAX_WAITING = 256  # reports that wait to be summed together
MAX_WAITING_ELEMENTS = 1024  # of a report that waits; larger ones are summed at once
MAX_UNCOLLECTED = 16384  # reports that are kept one by one until they are collected

_rank = 0
_sync_device: torch.device | None = None  # where processes exchange sums; `None` for one process

# Reports of this process that have not been exchanged yet.
_new_nums: dict[str, int] = {}  # names in the order of their first report
_new_sums: "dict[torch.device, _Sums]" = {}
_held: list[tuple[str, torch.Tensor]] | None = None  # reports inside `held()`

_agreed_names: list[str] = []  # the same on all processes
_collectors: "weakref.WeakSet[Collector]" = weakref.WeakSet()


def init_multiprocessing(rank: int, sync_device: torch.device | None) -> None:
    """Set the rank of this process, before the first report.

    Args:
        rank: Rank of this process.
        sync_device: Device on which the process group exchanges sums; `None` for one process.
    """
    global _rank, _sync_device
    _rank = rank
    _sync_device = None if sync_device is None else torch.device(sync_device)


def report(name: str, value: Any) -> Any:
    """Add the elements of a tensor, array, list or number to the statistics called `name`.

    An empty value registers the name and adds nothing. Each element is converted to float32.

    Returns:
        `value`, unchanged.
    """
    elements = torch.as_tensor(value).detach()
    if elements.device.type == "meta":  # has no numbers
        return value
    if _held is None:
        _count(name, elements)
    else:
        # The value may change before it counts.
        _held.append((name, elements.to(torch.float32, copy=True)))
    return value


def report0(name: str, value: Any) -> Any:
    """`report()` on rank 0; other ranks only register the name. Returns `value`, unchanged."""
    report(name, value if _rank == 0 else [])
    return value


@contextlib.contextmanager
def held() -> Iterator[list[tuple[str, torch.Tensor]]]:
    """Hold the reports of a `with` block back; they count if it ends without an error.

    Yields:
        Names and elements of the reports. Whoever clears the list takes the reports back.
    """
    global _held
    if _held is not None:
        raise RuntimeError("training_stats.held: reports are already held")
    reports = _held = []
    try:
        yield reports
    finally:
        _held = None
    for name, elements in reports:
        _count(name, elements, may_change=False)


class Collector:
    """Number, mean and standard deviation of the values reported since the last update.

    A new collector starts with the reports that have not been exchanged yet.

    Args:
        regex: Which names to collect; must match the whole name.
        keep_previous: Whether a name without new values keeps its last statistics.
    """

    def __init__(self, regex: str = ".*", keep_previous: bool = True) -> None:
        self._regex = re.compile(regex)
        self._keep_previous = keep_previous
        self._arrived: dict[str, np.ndarray] = {}  # number, sum, sum of squares; since `update()`
        self._moments: dict[str, np.ndarray] = {}  # the same, as of the last `update()`
        _collectors.add(self)

    def names(self) -> list[str]:
        """Collected names in the order of their first report on rank 0."""
        return list(self._moments)

    def update(self) -> None:
        """Exchange all reports. All processes must call this, in the same order."""
        _exchange()
        for name in filter(self._regex.fullmatch, _agreed_names):
            arrived = self._arrived.pop(name, np.zeros(3))
            if arrived[0] > 0 or not self._keep_previous or name not in self._moments:
                self._moments[name] = arrived

    def gather(self) -> None:
        """Exchange all reports without an update, for `state_dict()`; on all processes."""
        _exchange()

    def num(self, name: str) -> int:
        """Number of values; zero for a name that was never reported."""
        return int(self._moments_of(name)[0])

    def mean(self, name: str) -> float:
        """Mean of the values; NaN if there are none."""
        num, total, _ = self._moments_of(name)
        return float(total / num) if num > 0 else float("nan")

    def std(self, name: str) -> float:
        """Population standard deviation; NaN if there are no values, or infinite ones."""
        num, total, total_squares = self._moments_of(name)
        if num == 0 or not np.isfinite(total):
            return float("nan")
        if num == 1:
            return 0.0
        variance = total_squares / num - np.square(total / num)
        return float(np.sqrt(np.maximum(variance, 0)))  # rounding may bring it below zero

    def as_dict(self) -> dnnlib.EasyDict:
        """All statistics: name -> `num`, `mean`, `std`."""
        return dnnlib.EasyDict(
            (name, dnnlib.EasyDict(num=self.num(name), mean=self.mean(name), std=self.std(name)))
            for name in self.names()
        )

    def __getitem__(self, name: str) -> float:
        return self.mean(name)

    def state_dict(self) -> dict[str, dict[str, list[float]]]:
        """The collected values, which are the same on all processes."""
        return {
            "moments": {name: row.tolist() for name, row in self._moments.items()},
            "arrived": {name: row.tolist() for name, row in self._arrived.items()},
        }

    def load_state_dict(self, state: dict[str, dict[str, list[float]]]) -> None:
        """Continue from a `state_dict()`. All processes must load the same."""
        self._moments = {name: np.array(row) for name, row in state["moments"].items()}
        self._arrived = {name: np.array(row) for name, row in state["arrived"].items()}
        _agree_on([*self._moments, *self._arrived])

    def _moments_of(self, name: str) -> np.ndarray:
        if not self._regex.fullmatch(name):
            raise KeyError(f"{name!r} does not match the collector's regex {self._regex.pattern!r}")
        return self._moments.get(name, np.zeros(3))


class _Sums:
    """Sums of the reports on one device; a few operations compute many sums together."""

    def __init__(self) -> None:
        self._names: list[str] = []  # of all reports that are not in the totals yet
        # Reports of few elements, as copies, by the number of elements; with their indices.
        self._waiting: dict[int, list[tuple[int, torch.Tensor]]] = {}
        # Indices of other reports, and for each a row with its sum and its sum of squares.
        self._rows: list[tuple[Sequence[int], torch.Tensor]] = []
        self._totals: dict[str, np.ndarray] = {}  # the same on the host, over all reports of a name

    def add(self, name: str, elements: torch.Tensor, may_change: bool = True) -> None:
        """Add the elements of a tensor, which may change afterwards or may not."""
        if len(self._names) == MAX_UNCOLLECTED:
            self._add_up()
        idx, num = len(self._names), elements.numel()
        self._names.append(name)
        if num > MAX_WAITING_ELEMENTS:
            self._sum([idx], elements.to(torch.float32).reshape(1, -1))
            return
        waiting = self._waiting.setdefault(num, [])
        waiting.append((idx, elements.to(torch.float32, copy=may_change).flatten()))
        if len(waiting) == MAX_WAITING:
            self._sum_waiting()

    def take(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """The sums under names, `[2]` in float64. Waits for the device."""
        self._add_up()
        return {name: self._totals.pop(name) for name in names if name in self._totals}

    def _add_up(self) -> None:
        """Add all reports to the totals, in the order in which they came. Waits for the device."""
        self._sum_waiting()
        if not self._rows:
            return
        rows = torch.cat([rows for _, rows in self._rows]).cpu().to(torch.float64).numpy()
        order = [idx for indices, _ in self._rows for idx in indices]
        for name, row in zip(self._names, rows[np.argsort(order)], strict=True):
            self._totals[name] = self._totals.get(name, 0) + row
        self._names.clear()
        self._rows.clear()

    def _sum_waiting(self) -> None:
        for reports in self._waiting.values():
            indices, elements = zip(*reports, strict=True)
            self._sum(indices, torch.stack(elements))
        self._waiting.clear()

    def _sum(self, indices: Sequence[int], elements: torch.Tensor) -> None:
        sums = torch.stack([elements.sum(1), elements.square().sum(1)], dim=1)
        self._rows.append((indices, sums))


def _count(name: str, elements: torch.Tensor, may_change: bool = True) -> None:
    """Add the elements of a report to the sums of this process; `may_change` as in `_Sums.add`."""
    _new_nums[name] = _new_nums.get(name, 0) + elements.numel()
    if elements.numel() > 0:
        _new_sums.setdefault(elements.device, _Sums()).add(name, elements, may_change)


def _exchange() -> None:
    """Give all collectors the reports of all processes."""
    names = list(_agreed_names)
    num_unknown = _reduce(names)
    if num_unknown > 0:
        # At least one process has new names. The sum tells all processes, so all take part here.
        new_names = _gather_new_names()
        _agree_on(new_names)
        _reduce(new_names)


def _reduce(names: list[str]) -> int:
    """Sum the new reports under `names` over all processes and pass them to the collectors.

    Returns:
        Number of names that remain to be reduced, added up over the processes.
    """
    rows = np.zeros([len(names) + 1, 3])
    row_of_name = {name: i for i, name in enumerate(names)}
    for name, i in row_of_name.items():
        rows[i, 0] = _new_nums.pop(name, 0)
    rows[-1, 0] = len(_new_nums)
    for sums in _new_sums.values():
        for name, row in sums.take(names).items():
            rows[row_of_name[name], 1:] += row
    if _sync_device is not None:
        shared = torch.from_numpy(rows).to(_sync_device)
        with heartbeat.collective():
            torch.distributed.all_reduce(shared)
            rows = shared.cpu().numpy()
    for name, row in zip(names, rows, strict=False):
        if row[0] > 0:
            for collector in _collectors:
                collector._arrived[name] = collector._arrived.get(name, 0) + row
    return int(rows[-1, 0])


def _gather_new_names() -> list[str]:
    """New names of all processes: first those of rank 0 in its order, then those of the others."""
    if _sync_device is None:
        return list(_new_nums)
    is_cuda = _sync_device.type == "cuda"
    with torch.cuda.device(_sync_device) if is_cuda else contextlib.nullcontext():
        lists: list[list[str]] = [[] for _ in range(torch.distributed.get_world_size())]
        with heartbeat.collective():
            torch.distributed.all_gather_object(lists, list(_new_nums))
    return list(dict.fromkeys(name for names in lists for name in names))


def _agree_on(names: Iterable[str]) -> None:
    _agreed_names.extend(name for name in dict.fromkeys(names) if name not in _agreed_names)


default_collector = Collector()
