"""Progress of a run: a bar on a terminal, a line per minute elsewhere, and the time left."""

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tqdm import tqdm

from dnnlib.util import format_time

LINE_INTERVAL_SEC = 60.0
PATIENCE_SEC = 1.0  # for the printing thread, which blocks when nobody reads its output
MAX_MARKS = 10_000


@dataclass(frozen=True)
class _Mark:
    """A moment, and how many images the run had seen by then."""

    time_sec: float
    nimg: int


class Progress:
    """Shows the progress of a run; neither waits for the device nor draws random numbers.

    The time left is extrapolated from the last two rounds of snapshots. It includes metrics
    once a snapshot was taken. The first batch of a process does not count, because
    kernels are chosen in it.

    Args:
        total_nimg: Images that the run is to see.
        tick_nimg: Images from one status line to the next.
        snapshot_ticks: Ticks from one snapshot to the next.
        is_main: Whether this process shows anything.
    """

    _last: _Mark  # after the last batch
    _speed_from: _Mark  # the speed of `line` counts from here
    _line_time: float  # when the last line was printed
    _tick_start_nimg: int

    def __init__(
        self, total_nimg: int, tick_nimg: int, snapshot_ticks: int, is_main: bool = True
    ) -> None:
        self.total_nimg = total_nimg
        self.tick_nimg = tick_nimg
        self._is_main = is_main
        self._marks: deque[_Mark] = deque(maxlen=min(2 * snapshot_ticks + 1, MAX_MARKS))
        self._bar: tqdm | None = None
        self._printing = threading.Lock()
        self._start(0, 0)

    @contextlib.contextmanager
    def shown(self, cur_nimg: int, tick_start_nimg: int) -> Iterator[None]:
        """Show the bar, or print lines, while a `with` block trains.

        Args:
            cur_nimg: Images that the run has seen.
            tick_start_nimg: How many it had seen at the last status line.
        """
        self._start(cur_nimg, tick_start_nimg)
        stop = threading.Event()
        # A thread, because a batch can take minutes on a CPU.
        thread = threading.Thread(target=self._print_lines, args=[stop], daemon=True)
        with tqdm(
            total=self.total_nimg,
            initial=cur_nimg,
            unit="img",
            leave=False,
            disable=None if self._is_main else True,  # None: shows on a terminal only
        ) as self._bar:
            is_bar_enough = not self._bar.disable and _is_terminal(sys.stdout)
            if self._is_main and not is_bar_enough:
                thread.start()
            try:
                yield
            finally:
                stop.set()
                if thread.is_alive():
                    thread.join(PATIENCE_SEC)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Show nothing while a `with` block prints or writes files."""
        with self._printing, tqdm.external_write_mode():
            yield
            self._last = self._speed_from = _Mark(time.monotonic(), self._last.nimg)
            self._line_time = self._last.time_sec
        if len(self._marks) == 1 and self._marks[0].nimg == self._last.nimg:
            self._marks[0] = self._last  # the pause after the first batch is longer than most

    def update(self, cur_nimg: int) -> None:
        """Note how many images the run has seen; to be called after each batch."""
        if self._bar is not None:
            self._bar.update(cur_nimg - self._last.nimg)
        self._last = _Mark(time.monotonic(), cur_nimg)
        if not self._marks:
            self._marks.append(self._last)
            self._speed_from = self._last

    def finish_tick(self) -> None:
        """Note that a tick has ended, and that the device has done its work."""
        self._last = _Mark(time.monotonic(), self._last.nimg)
        if self._marks and self._marks[-1].nimg == self._last.nimg:  # a tick of one batch
            self._marks.pop()
        self._marks.append(self._last)
        self._tick_start_nimg = self._last.nimg

    def eta_sec(self) -> float | None:
        """Seconds until the run ends; `None` at its end, and while the speed is unknown."""
        last = self._last
        num_left = self.total_nimg - last.nimg
        if not self._marks or last.nimg <= self._marks[0].nimg or num_left <= 0:
            return None
        left_sec = _sec_per_img(self._marks[0], last) * num_left
        return max(left_sec - (time.monotonic() - last.time_sec), 0.0)

    def line(self) -> str:
        """The line between two status lines; indented, so that status lines stand out."""
        last, now = self._last, time.monotonic()
        if not self._marks:
            return (
                f"  The first batch has been running for {format_time(now - last.time_sec)}; "
                "it takes longer than the others."
            )
        tick_nimg = min(self.tick_nimg, self.total_nimg - self._tick_start_nimg)
        parts = [
            f"  kimg {last.nimg / 1e3:<8.1f}",
            f"images of this tick {last.nimg - self._tick_start_nimg} of {tick_nimg}",
        ]
        if last.nimg > self._speed_from.nimg:
            parts.append(f"sec/kimg {_sec_per_img(self._speed_from, last) * 1e3:<7.2f}")
        if (eta_sec := self.eta_sec()) is not None:
            parts.append(f"eta {format_time(eta_sec)}")
        return "  ".join(parts)

    def _start(self, cur_nimg: int, tick_start_nimg: int) -> None:
        self._last = self._speed_from = _Mark(time.monotonic(), cur_nimg)
        self._line_time = self._last.time_sec
        self._tick_start_nimg = tick_start_nimg
        self._marks.clear()

    def _print_lines(self, stop: threading.Event) -> None:
        while not stop.wait(max(self._line_time + LINE_INTERVAL_SEC - time.monotonic(), 0.01)):
            with self._printing:  # waits for the end of a pause
                is_due = time.monotonic() - self._line_time >= LINE_INTERVAL_SEC
                if is_due and not stop.is_set():
                    self._line_time = time.monotonic()
                    with tqdm.external_write_mode():
                        # In one piece: the training thread may print at the same time.
                        print(self.line() + "\n", end="", flush=True)


def _sec_per_img(start: _Mark, end: _Mark) -> float:
    return (end.time_sec - start.time_sec) / (end.nimg - start.nimg)


def _is_terminal(stream: object) -> bool:
    return getattr(stream, "isatty", lambda: False)()
