"""A table of records: a row for each network, and what keeps its values from being compared."""

import math
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dnnlib.errors import InputError
from dnnlib.text import format_table, printable
from dnnlib.util import is_url
from metrics.records import Record

# Beginnings of values' names, in the order of the columns: 1 if more is better, -1 if less is.
SIGNS = {
    "fid": -1,
    "kid": -1,
    "fd": -1,
    "kd": -1,
    "cmmd": -1,
    "pr": 1,
    "dc": 1,
    "is50k_mean": 1,
    "memo_copypct": -1,
    "ppl": -1,
    "eqt": 1,
    "eqr": 1,
}
MAX_GROUPS = 4  # different settings that a warning lists

Show = Literal["best", "last", "all"]


@dataclass
class Row:
    """A network or images, or one class of them.

    Attributes:
        name: Path or URL.
        subset: The class; `None` for all images.
        is_of_images: Whether it is not a network.
        records: For each value's name, the record that has the value.
    """

    name: str
    subset: int | None
    is_of_images: bool
    records: dict[str, Record] = field(default_factory=dict)

    def __str__(self) -> str:
        name = printable(self.name)
        return name if self.subset is None else f"class {self.subset} of {name}"

    def value(self, name: str) -> float:
        """A value; NaN if there is none."""
        return self.records[name].results[name] if name in self.records else math.nan

    @property
    def snapshot(self) -> int | None:
        """The number of a snapshot of a run, thousands of images; `None` for other networks."""
        return next((record.snapshot for record in self.records.values()), None)

    @property
    def group(self) -> Hashable:
        """Equal for snapshots of one run."""
        return self.run, self.subset, self.snapshot is None

    @property
    def run(self) -> str:
        """The folder of a snapshot, or the file of its record; for other rows, their name."""
        if self.snapshot is None:
            return self.name
        return self.name.rpartition("network-snapshot-")[0].rstrip(f": {os.sep}") or os.curdir


def make_rows(records: Iterable[Record]) -> tuple[list[Row], list[str]]:
    """Rows in the order of the records; of several values for a place, the latest counts.

    Returns:
        The rows, and what is to say about them.
    """
    rows: dict[Hashable, Row] = {}
    num_replaced = 0
    for record in records:
        path = record.evaluated
        key = path if is_url(path) else os.path.abspath(path), record.subset, record.is_of_images
        row = rows.setdefault(key, Row(path, record.subset, record.is_of_images))
        for name, value in record.results.items():
            before = row.records.get(name)
            if before is not None:
                num_replaced += before.results[name] != value
            if before is None or record.timestamp >= before.timestamp:
                row.records[name] = record
    notes = []
    if num_replaced:
        notes.append(
            f"Note: {num_replaced} values differ from others of the same row; the latest are shown."
        )
    return list(rows.values()), notes


def names_of(rows: Sequence[Row]) -> list[str]:
    """Names of all values, the most common kinds first."""
    names = dict.fromkeys(name for row in rows for name in row.records)
    kinds = [*SIGNS, ""]  # every name begins with the last
    return sorted(
        names, key=lambda name: next(i for i, x in enumerate(kinds) if name.startswith(x))
    )


def choose(rows: list[Row], show: Show, by: str | None = None) -> tuple[list[Row], list[str]]:
    """The best or the last snapshot of each run, and all rows that are no snapshots.

    Args:
        rows: All rows.
        show: What to choose.
        by: Name of the value that decides what is best; by default the first that can.

    Returns:
        The rows, and what is to say about them.

    Raises:
        ValueError: If it is unknown which value is best. The message names `--by`.
    """
    names = names_of(rows)
    if by is not None and (by not in names or _sign(by) is None):
        known = ", ".join(name for name in names if _sign(name) is not None)
        raise InputError(f"--by={by}: no such value, or none with a best; there are {known}")
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    if show == "all" or len(groups) == len(rows):
        ordered = (sorted(group, key=lambda row: row.snapshot or 0) for group in groups.values())
        return [row for group in ordered for row in group], []
    if show == "last":
        return [max(group, key=lambda row: row.snapshot or 0) for group in groups.values()], []
    by = by or next((name for name in names if _sign(name) is not None), None)
    if by is None:
        raise InputError(
            "--show=best: no value says which snapshot is best; --show=last needs none"
        )
    kind = "less" if _sign(by) == -1 else "more"
    notes = [f"Note: the best snapshot of each run is shown, by {by} ({kind} is better)."]
    num_lacking = sum(by not in row.records for row in rows if row.snapshot is not None)
    if num_lacking:
        notes.append(f"Note: {num_lacking} snapshots have no {by} and count as worse than others.")
    for group in groups.values():
        where = printable(group[0].run)
        reasons = _reasons(group, by) if len(group) > 1 else []
        notes += [f"Warning: {by} of the snapshots in {where}: {why}" for why in reasons]
    return [max(group, key=lambda row: _rank(row, by)) for group in groups.values()], notes


