"""Read the folder of a training run; whatever is missing or damaged is counted and said."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data import fingerprint
from dnnlib import text
from dnnlib.errors import InputError
from reports import json_lines, log_file, metric_records, options_table, sheets, statistics
from reports.log_file import Log
from reports.sheets import SheetFile
from reports.statistics import Statistics


@dataclass(frozen=True)
class RunFolder:
    """What the folder of a run holds.

    Attributes:
        path: The folder.
        options: The options by dotted name, as text.
        total_kimg: Planned length, `None` if that is unknown.
        stats: Statistics by tick.
        metrics: Values by name and thousands of images.
        sheets: Sheets of generated images, from the first to the last.
        reals: The sheet of real images, if there is one.
        log: Remarks of the log.
        problems: Sentences on what is missing, damaged or left out.
    """

    path: Path
    options: dict[str, str]
    total_kimg: float | None
    stats: Statistics
    metrics: dict[str, dict[float, float]]
    sheets: list[SheetFile]
    reals: Path | None
    log: Log
    problems: list[str]

    @property
    def name(self) -> str:
        return text.printable(self.path.name)

    @property
    def kimg(self) -> float:
        """Thousands of images that the run has seen, as far as its statistics tell."""
        return float(self.stats.kimg[-1]) if len(self.stats.kimg) else 0.0

    @property
    def is_complete(self) -> bool:
        return self.total_kimg is not None and self.kimg >= self.total_kimg


def read(path: Path) -> RunFolder:
    """Read the folder of a run.

    Raises:
        InputError: If the folder is none of a run.
    """
    path = path.resolve()
    stats_path, options_path = statistics.find(path), path / options_table.NAME
    if stats_path is None and not options_path.is_file():
        raise InputError(_refusal(path))
    problems: list[str] = []
    options = options_table.read(options_path, problems)
    stats = Statistics.empty()
    if stats_path is None:
        problems.append(f"{statistics.NAMES[0]} is missing: there are no curves.")
    else:
        stats = statistics.read(stats_path, problems)
        if not len(stats.kimg):
            problems.append(f"{stats_path.name} has no ticks yet: there are no curves.")
    # After a return to an older state, the folder holds what the run has not seen any more.
    last_kimg = stats.kimg[-1] if len(stats.kimg) else math.inf
    on_disk = sheets.find(path)
    found = [sheet for sheet in on_disk if sheet.kimg <= last_kimg]
    if len(found) < len(on_disk):
        problems.append(
            f"{len(on_disk) - len(found)} sheets of later images than the last tick are left out: "
            "the run has gone back to an older state."
        )
    if not found:
        problems.append("There are no sheets of generated images (fakes*.png).")
    reals = path / "reals.png"
    return RunFolder(
        path,
        options,
        options_table.total_kimg(options),
        stats,
        metric_records.read(path, last_kimg, _dataset(options), problems),
        found,
        reals if reals.is_file() else None,
        log_file.read(path / "log.txt", problems),
        problems,
    )


def _dataset(options: Mapping[str, str]) -> str | None:
    """Identity of the real images of a run, as in records of metrics; `None` if unknown."""
    prefix = "dataset_fingerprint."
    parts = {
        name.removeprefix(prefix): json_lines.parse(value.encode())
        for name, value in options.items()
        if name.startswith(prefix)
    }
    try:
        return fingerprint.short(parts) if parts else None
    except KeyError:  # of another program
        return None


def _refusal(path: Path) -> str:
    names = sorted(child.parent for child in path.glob(f"*/{options_table.NAME}"))
    hint = "name a folder that train.py has made, such as training-runs/00000-..."
    if names:
        hint = f"it holds runs, so name those: {names[0]} (all of them: {path}/*/)"
    return (
        f"{path} is not the folder of a run (no {options_table.NAME}, no "
        f"{statistics.NAMES[0]}): {hint}"
    )
