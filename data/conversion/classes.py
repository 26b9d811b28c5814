"""Classes: the order of their names, and how many images each has."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from data.dataset_json import Label
from dnnlib.util import printable

WHOLE_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)
NUM_CLASSES_SHOWN = 32


def sort_classes(names: Iterable[str]) -> list[str]:
    """Distinct names in the order of their class numbers.

    Whole numbers are sorted by size. Other names are sorted by letters (capitals first), with
    digits read as numbers: `c2` comes before `c10`.
    """
    distinct = set(names)
    if all(WHOLE_NUMBER.fullmatch(name) for name in distinct):
        return sorted(distinct, key=lambda name: (Decimal(name), name))
    return sorted(distinct, key=_natural_key)


def describe_labels(values: Sequence[Label], class_names: list[str] | None) -> Iterator[str]:
    """Describe the kind of the labels, then yield a line for each class."""
    classes = [label for label in values if isinstance(label, int)]
    if not values:
        yield "none"
    elif isinstance(values[0], list):
        yield f"vectors of length {len(values[0])}"
    else:
        yield count_classes(classes)
        yield from describe_classes(classes, class_names)


def count_classes(values: Iterable[int]) -> str:
    """Describe the number of classes and of unused numbers below the largest."""
    distinct = set(values)
    missing = max(distinct) + 1 - len(distinct)
    text = "1 class" if len(distinct) == 1 else f"{len(distinct)} classes"
    return text + (f" ({missing} lower numbers do not occur)" if missing else "")


def describe_classes(values: Iterable[int], class_names: list[str] | None) -> Iterator[str]:
    """Yield a line for each class with images: number, count of images, name."""
    counts = Counter(values)
    names = dict(enumerate(class_names or []))
    width, largest = len(str(max(counts))), max(counts.values())
    for number, num in sorted(counts.items())[:NUM_CLASSES_SHOWN]:
        bar = "#" * max(round(30 * num / largest), 1)
        line = f"  {number:{width}}  {num:7}  {bar:30}  {printable(names.get(number, ''))}"
        yield line.rstrip()
    if len(counts) > NUM_CLASSES_SHOWN:
        yield f"  ... and {len(counts) - NUM_CLASSES_SHOWN} more"


def _natural_key(name: str) -> tuple[list[tuple[str, int, str]], str]:
    """A key of letters and digits in turn; numbers compare by length, then by digits."""
    parts = re.findall(r"(\D*)(\d*)", name, re.ASCII)
    return [(text, len(n.lstrip("0")), n.lstrip("0")) for text, n in parts], name
