"""A Markdown report of many measurements that has to be ready in time.

A report consists of sections, and a section is a table of items. Items are measured in order; the
error of an item that fails becomes its row. Every section has a share of the time, and passes on
the time that it does not need. The report names the items that it leaves out for lack of time.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import click

from benchmarks import timing

Rows = Sequence[Sequence[str]]


class Incomplete(RuntimeError):
    """A part of an item failed; `rows` holds the results of the other parts."""

    def __init__(self, message: str, rows: Rows) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True)
class Item:
    """A part of a section: `measure()` returns its rows, or raises, perhaps `Incomplete`."""

    name: str
    measure: Callable[[], Rows]


@dataclass(frozen=True)
class Section:
    """A table.

    Attributes:
        name: Name for `--sections`.
        title: Heading.
        about: Meaning of the columns.
        header: Names of the columns; an item that fails fills the first two.
        share: Part of the total time, in seconds of a report that takes as long as it may.
        items: Returns the items; is called when the section's turn comes.
    """

    name: str
    title: str
    about: str
    header: Sequence[str]
    share: float
    items: Callable[[], Iterable[Item]]


@dataclass
class Report:
    """A report that grows section by section.

    Attributes:
        text: The report so far, in Markdown.
        failures: Names of items that raised, and why.
        left_out: Names of items there was no time for.
    """

    text: str = ""
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add_section(self, section: Section, deadline: float) -> None:
        """Measure the items of a section until `deadline` (of `time.perf_counter`)."""
        start = time.perf_counter()
        rows: list[Sequence[str]] = []
        left_out = []
        for item in self._items_of(section):
            if time.perf_counter() >= deadline:
                left_out.append(item.name)
                continue
            click.echo(f"{section.name}: {item.name} ...", err=True)
            try:
                rows += item.measure()
            except Exception as error:  # an error is a finding; the report goes on
                rows += error.rows if isinstance(error, Incomplete) else []
                rows.append(self._failed(section, item.name, error))
        self.left_out += [f"{section.name}: {name}" for name in left_out]
        self.text += f"\n## {section.title}\n\n{section.about}\n\n"
        self.text += timing.format_markdown(section.header, rows) + "\n"
        if left_out:
            self.text += f"\nLeft out for want of time: {'; '.join(left_out)}.\n"
        seconds = time.perf_counter() - start
        self.text += f"\n({seconds:.0f} s, of {section.share:g} s that were allotted)\n"

    def _items_of(self, section: Section) -> list[Item]:
        try:
            return list(section.items())
        except Exception as error:
            # Becomes a row of its own.
            def fail(error: Exception = error) -> Rows:
                raise error

            return [Item("setting up", fail)]

    def _failed(self, section: Section, name: str, error: Exception) -> list[str]:
        message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        self.failures.append(f"{section.name}: {name}: {message}")
        return [name, f"failed: {message}", *[""] * (len(section.header) - 2)]


def write_report(
    head: str,
    sections: Sequence[Section],
    total_sec: float,
    save: Callable[[str], None],
    start: float | None = None,
) -> Report:
    """Measure all sections, and hand over the text after each.

    Args:
        head: First lines.
        sections: The sections, in order.
        total_sec: Time for all sections.
        save: Is called with all of the text so far.
        start: When the time began, of `time.perf_counter`; `None` for now.
    """
    start = time.perf_counter() if start is None else start
    report = Report(head)
    all_shares = sum(section.share for section in sections)
    shares = 0.0
    for section in sections:
        shares += section.share
        report.add_section(section, start + total_sec * shares / all_shares)
        save(report.text)
    report.text += _conclusion(report, time.perf_counter() - start)
    save(report.text)
    return report


def _conclusion(report: Report, seconds: float) -> str:
    lines = ["", "## Conclusion", "", f"- {seconds:.0f} s in total"]
    lines.append(f"- {len(report.failures)} failures")
    lines += [f"  - {failure}" for failure in report.failures]
    lines.append(f"- {len(report.left_out)} items left out for want of time")
    return "\n".join(lines) + "\n"
