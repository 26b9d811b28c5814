"""Labels from a CSV or JSON file that names images."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.conversion.classes import sort_classes
from data.conversion.labels import Labels, check_class_names, match_labels
from data.dataset_json import (
    Label,
    LongNumber,
    check_labels,
    collect,
    load_json,
    parse_class_names,
    parse_int,
)
from data.label_names import match_names
from dnnlib.errors import InputError
from dnnlib.util import printable

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def from_file(path: Path, names: Sequence[str]) -> Labels:
    """Read a table of labels for images with these names in their source.

    CSV: a line for each image with its name, and then one class (a number or a word) or a vector of
    several numbers, separated by commas, semicolons or tabs. If the name in the first line is no
    image, the line holds headings. JSON: `{"labels": [[NAME, LABEL], ...]}` as in `dataset.json`,
    `[[NAME, LABEL], ...]` or `{NAME: LABEL, ...}`. Only words that are the class of some image
    get a number.

    Raises:
        ValueError: If the file is malformed, or names no image.
        OSError: If the file cannot be read.
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
    notes += check_class_names(class_names, labels.by_name, path)
    return labels._replace(class_names=class_names, notes=(*labels.notes, *notes))


def _match_file(listed: dict[str, Any], path: Path, names: Sequence[str], noun: str) -> Labels:
    labels = match_labels(listed, names, f"--labels={path}", noun)
    labels = labels._replace(lack=f"has no label in {path}")
    if names and not labels.by_name:
        example = printable(next(iter(listed))) if listed else "nothing"
        raise InputError(
            f"--labels={path}: it names no image of the source: the file has {example},"
            f" and the source has {printable(names[0])}"
        )
    return labels


def _number_words(labels: Labels) -> Labels:
    words: dict[str, Any] = labels.by_name
    class_names = sort_classes(words.values())
    numbers = {name: number for number, name in enumerate(class_names)}
    by_name: dict[str, Label] = {name: numbers[word] for name, word in words.items()}
    return labels._replace(by_name=by_name, class_names=class_names)


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
        # Remove the headings before names are matched: the other names may share a folder.
        del listed[first]
        heading = ", ".join([first, *row.cells])
        notes.append(f"{where}: the first line holds headings, not a label: {printable(heading)}")
    labels = _match_file(listed, path, names, "line")
    rows_of: dict[str, Any] = labels.by_name
    by_name: dict[str, Any] = dict(zip(rows_of, _parse_cells(rows_of, where), strict=True))
    labels = labels._replace(by_name=by_name, notes=(*notes, *labels.notes))
    if by_name and all(isinstance(label, str) for label in by_name.values()):
        return _number_words(labels)
    check_labels(by_name, where)
    return labels


@dataclass(frozen=True)
class _Row:
    """The cells of a line after the name of the image. Rows with the same cells are equal."""

    cells: list[str]
    line: int = field(compare=False)


def _read_csv(text: str, path: Path) -> list[tuple[str, _Row]]:
    first_line = text.partition("\n")[0]
    delimiter = max("\t;,", key=first_line.count)  # in a tie, commas are decimal points
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"--labels={path}: not a CSV file ({error})") from error
    numbered = [(number, row) for number, row in enumerate(rows, start=1) if any(row)]
    if not numbered:
        raise InputError(f"--labels={path}: the file has no label")
    width = len(numbered[0][1])
    for number, row in numbered:
        if len(row) != width or width < 2:
            raise InputError(
                f"--labels={path}: line {number} has {len(row)} columns; expected"
                f" {f'{width} as in the first' if width > 1 else 'NAME,LABEL'}"
            )
    stripped = ((number, [cell.strip() for cell in row]) for number, row in numbered)
    return [(name, _Row(cells, number)) for number, (name, *cells) in stripped]


def _parse_cells(rows: dict[str, _Row], where: str) -> Sequence[Label | LongNumber | str]:
    """Labels of rows: one column of whole numbers or words is a class, all else is a vector."""
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
