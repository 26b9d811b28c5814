"""The values of a run's metrics over its snapshots, from the records in its folder."""

import contextlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SNAPSHOT = re.compile(r"network-snapshot-(\d+)\.pkl")
# Fields of records of `calc_metrics.py` whose values were computed in another way.
SETTINGS = {"num", "seed", "detectors", "images", "subset"}
# Metrics whose values rank networks, by the start of the name. The rest, such as the deviation of
# the inception score, does not.
LOWER_IS_BETTER = ("fid", "kid", "ppl")
HIGHER_IS_BETTER = ("pr", "dc", "eqt", "eqr")


def read(run_dir: Path, metrics: Iterable[str], cur_nimg: int) -> dict[str, dict[int, float]]:
    """Read what rank networks; of several records of a snapshot, the last one counts.

    Args:
        run_dir: Folder of the run.
        metrics: Names of the metrics.
        cur_nimg: Images that the run has seen; later snapshots belong to an abandoned future.

    Returns:
        For each value, thousands of images -> value, in ascending order.
    """
    values: dict[str, dict[int, float]] = {}
    for metric in metrics:
        for record in _records(run_dir / f"metric-{metric}.jsonl"):
            match = SNAPSHOT.fullmatch(str(record.get("snapshot_pkl")))
            results = record.get("results")
            if match is None or int(match[1]) > cur_nimg // 1000 or not isinstance(results, dict):
                continue
            for name, value in results.items():
                if _ranks(name) and isinstance(value, (int, float)) and math.isfinite(value):
                    values.setdefault(name, {})[int(match[1])] = value
    return {name: dict(sorted(by_kimg.items())) for name, by_kimg in values.items()}


def higher_is_better(name: str) -> bool:
    """Whether the better of two networks has the higher value."""
    return name.startswith(HIGHER_IS_BETTER)


def _ranks(name: str) -> bool:
    return name.startswith(LOWER_IS_BETTER + HIGHER_IS_BETTER)


def _records(path: Path) -> list[dict[str, Any]]:
    """Records of a metric with its usual settings; a damaged line is left out.

    A full disk cuts lines off, and there was a message then.
    """
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return [
        record for record in records if isinstance(record, dict) and not record.keys() & SETTINGS
    ]
