"""Records of metrics: lines of JSON, as calc_metrics.py prints them and runs keep them.

A run keeps them in `metric-NAME.jsonl`, with the path of the network relative to its folder.
"""

import fnmatch
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dnnlib.errors import InputError
from dnnlib.util import is_url

FILE_PATTERN = "metric-*.jsonl"
SNAPSHOT = re.compile(r"network-snapshot-([0-9]{1,12})\.\w+")
NUM_SAMPLES = 50000  # generated images, if a record does not say


@dataclass(frozen=True)
class Record:
    """A record.

    Attributes:
        fields: All of it; `metric_main.calc_metric` and `report_metric` say what there may be.
        folder: The run that keeps it; `None` for records in other files.
        file: The file that it was read from.
    """

    fields: Mapping[str, Any]
    folder: Path | None = None
    file: Path | None = None

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self.fields["metric"]

    @property
    def results(self) -> dict[str, float]:
        """Values by name."""
        return self.fields["results"]

    @property
    def errors(self) -> dict[str, float]:
        """Standard errors of values by name, where they are known."""
        return self.fields.get("standard_errors") or {}

    @property
    def is_of_images(self) -> bool:
        """Whether images were evaluated, and not a network."""
        return self.fields.get("images") is not None

    @property
    def evaluated(self) -> str:
        """Path or URL of the network or images that were evaluated.

        A printed line names a snapshot of a run, but not the run; the line's file then comes first.
        """
        path = self.fields.get("images")
        if path is not None:
            return path
        path = self.fields.get("snapshot_pkl") or "unknown"
        if self.folder is None and self.file is not None and SNAPSHOT.fullmatch(path):
            return f"{self.file}: {path}"
        if self.folder is None or is_url(path):
            return path
        return os.path.normpath(self.folder / path)

    @property
    def snapshot(self) -> int | None:
        """The number of a snapshot of a run, thousands of images; `None` for other networks."""
        found = SNAPSHOT.fullmatch(Path(self.fields.get("snapshot_pkl") or "").name)
        return None if found is None or self.is_of_images else int(found[1])

    @property
    def subset(self) -> int | None:
        """The class that was evaluated; `None` for all images."""
        return self.fields.get("subset")

    @property
    def num(self) -> int:
        """Number of generated images."""
        return self.fields.get("num", NUM_SAMPLES)

    @property
    def has_usual_settings(self) -> bool:
        """Whether its values compare with those that training writes."""
        others = ("seed", "detectors", "images", "subset")
        is_other = any(self.fields.get(name) is not None for name in others)
        return self.num == NUM_SAMPLES and not is_other

    @property
    def timestamp(self) -> float:
        """When it was written, in seconds since 1970; minus infinity if unknown."""
        return self.fields.get("timestamp", -math.inf)


@dataclass(frozen=True)
class Reading:
    """What a file holds.

    Attributes:
        path: The file.
        records: Its records, in their order.
        damaged: Numbers of lines, from 1, that are cut or no strict JSON, or make no sense.
        num_others: Number of lines of text that do not begin as a record does.
    """

    path: Path
    records: list[Record]
    damaged: list[int]
    num_others: int

    def left_out(self) -> str | None:
        """What is to say about lines that are no records; `None` if all are."""
        found = []
        if self.damaged:
            numbers = ", ".join(map(str, self.damaged[:5]))
            more = ", ..." if len(self.damaged) > 5 else ""
            found.append(f"{len(self.damaged)} damaged (line {numbers}{more})")
        if self.num_others:
            found.append(f"{self.num_others} that are no records")
        return f"Left out in {self.path}: {', '.join(found)}" if found else None


def find_files(path: Path) -> list[Path]:
    """The files of records in the folder of a run, or the file itself.

    Raises:
        ValueError: If the folder has none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(FILE_PATTERN))
    if not found:
        raise InputError(f"{path} has no {FILE_PATTERN}: name folders of training runs, or files")
    return found


def read(path: str | os.PathLike) -> Reading:
    """Read a file of records. Lines that are no records are counted and left out.

    Raises:
        OSError: If the file cannot be read.
    """
    path = Path(path)
    folder = path.parent if fnmatch.fnmatch(path.name, FILE_PATTERN) else None
    found: list[Record] = []
    damaged: list[int] = []
    num_others = 0
    with path.open("rb") as f:
        for number, line in enumerate(f, start=1):
            if not line.strip().startswith(b"{"):
                num_others += bool(line.strip())
            elif (fields := _parse(line)) is None:
                damaged.append(number)
            else:
                found.append(Record(fields, folder, path))
    return Reading(path, found, damaged, num_others)


def append(path: str | os.PathLike, line: str) -> None:
    """Append a record. If a process was killed while it wrote one, its torn line stays apart."""
    with open(path, "ab+") as f:
        if f.seek(0, os.SEEK_END) > 0:
            f.seek(-1, os.SEEK_END)
            if f.read(1) != b"\n":
                line = f"\n{line}"
        f.write(f"{line}\n".encode())


def _parse(line: bytes) -> dict[str, Any] | None:
    """The fields of a record; `None` if a line is none."""
    try:
        fields = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):  # also of bytes that are no text
        return None
    is_record = isinstance(fields, dict) and {"metric", "results"} <= fields.keys()
    if not is_record or not all(_FIELDS[name](fields[name]) for name in _FIELDS.keys() & fields):
        return None
    return fields


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int


_FIELDS = {
    "metric": lambda value: isinstance(value, str),
    "results": _are_numbers,
    "standard_errors": _are_numbers,
    "detectors": lambda value: isinstance(value, dict),
    "timestamp": _is_number,
    **dict.fromkeys(("num", "num_real", "seed", "subset"), _is_count),
    **dict.fromkeys(("snapshot_pkl", "images", "dataset", "dataset_pixels"), _is_text),
}
