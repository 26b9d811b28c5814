"""What the log of a run says beside its ticks: warnings, notes, errors, continuations."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from dnnlib import errors, text

TICK = re.compile(r"tick \d+ +kimg (\d+\.\d+)")
REMARK = re.compile(r"(Error|Warning|Note): (.*)")
CONTINUED = re.compile(r"Continuing at (\d+\.\d+) kimg")
TRACEBACK = "Traceback (most recent call last)"
KINDS = ("Error", "Warning", "Note")
MAX_REMARKS = 200  # different ones; a log of years has fewer


@dataclass
class Remark:
    """A line of the log, and how often it came; lines that differ in numbers only are one.

    `first_kimg` and `last_kimg` are `None` before the first tick.
    """

    kind: str
    text: str
    first_kimg: float | None
    last_kimg: float | None
    num: int = 1


@dataclass(frozen=True)
class Continuation:
    """A start from a saved state; the run had trained further by `lost_kimg`."""

    kimg: float
    lost_kimg: float


@dataclass(frozen=True)
class Log:
    """Remarks, errors first; continuations in order."""

    remarks: list[Remark] = field(default_factory=list)
    continuations: list[Continuation] = field(default_factory=list)


def read(path: Path, problems: list[str]) -> Log:
    """Read the log of a run; a missing one says nothing.

    Args:
        path: The file.
        problems: Takes sentences on what cannot be read or is left out.
    """
    if not path.is_file():
        problems.append(f"{path.name} is missing: warnings and notes are unknown.")
        return Log()
    remarks: dict[tuple[str, str], Remark] = {}
    continuations: list[Continuation] = []
    kimg: float | None = None
    num_left_out = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if match := TICK.match(line):
                    kimg = float(match[1])
                elif match := CONTINUED.match(line):
                    start = float(match[1])
                    continuations.append(Continuation(start, max((kimg or start) - start, 0)))
                    kimg = start
                elif remark := _remark(line, kimg):
                    key = (remark.kind, re.sub(r"\d+", "0", remark.text))
                    if key in remarks:
                        remarks[key].num += 1
                        remarks[key].last_kimg = kimg
                    elif len(remarks) < MAX_REMARKS:
                        remarks[key] = remark
                    else:
                        num_left_out += 1
    except OSError as error:
        problems.append(f"{path.name}: cannot be read: {errors.message_of(error)}")
    if num_left_out:
        problems.append(
            f"{path.name}: {num_left_out} further lines with warnings and notes are left out."
        )
    return Log(sorted(remarks.values(), key=lambda r: KINDS.index(r.kind)), continuations)


def _remark(line: str, kimg: float | None) -> Remark | None:
    if line.startswith(TRACEBACK):
        return Remark("Error", "An error ended the run; log.txt has its traceback.", kimg, kimg)
    match = REMARK.match(line)
    return Remark(match[1], text.one_line(match[2]), kimg, kimg) if match else None
