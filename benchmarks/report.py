"""A Markdown report of many measurements that has to be ready in time, and that grows row by row.

A report consists of sections, and a section is a table of items. Items are measured in order; the
error of an item that fails becomes its row. Every row is handed over as soon as it is measured, so
that a report that is killed has lost nothing. Every section has a share of the time, and passes on
the time that it does not need. The report names the items that it leaves out for lack of time.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import click

from benchmarks import timing

Row = Sequence[str]
Rows = Iterable[Row]


class Incomplete(RuntimeError):
    """A part of an item failed; `rows` holds the results of the other parts."""

    def __init__(self, message: str, rows: Sequence[Row]) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True)
class Item:
    """A part of a section: `measure()` returns or generates its rows, or raises.

    The rows that were generated before an error, and those of `Incomplete`, are kept.
    """

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
        share: Its part of the total time, relative to the shares of the other sections.
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
    """A report that grows row by row.

    Attributes:
        write: Is called with each new piece of the text.
        text: The report so far, in Markdown.
        failures: Names of items that raised, and why.
        left_out: Names of items there was no time for.
    """

    write: Callable[[str], None]
    text: str = ""
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Append to the report, and hand over what is new."""
        self.text += text
        self.write(text)

    def add_section(self, section: Section, deadline: float) -> None:
        """Measure the items of a section until `deadline` (of `time.perf_counter`)."""
        start = time.perf_counter()
        left_out = []
        self.add(f"\n## {section.title}\n\n{section.about}\n\n")
        self.add(timing.format_markdown(section.header, []) + "\n")
        for item in self._items_of(section):
            if time.perf_counter() >= deadline:
                left_out.append(item.name)
                continue
            click.echo(f"{section.name}: {item.name} ...", err=True)
            for row in self._rows_of(section, item):
                self.add(timing.format_markdown_row(row) + "\n")
        self.left_out += [f"{section.name}: {name}" for name in left_out]
        if left_out:
            self.add(f"\nLeft out for want of time: {'; '.join(left_out)}.\n")
        seconds = time.perf_counter() - start
        self.add(
            f"\n({seconds:.0f} s, of {max(0, deadline - start):.0f} s that were left for it)\n"
        )

    def _items_of(self, section: Section) -> list[Item]:
        try:
            return list(section.items())
        except Exception as error:
            # Becomes a row of its own.
            def fail(error: Exception = error) -> Rows:
                raise error

            return [Item("setting up", fail)]

    def _rows_of(self, section: Section, item: Item) -> Iterator[Row]:
        try:
            yield from item.measure()
        except Exception as error:  # an error is a finding; the report goes on
            yield from error.rows if isinstance(error, Incomplete) else []
            yield self._failed(section, item.name, error)

    def _failed(self, section: Section, name: str, error: Exception) -> Row:
        message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        self.failures.append(f"{section.name}: {name}: {message}")
        return [name, f"failed: {message}", *[""] * (len(section.header) - 2)]


def write_report(
    head: str,
    sections: Sequence[Section],
    total_sec: float,
    write: Callable[[str], None],
    start: float | None = None,
) -> Report:
    """Measure all sections; the end of the report says what has failed, and what was left out.

    Args:
        head: First lines.
        sections: The sections, in order.
        total_sec: Time for all sections.
        write: Is called with each new piece of the text, and must not keep it back.
        start: When the time began, of `time.perf_counter`; `None` for now.
    """
    start = time.perf_counter() if start is None else start
    report = Report(write)
    report.add(head)
    all_shares = sum(section.share for section in sections)
    shares = 0.0
    try:
        for section in sections:
            shares += section.share
            report.add_section(section, start + total_sec * shares / all_shares)
    except KeyboardInterrupt:
        report.add("\nStopped by Ctrl-C.\n")
        raise
    finally:
        report.add(_conclusion(report, time.perf_counter() - start))
    return report


def _conclusion(report: Report, seconds: float) -> str:
    lines = ["", "## Conclusion", "", f"- {seconds:.0f} s in total"]
    lines.append(f"- {len(report.failures)} failures")
    lines += [f"  - {failure}" for failure in report.failures]
    lines.append(f"- {len(report.left_out)} items left out for want of time")
    return "\n".join(lines) + "\n"