def find_differences(rows: Sequence[Row]) -> list[str]:
    """Why values of a column cannot be compared; columns with the same reason share a line."""
    columns: dict[str, list[str]] = {}
    for name in names_of(rows):
        for reason in _reasons(rows, name):
            columns.setdefault(reason, []).append(name)
    return [f"{', '.join(map(printable, names))}: {why}" for why, names in columns.items()]


def describe(rows: Sequence[Row]) -> str:
    """The table: a column for every value, with its standard error where it is known."""
    kinds = {row.is_of_images for row in rows}
    kind = "network or images" if len(kinds) == 2 else "images" if True in kinds else "network"
    names = names_of(rows)
    has_classes = any(row.subset is not None for row in rows)
    lines = []
    for row in rows:
        of_class = "" if row.subset is None else str(row.subset)
        cells = [printable(row.name), *([of_class] if has_classes else [])]
        lines.append([*cells, *(_cell(row, name) for name in names)])
    header = [kind, *(["class"] if has_classes else []), *map(printable, names)]
    return format_table(header, lines)


def _cell(row: Row, name: str) -> str:
    if name not in row.records:
        return "-"
    error = row.records[name].errors.get(name)
    return f"{row.value(name):.5g}" + ("" if error is None else f" ± {error:.2g}")


def _sign(name: str) -> int | None:
    """1 if more of a value is better, -1 if less is; `None` if unknown."""
    return next((sign for kind, sign in SIGNS.items() if name.startswith(kind)), None)


def _rank(row: Row, by: str) -> tuple[bool, float, int]:
    """Largest for the best row; of equal ones, and of rows without a value, for the last."""
    value = row.value(by) * (_sign(by) or 1)
    return by in row.records, 0.0 if math.isnan(value) else value, row.snapshot or 0


def _reasons(all_rows: Sequence[Row], name: str) -> list[str]:
    """Why the values of a column cannot be compared."""
    found = []
    rows = [row for row in all_rows if name in row.records]
    records = [row.records[name] for row in rows]
    images = _real_images(records)
    if any(images) and not all(images):
        num = images.count(None)
        found.append(f"the real images of {num} of {len(images)} rows are unknown")
    settings = {title: list(map(setting, records)) for title, setting in _SETTINGS.items()}
    for title, texts in {"the real images are": images, **settings}.items():
        values = [(row, text) for row, text in zip(rows, texts, strict=True) if text is not None]
        counts = Counter(text for _, text in values).most_common()
        if len(counts) > 1:
            parts = []
            for text, count in counts[:MAX_GROUPS]:
                row = next(row for row, other in values if other == text)
                parts.append(f"{printable(text)} in {row if count == 1 else f'{count} rows'}")
            more = f" and {len(counts) - MAX_GROUPS} more" if len(counts) > MAX_GROUPS else ""
            found.append(f"not comparable: {title} {', '.join(parts)}{more}")
    return found


def _real_images(records: Sequence[Record]) -> list[str | None]:
    """A digest for each record, equal for the same real images; `None` if they are unknown.

    Records have the same real images if they agree in the pixels; or in the files, for a record
    without a digest of the pixels.
    """
    pixels = [record.fields.get("dataset_pixels") for record in records]
    datasets = [record.fields.get("dataset") for record in records]
    of_files = {d: p for d, p in zip(datasets, pixels, strict=True) if d is not None and p}
    return [p or of_files.get(d, d) for p, d in zip(pixels, datasets, strict=True)]


def _describe_detectors(record: Record) -> str | None:
    """The chosen files; `None` if the record states the network itself, wherever it came from."""
    if "feature_network" in record.fields:
        return None
    used = sorted((record.fields.get("detectors") or {}).items())
    return " and ".join(f"{name}={path}" for name, path in used) or "as published"


def _text_of(name: str) -> Callable[[Record], str | None]:
    """A field as a text; `None` for records without it."""
    return lambda record: str(record.fields[name]) if name in record.fields else None


# What values of a column must agree in; `None` if a record does not say.
_SETTINGS: dict[str, Callable[[Record], str | None]] = {
    "num is": lambda record: str(record.num),
    "num_real is": _text_of("num_real"),
    "they are of": lambda record: "all images" if record.subset is None else "a class",
    "seed is": lambda record: str(record.fields.get("seed", 0)),
    "detectors are": _describe_detectors,
    "feature_network is": _text_of("feature_network"),
}
