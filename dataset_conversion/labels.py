"""Labels that do not come with the images: from names of folders, or from a CSV or JSON file."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from training.dataset_json import Label, parse_labels

HEADINGS = ("name", "file", "filename", "file_name", "image", "image_id", "path", "key", "id")


class Labels(NamedTuple):
    """Labels by the names of images in their source, and what classes are called, if known."""

    by_name: dict[str, Label]
    class_names: list[str] | None = None


def from_folders(names: Sequence[str], where: str) -> Labels:
    """The folder directly below the source is the class; classes are numbered in sorted order.

    Raises:
        ValueError: If no image lies in a folder.
    """
    folders = {name: name.partition("/")[0] for name in names if "/" in name}
    if not folders and names:
        raise ValueError(
            f"--labels=folders: the images in {where} lie in no folders; put those of each class"
            " into one"
        )
    class_names = sorted(set(folders.values()))
    numbers = {name: number for number, name in enumerate(class_names)}
    return Labels({name: numbers[folder] for name, folder in folders.items()}, class_names)


def from_file(path: Path) -> Labels:
    """Read a table of labels.

    CSV: a line for each image, its name in the source and then either one class (a number, or a
    word) or several numbers, a vector; separated by commas, semicolons or tabs; the headings of a
    first line are left out if the first is one of `HEADINGS`. JSON: `{"labels": [[NAME, LABEL],
    ...]}` as in `dataset.json`, `[[NAME, LABEL], ...]` or `{NAME: LABEL, ...}`.

    Raises:
        ValueError: If the file is something else.
        OSError: If it cannot be read.
    """
    if not path.is_file():
        raise OSError(f"--labels={path}: no such file; or is it --labels=folders, or none?")
    is_json = path.suffix.lower() == ".json"
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"--labels={path}: not UTF-8 text ({error})") from error
    entries = _parse_json(text, path) if is_json else _parse_csv(text, path)
    by_name: dict[str, Label | str] = {}
    for name, label in entries:
        name = name.replace("\\", "/").removeprefix("./")
        if by_name.setdefault(name, label) != label:
            raise ValueError(f"--labels={path}: {name} has two labels")
    class_names = None
    if by_name and all(isinstance(label, str) for label in by_name.values()):
        class_names = sorted(set(by_name.values()))
        numbers = {name: number for number, name in enumerate(class_names)}
        by_name = {name: numbers[label] for name, label in by_name.items()}
    text = json.dumps({"labels": list(by_name.items())}).encode()
    return Labels(parse_labels(text, path) or {}, class_names)


def _parse_json(text: str, path: Path) -> list[tuple[str, Label | str]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--labels={path}: not JSON ({error})") from error
    if isinstance(content, dict) and isinstance(content.get("labels"), list):
        content = content["labels"]
    elif isinstance(content, dict):
        content = list(content.items())
    if not isinstance(content, list) or not all(
        isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)
        for entry in content
    ):
        raise ValueError(
            f'--labels={path}: expected {{"labels": [[NAME, LABEL], ...]}} or {{NAME: LABEL, ...}}'
        )
    return [tuple(entry) for entry in content]


def _parse_csv(text: str, path: Path) -> list[tuple[str, Label | str]]:
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ValueError(f"--labels={path}: not a CSV file ({error})") from error
    numbered = [(number, row) for number, row in enumerate(rows, start=1) if any(row)]
    if numbered and numbered[0][1][0].strip().lower() in HEADINGS:
        del numbered[0]
    if not numbered:
        raise ValueError(f"--labels={path}: there is no label in it")
    width = len(numbered[0][1])
    for number, row in numbered:
        if len(row) != width or width < 2:
            raise ValueError(
                f"--labels={path}: line {number} has {len(row)} columns; expected"
                f" {f'{width} as in the first' if width > 1 else 'NAME,LABEL'}"
            )
    cells = [[cell.strip() for cell in row[1:]] for _, row in numbered]
    names = [row[0].strip() for _, row in numbered]
    return list(zip(names, _parse_cells(cells, [n for n, _ in numbered], path), strict=True))


def _parse_cells(cells: list[list[str]], lines: list[int], path: Path) -> Iterable[Label | str]:
    """One column of whole numbers or words is a class, everything else a vector."""
    if len(cells[0]) == 1:
        column = [row[0] for row in cells]
        if all(cell.isascii() and cell.isdecimal() for cell in column):
            return [int(cell) for cell in column]
        if not any(_is_number(cell) for cell in column):
            if "" in column:
                raise ValueError(f"--labels={path}: line {lines[column.index('')]} has no label")
            return column
    for line, row in zip(lines, cells, strict=True):
        for cell in row:
            if not _is_number(cell):
                raise ValueError(f"--labels={path}: line {line}: {cell!r} is not a number")
    return [[float(cell) for cell in row] for row in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
