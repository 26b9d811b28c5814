"""Progress of a metric: numbers for a caller, a bar with the remaining time for a terminal."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from dnnlib import heartbeat
from dnnlib.util import format_time

LINE_INTERVAL_SEC = 30.0  # time between two lines without a terminal


class ProgressMonitor:
    """Progress of a task, or of a stage of a task.

    Args:
        tag: Name of the items, for the console.
        num_items: Number of items; `None` if it is unknown.
        flush_interval: Items from one report to the next; the end is reported, too.
        verbose: Show a bar on a terminal, or else an occasional line; and a line at the end.
        progress_fn: Called with the position of the task and the position of its end.
        pfn_lo: Position at the start of this stage.
        pfn_hi: Position at the end of this stage.
        pfn_total: Position at the end of the task.
    """

    def __init__(
        self,
        tag: str | None = None,
        num_items: int | None = None,
        flush_interval: int = 1000,
        verbose: bool = False,
        progress_fn: Callable[[float, float], None] | None = None,
        pfn_lo: float = 0,
        pfn_hi: float = 1000,
        pfn_total: float = 1000,
    ) -> None:
        self.tag = tag
        self.num_items = num_items
        self.verbose = verbose
        self.flush_interval = flush_interval
        self.progress_fn = progress_fn
        self.pfn_lo = pfn_lo
        self.pfn_hi = pfn_hi
        self.pfn_total = pfn_total
        self.start_time = time.monotonic()
        self._flushed_items = 0
        self._flushed_time = self._line_time = self.start_time
        self._bar: tqdm | None = None
        if verbose and tag is not None and num_items is not None:
            self._bar = tqdm(total=num_items, desc=tag, leave=False, disable=None)
        self._tell(pfn_lo)

    def update(self, cur_items: int) -> None:
        """Report the number of finished items."""
        heartbeat.beat()
        is_done = self.num_items is not None and cur_items >= self.num_items
        if self._bar is not None:
            self._bar.update(cur_items - self._bar.n)
        if cur_items < self._flushed_items + self.flush_interval and not is_done:
            return
        if cur_items == self._flushed_items:
            return
        self._print(cur_items, is_done)
        self._flushed_items, self._flushed_time = cur_items, time.monotonic()
        if self.num_items is not None:
            share = min(cur_items / max(self.num_items, 1), 1)
            self._tell(self.pfn_lo + (self.pfn_hi - self.pfn_lo) * share)

    def sub(
        self,
        tag: str | None = None,
        num_items: int | None = None,
        flush_interval: int = 1000,
        rel_lo: float = 0,
        rel_hi: float = 1,
    ) -> "ProgressMonitor":
        """A stage of this task, from the share `rel_lo` to `rel_hi`."""
        return ProgressMonitor(
            tag=tag,
            num_items=num_items,
            flush_interval=flush_interval,
            verbose=self.verbose,
            progress_fn=self.progress_fn,
            pfn_lo=self.pfn_lo + (self.pfn_hi - self.pfn_lo) * rel_lo,
            pfn_hi=self.pfn_lo + (self.pfn_hi - self.pfn_lo) * rel_hi,
            pfn_total=self.pfn_total,
        )

    def _tell(self, position: float) -> None:
        if self.progress_fn is not None:
            self.progress_fn(float(position), float(self.pfn_total))

    def _print(self, cur_items: int, is_done: bool) -> None:
        now = time.monotonic()
        if not self.verbose or self.tag is None:
            return
        if is_done and self._bar is not None:
            self._bar.close()
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        if not is_done and (is_terminal or now - self._line_time < LINE_INTERVAL_SEC):
            return
        self._line_time = now
        total_sec = now - self.start_time
        line = (
            f"{self.tag:<19s} items {cur_items:<7d} time {format_time(total_sec):<12s}"
            f" ms/item {total_sec / cur_items * 1e3:.2f}"
        )
        if not is_done and self.num_items is not None:
            left_sec = total_sec / cur_items * (self.num_items - cur_items)
            line += f"  left {format_time(left_sec)}"
        print(line, file=sys.stderr)
