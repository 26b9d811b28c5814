"""The labels in a dataset's `dataset.json`."""

import json
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dnnlib.errors import InputError
from dnnlib.util import printable

Label = int | list[float]  # class number, or vector

# Labels become vectors of float32 with one number per class. The identities of the largest dataset
# of faces fit, and one batch of labels still fits into memory.
MAX_LABEL_DIM = 2**20
MAX_FLOAT32 = (2 - 2**-24) * 2.0**127  # float32 rounds this and larger numbers to infinity
NUM_SHOWN = 50  # characters of a label in a message


def sort_by_depth(names: Iterable[str]) -> list[str]:
    """Sort names of `dataset.json` files in a dataset; the one at the top comes first."""
    return sorted(names, key=lambda name: (name.count("/"), name))


def parse_labels(text: bytes, where: str | Path) -> dict[str, Label] | None:
    """Labels by file name: class numbers, or vectors of one length. `None` if the text says null.

    Args:
        text: `{"labels": [[FILE NAME, LABEL], ...]}` or `{"labels": null}`.
        where: Name of the file in error messages.

    Raises:
        ValueError: If the text is malformed, or gives a file two labels.
    """
    try:
        entries = load_json(text)["labels"]
        labels = None if entries is None else collect(entries)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f'{where}: expected {{"labels": [[FILE NAME, LABEL], ...]}} or null'
            f" ({_describe_error(error)})"
        ) from error
    if labels is not None:
        check_labels(labels, where)
    return labels


def parse_class_names(text: str | bytes) -> list[str] | None:
    """The class names in a `dataset.json`, which other programs ignore; `None` if it has none.

    Raises:
        ValueError: If `class_names` is no list of texts.
    """
    names = load_json(text).get("class_names")
    if names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return names
    raise InputError('"class_names" is no list of texts')


class LongNumber(str):
    """The digits of a whole number that is too long for Python to read."""


def load_json(text: str | bytes) -> Any:
    """Parse JSON. Whole numbers of thousands of digits become `LongNumber`.

    Raises:
        ValueError: If the text is not JSON, or an object has two values for one name.
    """
    try:
        try:
            return json.loads(text, object_pairs_hook=collect)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a number has too many digits
            return json.loads(text, object_pairs_hook=collect, parse_int=parse_int)
    except RecursionError as error:
        raise InputError("brackets are nested too deeply") from error


def parse_int(digits: str) -> int | LongNumber:
    """Parse a whole number; one that is too long to be a label stays text."""
    return int(digits) if len(digits) <= NUM_SHOWN else LongNumber(digits)


def collect(pairs: Any) -> dict[str, Any]:
    """Make a dictionary of pairs. A dictionary is returned unchanged; equal pairs may repeat.

    Raises:
        ValueError: If an item is no pair, or two pairs give a name different values.
        TypeError: If `pairs` is no list, or a name cannot be a key.
    """
    if isinstance(pairs, dict):
        return pairs
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise InputError(f"{_show(pair)} is no pair")
    values = dict(pairs)
    if not all(type(name) is str for name in values):
        other = next(name for name in values if type(name) is not str)
        raise InputError(f"{_show(other)} stands in the place of a name")
    if len(values) != len(pairs):
        for name, value in pairs:
            if values[name] != value:
                raise InputError(
                    f"{printable(name)} is there twice, with {_show(value)} and"
                    f" {_show(values[name])}"
                )
    return values


def check_labels(labels: Mapping[str, Any], where: str | Path) -> None:
    """Make sure that all labels are class numbers, or that all are vectors of one length.

    Raises:
        ValueError: If a label differs; the message names it.
    """
    for name, label in labels.items():
        if not _is_label(label):
            raise InputError(
                f"{where}: the label of {printable(name)} is {_show_fault(label)}; labels are class"
                f" numbers (0, 1, ... below {MAX_LABEL_DIM}) or lists of finite numbers (float32,"
                f" at most {MAX_LABEL_DIM})"
            )
    by_length = {
        len(label) if isinstance(label, list) else None: name for name, label in labels.items()
    }
    if len(by_length) > 1:
        (_, first), (_, second) = list(by_length.items())[:2]
        raise InputError(
            f"{where}: labels must all be class numbers, or all be lists of the same length;"
            f" {printable(first)} has {_show(labels[first])}, {printable(second)} has"
            f" {_show(labels[second])}"
        )


def _is_label(label: object) -> bool:
    if isinstance(label, list):
        return len(label) <= MAX_LABEL_DIM and all(map(_is_float32, label))
    return type(label) is int and 0 <= label < MAX_LABEL_DIM


def _is_float32(value: Any) -> bool:
    return type(value) in (int, float) and -MAX_FLOAT32 < value < MAX_FLOAT32


def _show(value: Any) -> str:
    """A label in a message."""
    text = value if isinstance(value, LongNumber) else reprlib.repr(value)
    return printable(text if len(text) <= NUM_SHOWN else f"{text[:NUM_SHOWN]}...")


def _show_fault(label: Any) -> str:
    if not isinstance(label, list) or len(label) == 1:
        return _show(label)
    if len(label) > MAX_LABEL_DIM:
        return f"a list of {len(label)} numbers"
    place, value = next((i, value) for i, value in enumerate(label) if not _is_float32(value))
    return f"{_show(label)}, with {_show(value)} in place {place + 1}"


def _describe_error(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error.args[0]!r} in it"
    if isinstance(error, TypeError):
        return "something else is there"
    return printable(str(error)[:200])
