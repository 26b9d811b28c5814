"""Metrics of a run's snapshots, from `metric-*.jsonl`."""

from pathlib import Path

from dnnlib import errors
from metrics import records


def read(
    run_dir: Path, last_kimg: float, dataset: str | None, problems: list[str]
) -> dict[str, dict[float, float]]:
    """Values by name and thousands of images; of several values of a snapshot the last counts.

    Args:
        run_dir: Folder of the run.
        last_kimg: Leave out later snapshots: the run has gone back to an older state.
        dataset: Identity of the run's real images; `None` if it is unknown.
        problems: Takes sentences on records that are left out.
    """
    found: dict[str, dict[float, float]] = {}
    for path in sorted(run_dir.glob(records.FILE_PATTERN)):
        try:
            reading = records.read(path)
        except OSError as error:
            problems.append(f"{path.name}: cannot be read: {errors.message_of(error)}")
            continue
        if (note := reading.left_out()) is not None:
            problems.append(f"{note}.")
        num_other = num_unknown = num_later = 0
        for record in reading.records:
            is_of_other_data = record.fields.get("dataset", dataset) != dataset
            if not record.has_usual_settings or is_of_other_data:
                num_other += 1
            elif (kimg := record.snapshot) is None:
                num_unknown += 1
            elif kimg > last_kimg:
                num_later += 1
            else:
                for name, value in record.results.items():
                    found.setdefault(name, {})[kimg] = value
        for num, reason in (
            (
                num_other,
                "of other settings (--data, --num, --seed, --detector, --images, --subset)",
            ),
            (num_unknown, "without a snapshot of the run"),
            (num_later, "of later snapshots than the last tick"),
        ):
            if num:
                problems.append(f"{path.name}: {num} records {reason} are left out.")
    return {name: dict(sorted(values.items())) for name, values in found.items()}
