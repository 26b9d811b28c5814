"""The labels in a dataset's `dataset.json`."""

import json
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dnnlib.errors import InputError
from dnnlib.util import printable

Label = int | list[float]  # class number, or vector

# Labels become vectors of float32, with one number for each class: those of the largest dataset of
# faces there is would fit, and one batch of them still fits into memory.
MAX_LABEL_DIM = 2**20
MAX_FLOAT32 = (2 - 2**-24) * 2.0**127  # from here on, numbers are rounded to infinity
NUM_SHOWN = 50  # characters of a label in a message


def sort_by_depth(names: Iterable[str]) -> list[str]:
    """Names of `dataset.json` files in a dataset, that at the top first."""
    return sorted(names, key=lambda name: (name.count("/"), name))


def parse_labels(text: bytes, where: str | Path) -> dict[str, Label] | None:
    """Labels by file name, all class numbers or all vectors of one length; or `None`.

    Args:
        text: `{"labels": [[FILE NAME, LABEL], ...]}` or `{"labels": null}`.
        where: What error messages call the file.

    Raises:
        ValueError: If the text is something else, or labels a file in two ways.
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
    """The names of classes in a `dataset.json`, an addition that other programs ignore.

    Raises:
        ValueError: If there is something else in their place.
    """
    names = load_json(text).get("class_names")
    if names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return names
    raise InputError('"class_names" is no list of texts')


class LongNumber(str):
    """The digits of a whole number that has more than Python reads."""


def load_json(text: str | bytes) -> Any:
    """What a JSON text says, if it does not give an object two values for one name.

    Whole numbers of thousands of digits come as `LongNumber`.

    Raises:
        ValueError: If it does, or is no JSON.
    """
    try:
        try:
            return json.loads(text, object_pairs_hook=collect)
        except json.JSONDecodeError:
            raise
        except ValueError:  # without saying where the digits stand
            return json.loads(text, object_pairs_hook=collect, parse_int=parse_int)
    except RecursionError as error:
        raise InputError("brackets are nested too deeply") from error


def parse_int(digits: str) -> int | LongNumber:
    """A whole number, which stays text if it is too long to be a label."""
    return int(digits) if len(digits) <= NUM_SHOWN else LongNumber(digits)


def collect(pairs: Any) -> dict[str, Any]:
    """A dictionary of pairs, or of what is one already; of equal pairs, one is enough.

    Raises:
        ValueError: If these are no pairs, or two give a name different values.
        TypeError: Likewise.
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
    """Make sure that all are class numbers, or all vectors of one length.

    Raises:
        ValueError: If one is not; the message names it.
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
