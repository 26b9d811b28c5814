"""Checks of what a browser sends: the value in its own type, or None for a wrong one."""

import math
import unicodedata
from typing import Any

MAX_INT = 2**53  # whole numbers are exact up to here in double precision
MAX_FLOAT = 3.4e38  # what single precision holds, as in a window
MAX_TEXT = 4096  # characters
MAX_MOVEMENT = 1000  # ems at once
NUM_DIGITS = 6  # after the point: steps of 0.1 come as 0.7000000000000001


def flag(value: Any) -> bool | None:
    """True or false."""
    return value if isinstance(value, bool) else None


def click(value: Any) -> bool | None:
    """True, and nothing else."""
    return True if value is True else None


def number(value: Any) -> float | None:
    """A finite number, rounded to six digits after the point."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # An integer may be too large for a float.
    if not -MAX_FLOAT <= value <= MAX_FLOAT:
        return None
    return round(float(value), NUM_DIGITS)


def whole(value: Any) -> int | None:
    """A whole number; numbers that a double does not hold exactly become the largest one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, -MAX_INT), MAX_INT)
    found = number(value)
    return None if found is None else min(max(round(found), -MAX_INT), MAX_INT)


def index(value: Any, count: int) -> int | None:
    """An index below `count`."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < count else None


def entry(value: Any) -> tuple[str, bool] | None:
    """A pair: a line of text, and whether Enter was pressed."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    text, is_entered = value
    if not isinstance(text, str) or not isinstance(is_entered, bool) or len(text) > MAX_TEXT:
        return None
    # Control characters end names of files early, and surrogates are no text.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return None
    return text, is_entered


def movement(value: Any) -> tuple[float, float] | None:
    """A pair: movement to the right and down, in ems."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    x, y = map(number, value)
    if x is None or y is None or not math.hypot(x, y) <= MAX_MOVEMENT:
        return None
    return x, y
