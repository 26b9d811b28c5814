"""The values of a run's metrics over its snapshots, from the records in its folder."""

from collections.abc import Iterable
from pathlib import Path

from metrics import ranking, records


def read(
    run_dir: Path, metrics: Iterable[str], cur_nimg: int, dataset: str | None
) -> dict[str, dict[int, float]]:
    """Read what ranks networks; of several records of a snapshot, the last one counts.

    Args:
        run_dir: Folder of the run.
        metrics: Names of the metrics.
        cur_nimg: Images that the run has seen; later snapshots belong to an abandoned future.
        dataset: Identifies the data of the run in its records, see `fingerprint.short`; values of
            other data cannot be compared.

    Returns:
        For each value, thousands of images -> value, in ascending order.
    """
    values: dict[str, dict[int, float]] = {}
    for metric in metrics:
        path = run_dir / f"metric-{metric}.jsonl"
        names = [found.value_name for found in ranking.of_metric(metric)]
        for record in records.read(path).records if path.is_file() else ():
            kimg = record.snapshot
            if kimg is None or kimg > cur_nimg // 1000 or not record.has_usual_settings:
                continue
            if record.fields.get("dataset") not in (None, dataset):
                continue
            for name in record.results.keys() & names:
                values.setdefault(name, {})[kimg] = record.results[name]
    return {name: dict(sorted(by_kimg.items())) for name, by_kimg in values.items()}
