"""Labels by image: from a `dataset.json`, names of folders, or a CSV or JSON file."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from data import dataset_json
from data.dataset_json import (
    Label,
    LongNumber,
    check_labels,
    collect,
    load_json,
    parse_class_names,
    parse_int,
    parse_labels,
)
from data.label_names import match_names
from data.listing import METADATA
from data.reading import UnusableImage
from dnnlib.errors import InputError
from dnnlib.util import printable

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+", re.ASCII)
WHOLE_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)
NUM_CLASSES_SHOWN = 32


class Labels(NamedTuple):
    """Labels by the names of images in their source, and what classes are called, if known."""

    by_name: dict[str, Label]
    class_names: list[str] | None = None
    notes: tuple[str, ...] = ()  # what was understood, converted or ignored, for people
    lack: str = ""  # "<image> ..." if it has no label; empty if there are none at all
    unused: tuple[str, ...] = ()  # names that have labels and are no image's
    are_in_place: bool = False  # where training finds them, too

    def find_gaps(self, names: Sequence[str]) -> str | None:
        """What is wrong if not all of these images have a label, and the ways out."""
        missing = [name for name in names if name not in self.by_name]
        if not missing or not self.lack:
            return None
        text = f"{printable(missing[0])} {self.lack}"
        text += f" ({len(missing)} of {len(names)} images have no label"
        if labelled := next((name for name in names if name in self.by_name), None):
            text += f"; {printable(labelled)} has one"
        if self.unused:
            text += f"; {printable(self.unused[0])} has one, but is no image"
        return (
            f"{text}); complete the labels, leave such images out with --on-error=skip, or all"
            " labels with --labels=none"
        )


def from_dataset(
    metadata: Iterable[str], read: Callable[[str], bytes], names: Sequence[str], where: Path
) -> Labels:
    """The labels in the `dataset.json` of a source, if it has one that lists any.

    If there is none at the top, one below will do.

    Args:
        metadata: Names of all `dataset.json` in the source.
        read: Gives the content of one of them.
        names: Those that are images.
        where: What messages call the source.

    Raises:
        ValueError: If `dataset.json` is something else, names images ambiguously, or if there are
            several with labels and none at the top.
    """
    found = dataset_json.sort_by_depth(metadata)
    if not found:
        return Labels({})
    if found[0] == METADATA:
        labels = _from_json_of_dataset(_read(read, where, found[0]), where / found[0], names, "")
        if len(found) > 1:
            others = printable(found[1]) + (f" and {len(found) - 2} more" if len(found) > 2 else "")
            note = f"{where / found[0]} is what counts, and {others} is left out"
            labels = labels._replace(notes=(*labels.notes, note))
        return labels
    labelled: dict[str, bytes] = {}
    for name in found:
        text = _read(read, where, name)
        if parse_labels(text, _path(where, name)):
            labelled[name] = text
        if len(labelled) > 1:
            raise InputError(
                f"{where}: there is no dataset.json at the top, but several below, such as"
                f" {' and '.join(printable(name) for name in labelled)}; convert each folder by"
                " itself, or put one for all images at the top"
            )
    if not labelled:
        return Labels({})
    ((name, text),) = labelled.items()
    labels = _from_json_of_dataset(text, _path(where, name), names, name.rpartition("/")[0])
    note = f"the labels are those of {_path(where, name)}; there is no dataset.json at the top"
    return labels._replace(notes=(note, *labels.notes), are_in_place=False)


def from_folders(names: Sequence[str], where: str) -> Labels:
    """The folder directly below the source is the class; see `sort_classes` for their numbers.

    Raises:
        ValueError: If no image lies in a folder.
    """
    folders = {name: name.partition("/")[0] for name in names if "/" in name}
    if not folders and names:
        raise InputError(
            f"--labels=folders: the images in {where} lie in no folders; put those of each class"
            " into one"
        )
    class_names = sort_classes(folders.values())
    numbers = {name: number for number, name in enumerate(class_names)}
    notes = []
    if len(class_names) == 1:
        below = {name.split("/")[1] for name in names if name.count("/") > 1}
        notes.append(
            f"all images lie in one folder, {printable(class_names[0])}, which makes one class"
            + (f"; its {len(below)} subfolders make none" if below else "")
        )
    return Labels(
        {name: numbers[folder] for name, folder in folders.items()},
        class_names,
        tuple(notes),
        "lies in no folder",
    )


def from_file(path: Path, names: Sequence[str]) -> Labels:
    """Read a table of labels for images with these names in their source.

    CSV: a line for each image, its name and then either one class (a number, or a word) or several
    numbers, a vector; separated by commas, semicolons or tabs. The first line holds headings if its
    name is no image's. JSON: `{"labels": [[NAME, LABEL], ...]}` as in `dataset.json`, `[[NAME,
    LABEL], ...]` or `{NAME: LABEL, ...}`. Only words that are the class of an image get a number.

    Raises:
        ValueError: If the file is something else, or names no image.
        OSError: If it cannot be read.
    """
    if not path.is_file():
        raise OSError(f"--labels={path}: no such file; or is it --labels=folders, or none?")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"--labels={path}: not UTF-8 text ({error})") from error
    if path.suffix.lower() == ".json":
        return _from_json(text, path, names)
    return _from_csv(text, path, names)


def sort_classes(names: Iterable[str]) -> list[str]:
    """Distinct names in the order of their numbers as classes.

    If all are whole numbers, by size. Otherwise by letters (capitals before small ones), with
    digits among them read as numbers: `c2` comes before `c10`.
    """
    distinct = set(names)
    if all(WHOLE_NUMBER.fullmatch(name) for name in distinct):
        return sorted(distinct, key=lambda name: (Decimal(name), name))
    return sorted(distinct, key=_natural_key)


def describe_classes(values: Iterable[int], class_names: list[str] | None) -> Iterator[str]:
    """A line for each class that occurs: its number, how many images it has, its name."""
    counts = Counter(values)
    names = dict(enumerate(class_names or []))
    width, largest = len(str(max(counts))), max(counts.values())
    for number, num in sorted(counts.items())[:NUM_CLASSES_SHOWN]:
        bar = "#" * max(round(30 * num / largest), 1)
        line = f"  {number:{width}}  {num:7}  {bar:30}  {printable(names.get(number, ''))}"
        yield line.rstrip()
    if len(counts) > NUM_CLASSES_SHOWN:
        yield f"  ... and {len(counts) - NUM_CLASSES_SHOWN} more"


def count_classes(values: Iterable[int]) -> str:
    """How many classes there are, and whether some numbers below the largest are none."""
    distinct = set(values)
    missing = max(distinct) + 1 - len(distinct)
    text = "1 class" if len(distinct) == 1 else f"{len(distinct)} classes"
    return text + (f" ({missing} lower numbers do not occur)" if missing else "")


def _natural_key(name: str) -> tuple[list[tuple[str, int, str]], str]:
    """Letters and the digits that follow them, in turn; numbers by their lengths, then digits."""
    parts = re.findall(r"(\D*)(\d*)", name, re.ASCII)
    return [(text, len(n.lstrip("0")), n.lstrip("0")) for text, n in parts], name


def _path(where: Path, name: str) -> str:
    return printable(str(where / name))


def _read(read: Callable[[str], bytes], where: Path, name: str) -> bytes:
    try:
        return read(name)
    except UnusableImage as error:  # a pipe, or without measure
        raise InputError(f"{_path(where, name)} {str(error).partition(';')[0]}") from error


def _from_json_of_dataset(
    text: bytes, path: str | Path, names: Sequence[str], folder: str
) -> Labels:
    listed = parse_labels(text, path)
    if listed is None:
        return Labels({})
    if not listed:
        return Labels({}, notes=(f"{path} lists no labels",) if names else ())
    class_names, notes = None, []
    try:
        class_names = parse_class_names(text)
    except ValueError as error:
        notes.append(f"{path}: {error}; it is left out")
    labels = _match(listed, names, str(path), "name", folder)
    notes += _check_class_names(class_names, labels.by_name, path)
    return labels._replace(
        class_names=class_names, notes=(*labels.notes, *notes), are_in_place=True
    )


def _match(
    listed: dict[str, Any], names: Sequence[str], where: str, noun: str, folder: str = ""
) -> Labels:
    """Labels by image, before anything is made of them."""
    match = match_names(listed, names, where, folder)
    notes = [] if match.changes is None else [f"{where}: {match.changes}"]
    if match.unused and match.listed_of:
        notes.append(
            f"{where}: {_count(len(match.unused), noun)} without an image, such as"
            f" {printable(match.unused[0])}"
        )
    by_name = {image: listed[name] for image, name in match.listed_of.items()}
    return Labels(by_name, None, tuple(notes), f"has no label in {where}", tuple(match.unused))


def _from_json(text: str, path: Path, names: Sequence[str]) -> Labels:
    class_names, notes = None, []
    try:
        content = load_json(text)
        if isinstance(content, dict) and isinstance(content.get("labels"), list):
            try:
                class_names = parse_class_names(text)
            except ValueError as error:
                notes.append(f"--labels={path}: {error}; it is left out")
            content = content["labels"]
        elif isinstance(content, dict):
            content = list(content.items())
        if not isinstance(content, list) or not all(
            isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)
            for entry in content
        ):
            raise InputError('expected {"labels": [[NAME, LABEL], ...]} or {NAME: LABEL, ...}')
        listed = collect([tuple(entry) for entry in content])
    except json.JSONDecodeError as error:
        raise InputError(f"--labels={path}: not JSON ({error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--labels={path}: {error}") from error
    is_word = {type(label) is str for label in listed.values()} == {True}
    if not is_word:
        check_labels(listed, f"--labels={path}")
    labels = _match_file(listed, path, names, "name")
    if is_word:
        return _number_words(labels)
    notes += _check_class_names(class_names, labels.by_name, path)
    return labels._replace(class_names=class_names, notes=(*labels.notes, *notes))


def _match_file(listed: dict[str, Any], path: Path, names: Sequence[str], noun: str) -> Labels:
    labels = _match(listed, names, f"--labels={path}", noun)
    labels = labels._replace(lack=f"has no label in {path}")
    if names and not labels.by_name:
        example = printable(next(iter(listed))) if listed else "nothing"
        raise InputError(
            f"--labels={path}: it names no image of the source: there is {example} in the former,"
            f" {printable(names[0])} in the latter"
        )
    return labels


def _number_words(labels: Labels) -> Labels:
    class_names = sort_classes(labels.by_name.values())
    numbers = {name: number for number, name in enumerate(class_names)}
    by_name = {name: numbers[word] for name, word in labels.by_name.items()}
    return labels._replace(by_name=by_name, class_names=class_names)


def _check_class_names(
    class_names: list[str] | None, by_name: dict[str, Label], path: str | Path
) -> list[str]:
    values = [label for label in by_name.values() if isinstance(label, int)]
    if class_names is None or not values or max(values) < len(class_names):
        return []
    return [
        f"{path}: there are {len(class_names)} class names, but classes up to number {max(values)}"
    ]


def _from_csv(text: str, path: Path, names: Sequence[str]) -> Labels:
    rows = _read_csv(text, path)
    where = f"--labels={path}"
    listed: dict[str, _Row] = {}
    for name, row in rows:
        if listed.setdefault(name, row) != row:
            raise InputError(f"{where}: {printable(name)} has two labels")
    first, row = rows[0]
    notes = []
    if len(rows) > 1 and first not in match_names(listed, names, where).listed_of.values():
        # Taken away before the others are matched: it starts with no folder that they may share.
        del listed[first]
        heading = ", ".join([first, *row.cells])
        notes.append(f"{where}: the first line holds headings, not a label: {printable(heading)}")
    labels = _match_file(listed, path, names, "line")
    by_name = dict(zip(labels.by_name, _parse_cells(labels.by_name, where), strict=True))
    labels = labels._replace(by_name=by_name, notes=(*notes, *labels.notes))
    if by_name and all(isinstance(label, str) for label in by_name.values()):
        return _number_words(labels)
    check_labels(by_name, where)
    return labels


@dataclass(frozen=True)
class _Row:
    """A line of a table after the name of the image; equal to others of the same contents."""

    cells: list[str]
    line: int = field(compare=False)


def _read_csv(text: str, path: Path) -> list[tuple[str, _Row]]:
    first_line = text.partition("\n")[0]
    delimiter = max("\t;,", key=first_line.count)  # as often as others, a comma is a decimal one
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"--labels={path}: not a CSV file ({error})") from error
    numbered = [(number, row) for number, row in enumerate(rows, start=1) if any(row)]
    if not numbered:
        raise InputError(f"--labels={path}: there is no label in it")
    width = len(numbered[0][1])
    for number, row in numbered:
        if len(row) != width or width < 2:
            raise InputError(
                f"--labels={path}: line {number} has {len(row)} columns; expected"
                f" {f'{width} as in the first' if width > 1 else 'NAME,LABEL'}"
            )
    stripped = ((number, [cell.strip() for cell in row]) for number, row in numbered)
    return [(name, _Row(cells, number)) for number, (name, *cells) in stripped]


def _parse_cells(rows: dict[str, _Row], where: str) -> list[Label | LongNumber | str]:
    """One column of whole numbers or words is a class, everything else a vector."""
    if all(len(row.cells) == 1 for row in rows.values()):
        column = [row.cells[0] for row in rows.values()]
        if all(cell.isascii() and cell.isdecimal() for cell in column):
            return [parse_int(cell) for cell in column]
        if not any(NUMBER.fullmatch(cell) for cell in column):
            for row in rows.values():
                _check_word(row, where)
            return column
    for name, row in rows.items():
        for cell in row.cells:
            if not NUMBER.fullmatch(cell):
                raise InputError(
                    f"{where}: line {row.line}: {cell!r} is not a number, but the label of"
                    f" {printable(name)} should be a vector of finite numbers"
                )
    return [[float(cell) for cell in row.cells] for row in rows.values()]


def _check_word(row: _Row, where: str) -> None:
    (word,) = row.cells
    if word == "":
        raise InputError(f"{where}: line {row.line} has no label")
    if COMMA_NUMBER.fullmatch(word):
        raise InputError(
            f"{where}: line {row.line}: {word} is no class; write numbers with a point"
        )


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
