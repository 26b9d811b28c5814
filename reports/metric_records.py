"""Metrics of a run's snapshots, from `metric-*.jsonl`."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports import json_lines

SNAPSHOT = re.compile(r"network-snapshot-(\d{1,12})\.")
# Fields of records whose values do not compare with those that training writes.
OTHER_SETTINGS = ("num", "seed", "detectors", "images", "subset")


def read(run_dir: Path, problems: list[str]) -> dict[str, dict[float, float]]:
    """Values by name and thousands of images; of several values of a snapshot the last counts.

    Args:
        run_dir: Folder of the run.
        problems: Takes sentences on records that are left out.
    """
    found: dict[str, dict[float, float]] = {}
    for path in sorted(run_dir.glob("metric-*.jsonl")):
        num_other = num_unknown = 0
        for record in json_lines.read(path, problems):
            kimg, results = _kimg(record), record.get("results")
            if any(record.get(name) is not None for name in OTHER_SETTINGS):
                num_other += 1
            elif kimg is None or not isinstance(results, Mapping):
                num_unknown += 1
            else:
                for name, value in results.items():
                    if not math.isnan(number := json_lines.as_float(value)):
                        found.setdefault(name, {})[kimg] = number
        for num, reason in (
            (num_other, "of other settings (--num, --seed, --detector, --images, --subset)"),
            (num_unknown, "without a snapshot of the run or without results"),
        ):
            if num:
                problems.append(f"{path.name}: {num} records {reason} are left out.")
    return {name: dict(sorted(values.items())) for name, values in found.items()}


def _kimg(record: Mapping[str, Any]) -> float | None:
    match = SNAPSHOT.search(str(record.get("snapshot_pkl")))
    return float(match[1]) if match else None
