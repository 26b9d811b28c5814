"""Statistics of a run by tick, from `training_stats.jsonl`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reports import json_lines

NAMES = ("training_stats.jsonl", "stats.jsonl")  # the second is that of the published program
KIMG, TOTAL_SEC = "Progress/kimg", "Timing/total_sec"
MIN_PAUSE_SEC = 30  # a shorter one is no interruption
MAX_TIME = 1e11  # seconds since 1970: the year 5138; later ones are damage


@dataclass(frozen=True)
class Pause:
    """A time in which the run did not train, or trained what it has lost since."""

    kimg: float
    sec: float


@dataclass(frozen=True)
class Statistics:
    """Means by tick; ticks that the run has repeated count once, as they came last.

    Attributes:
        kimg: Thousands of images at the end of each tick, `[ticks]`, growing.
        means: Values by name, `[ticks]`; NaN where a tick has none.
        timestamp: When the last tick ended, in seconds since 1970; `None` if that is unknown.
        pauses: Interruptions.
        num_repeated: Ticks that came again later.
    """

    kimg: np.ndarray
    means: dict[str, np.ndarray]
    timestamp: float | None = None
    pauses: list[Pause] = field(default_factory=list)
    num_repeated: int = 0

    @classmethod
    def empty(cls) -> "Statistics":
        """Those of a run without a tick."""
        return cls(np.empty(0), {})

    def last(self, name: str) -> float | None:
        """The last value under a name, `None` if there is none."""
        values = self.means.get(name, np.empty(0))
        found = values[~np.isnan(values)]
        return float(found[-1]) if len(found) else None


def find(run_dir: Path) -> Path | None:
    """The file with the statistics of a run, `None` if there is none."""
    return next((run_dir / name for name in NAMES if (run_dir / name).is_file()), None)


def read(path: Path, problems: list[str]) -> Statistics:
    """Read a file of statistics.

    Args:
        path: The file.
        problems: Takes sentences on what is damaged.
    """
    ticks: list[dict[str, float]] = []
    num_repeated = num_without = 0
    for record in json_lines.read(path, problems):
        tick = {name: _mean(value) for name, value in record.items()}
        if np.isnan(tick.get(KIMG, np.nan)):
            num_without += 1
            continue
        while ticks and ticks[-1][KIMG] >= tick[KIMG]:
            ticks.pop()
            num_repeated += 1
        ticks.append(tick)
    if num_without:
        problems.append(f"{path.name}: {num_without} lines without {KIMG} are left out.")
    names = dict.fromkeys(name for tick in ticks for name in tick)
    means = {name: np.array([tick.get(name, np.nan) for tick in ticks]) for name in names}
    times = means.pop("timestamp", np.full(len(ticks), np.nan))
    times[~((times >= 0) & (times < MAX_TIME))] = np.nan
    return Statistics(
        means.get(KIMG, np.empty(0)),
        {name: values for name, values in means.items() if not np.isnan(values).all()},
        float(times[-1]) if len(times) and np.isfinite(times[-1]) else None,
        _pauses(means, times),
        num_repeated,
    )


def _mean(value: Any) -> float:
    """The mean of a statistic; `timestamp` is a bare number."""
    return json_lines.as_float(value.get("mean") if isinstance(value, Mapping) else value)


def _pauses(means: dict[str, np.ndarray], times: np.ndarray) -> list[Pause]:
    """Where the clock went on and the time of training did not."""
    if TOTAL_SEC not in means:
        return []
    waited = np.diff(times) - np.diff(means[TOTAL_SEC])
    (where,) = np.nonzero(waited > MIN_PAUSE_SEC)  # comparisons with NaN are false
    return [Pause(float(means[KIMG][i]), float(waited[i])) for i in where]
