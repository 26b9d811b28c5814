"""The labels in a dataset's `dataset.json`."""

import json
import math
from pathlib import Path

Label = int | list[float]  # class number, or vector


def parse_labels(text: bytes, where: Path) -> dict[str, Label] | None:
    """Labels by file name, all class numbers or all vectors of one length; or `None`.

    Args:
        text: `{"labels": [[FILE NAME, LABEL], ...]}` or `{"labels": null}`.
        where: What error messages call the file.

    Raises:
        ValueError: If the text is something else.
    """
    try:
        entries = json.loads(text)["labels"]
        labels = None if entries is None else dict(entries)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f'{where}: expected {{"labels": [[FILE NAME, LABEL], ...]}} or null ({error!r})'
        ) from error
    if labels is None:
        return None
    for name, label in labels.items():
        if not _is_label(label):
            raise ValueError(
                f"{where}: the label of {name} is {json.dumps(label)[:50]}; labels are class"
                " numbers (0, 1, ...) or lists of finite numbers"
            )
    if len({len(label) if isinstance(label, list) else None for label in labels.values()}) > 1:
        raise ValueError(
            f"{where}: labels must all be class numbers, or all be lists of the same length"
        )
    return labels


def parse_class_names(text: bytes) -> list[str] | None:
    """The names of classes in a `dataset.json`, an addition that other programs ignore."""
    names = json.loads(text).get("class_names")
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list else None


def _is_label(label: object) -> bool:
    if isinstance(label, list):
        return all(type(value) in (int, float) and math.isfinite(value) for value in label)
    return type(label) is int and label >= 0
