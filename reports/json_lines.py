"""Read files with one JSON object a line; damaged lines are counted, and the rest counts."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnnlib import errors


def read(path: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    """The objects of a file, in order.

    Args:
        path: The file; one that is missing or no regular file gives nothing.
        problems: Takes a sentence on damaged lines, and one on a file that cannot be read.
    """
    if not path.is_file():
        return
    damaged: list[int] = []
    number, line = 0, b"\n"
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                record = parse(line)
                if isinstance(record, dict):
                    yield record
                elif line.strip():
                    damaged.append(number)
    except OSError as error:
        problems.append(f"{path.name}: cannot be read: {errors.message_of(error)}")
    if damaged == [number] and not line.endswith(b"\n"):
        problems.append(f"{path.name}: the last line is unfinished and left out.")
    elif damaged:
        lines = "line is" if len(damaged) == 1 else "lines are"
        problems.append(
            f"{path.name}: {len(damaged)} {lines} damaged and left out, first line {damaged[0]}."
        )


def parse(text: bytes) -> Any:
    """The value of a JSON text, `None` if it is damaged."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a hostile text can nest without end
        return None


def as_float(value: Any) -> float:
    """A number as a finite float, anything else as NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        number = float(value)
    except OverflowError:  # JSON's whole numbers can be of any size
        return math.nan
    return number if math.isfinite(number) else math.nan
