"""Parsers of command-line values, and the click types that use them.

Parsers are plain functions that raise `ValueError`. Each click type wraps one of them, and also
refuses values that would parse but make no sense as an option.
"""

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from dnnlib import pretrained
from dnnlib.errors import InputError
from dnnlib.paths import MAX_NAME_BYTES, HomeError, expand_home

Value = TypeVar("Value")

MAX_SEED = 2**32 - 1  # what numpy.random.RandomState accepts
LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127  # the largest number that networks can compute with
MAX_NUM_SEEDS = 1_000_000  # more seeds on a command line are a typing mistake


def parse_range(text: str | list[int]) -> list[int]:
    """Parse whole numbers and inclusive ranges, in order: '1,5-8' gives [1, 5, 6, 7, 8].

    A range that runs backwards ('7-3') is empty. A list is returned unchanged.

    Raises:
        ValueError: If a piece is neither a whole number nor a range.
    """
    if isinstance(text, list):
        return text
    return [number for piece in text.split(",") for number in _parse_range_piece(piece)]


def parse_vec2(text: str | tuple[float, float]) -> tuple[float, float]:
    """Parse two finite numbers: '0.3,1' gives (0.3, 1.0). A tuple is returned unchanged.

    Raises:
        ValueError: If there are not exactly two of them.
    """
    if isinstance(text, tuple):
        return text
    try:
        x, y = (float(piece) for piece in text.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InputError(f"{text!r} is not a pair of numbers like 0.3,1")
    return x, y


def parse_size(text: str | tuple[int, int]) -> tuple[int, int]:
    """Parse a width and a height: '4x2' and '4,2' give (4, 2). A tuple is returned unchanged.

    Raises:
        ValueError: If the text is anything else, upper-case 'X', spaces and signs included.
    """
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"(\d+)[x,](\d+)", text, re.ASCII)
    if match is None:
        raise InputError(f"{text!r} is not a width and a height like 4x2")
    return int(match[1]), int(match[2])


def parse_names(text: str | list[str] | None) -> list[str]:
    """Split a comma-separated list of names; '', 'none' in any case, and None give []."""
    if isinstance(text, list):
        return text
    if text is None or text.strip().lower() in ("", "none"):
        return []
    names = [name.strip() for name in text.split(",")]
    if "" in names:
        raise InputError(f"{text!r} has an empty name; write names as in fid50k_full,kid50k_full")
    return names


class SeedRange(click.ParamType):
    """Random seeds, as `parse_range` reads them; refuses backward ranges and invalid seeds."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        if isinstance(value, list):
            return value
        seeds: list[int] = []
        for piece in value.split(","):
            numbers = _parsed(_parse_range_piece, piece, self, param, ctx)
            if len(numbers) == 0:
                self.fail(f"the range {piece.strip()!r} runs backwards", param, ctx)
            if numbers[0] < 0 or numbers[-1] > MAX_SEED:
                self.fail(f"{piece.strip()!r}: {self.name} go from 0 to {MAX_SEED}", param, ctx)
            if len(seeds) + len(numbers) > MAX_NUM_SEEDS:
                self.fail(f"more than {MAX_NUM_SEEDS} {self.name}", param, ctx)
            seeds.extend(numbers)
        return seeds


class ClassRange(SeedRange):
    """Classes of a conditional network, written as seeds are; the network knows which exist."""

    name = "classes"


class LayerRange(SeedRange):
    """Layers, written as seeds are, or one of some names."""

    name = "layers"

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in self.names else super().convert(value, param, ctx)


class WholeNumber(click.IntRange):
    """A whole number, perhaps within limits; errors say in plain words what is expected."""

    def __init__(self, min: int | None = None, max: int | None = None) -> None:
        super().__init__(min, max)
        if min is max is None:
            self.name = click.INT.name  # in help texts

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or not _is_within(number, self):
            self.fail(f"{value!r} is not a whole number{_limits(self)}", param, ctx)
        return number

    def _describe_range(self) -> str:
        return "" if self.min is self.max is None else super()._describe_range()


class FiniteFloat(click.FloatRange):
    """A number, perhaps within limits; refuses NaN, and numbers that are infinite in float32."""

    def __init__(
        self, min: float | None = None, max: float | None = None, min_open: bool = False
    ) -> None:
        super().__init__(min, max, min_open)
        if min is max is None:
            self.name = click.FLOAT.name  # in help texts

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except ValueError:
            hint = "; give one number, with a point for decimals" if "," in value else ""
            self.fail(f"{value!r} is not a number{_limits(self)}{hint}", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        if abs(number) > LARGEST_FLOAT32:
            self.fail(f"{value!r} is too large a number", param, ctx)
        if not _is_within(number, self):
            self.fail(f"{value!r} is not a number{_limits(self)}", param, ctx)
        return number

    def _describe_range(self) -> str:
        return "" if self.min is self.max is None else super()._describe_range()


class LocalPath(click.Path):
    """A path on this machine. A leading `~` is a home folder, see `dnnlib.paths`.

    Shells replace `~` in `--outdir ~/runs`, but not in `--outdir=~/runs`.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_as_path(self, value, param, ctx), param, ctx)


class Address(click.ParamType):
    """A path, a URL, or a special word, as text; `~` as in `LocalPath`."""

    name = click.STRING.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return _as_path(self, value, param, ctx)


class NetworkAddress(Address):
    """The address of a network; if it is missing, the message names the networks in the box."""

    def get_missing_message(
        self, param: click.Parameter, ctx: click.Context | None = None
    ) -> str | None:
        return pretrained.in_the_box() or None


class Vec2(click.ParamType):
    """Two finite numbers, as `parse_vec2` reads them."""

    name = "x,y"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        return _parsed(parse_vec2, value, self, param, ctx)


class Size(click.ParamType):
    """Width and height, as `parse_size` reads them; both must be at least 1."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        size = _parsed(parse_size, value, self, param, ctx)
        if min(size) < 1:
            self.fail(f"{value!r}: width and height must be at least 1", param, ctx)
        return size


class DirectionAmount(click.ParamType):
    """A file of directions, the name of one, and how far to go: `pca.npz:pc0=-2.5`."""

    name = "file:name=amount"

    def __init__(self, amount: click.ParamType | None = None) -> None:
        self.amount = FiniteFloat() if amount is None else amount

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, str, Any]:
        if isinstance(value, tuple):
            return value
        place, _, amount = value.rpartition("=")
        file, _, name = place.rpartition(":")
        if not (file and name):
            self.fail(f"{value!r} is not FILE:NAME=AMOUNT, such as pca.npz:pc0=2", param, ctx)
        path = LocalPath(exists=True, dir_okay=False, path_type=Path)
        return path.convert(file, param, ctx), name, self.amount.convert(amount, param, ctx)


class NameList(click.ParamType):
    """Comma-separated names, as `parse_names` reads them, optionally limited to `choices`."""

    name = "name,name|none"

    def __init__(self, choices: Sequence[str] | None = None) -> None:
        self.choices = choices

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        names = _parsed(parse_names, value, self, param, ctx)
        for name in names:
            if self.choices is not None and name not in self.choices:
                self.fail(f"{name!r} is unknown; choose from {', '.join(self.choices)}", param, ctx)
        return names


def _parsed(
    parse: Callable[[Any], Value],
    value: Any,
    param_type: click.ParamType,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> Value:
    """The parsed value; a refusal becomes an error of the option."""
    try:
        return parse(value)
    except ValueError as error:
        param_type.fail(str(error), param, ctx)


def _is_within(number: float, limits: click.IntRange | click.FloatRange) -> bool:
    low, high = limits.min, limits.max
    is_low = low is not None and (number <= low if limits.min_open else number < low)
    is_high = high is not None and (number >= high if limits.max_open else number > high)
    return not (is_low or is_high)


def _limits(limits: click.IntRange | click.FloatRange) -> str:
    """The text after "a number" in a message: " from 0 to 1"."""
    words = []
    if limits.min is not None:
        words.append(f"above {limits.min}" if limits.min_open else f"from {limits.min}")
    if limits.max is not None:
        to = "to" if limits.min is not None else "up to"
        words.append(f"below {limits.max}" if limits.max_open else f"{to} {limits.max}")
    elif limits.min is not None and not limits.min_open:
        words.append("on")
    return "".join(f" {word}" for word in words)


def _as_path(
    param_type: click.ParamType,
    value: Any,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> str:
    try:
        path = expand_home(os.fspath(value))
    except HomeError as error:
        param_type.fail(str(error), param, ctx)
    longest = max(len(os.fsencode(name)) for name in path.split("/"))
    if os.name != "nt" and longest > MAX_NAME_BYTES and "://" not in path:
        # Refused now, not hours later when the file is written.
        reason = f"file systems take names of up to {MAX_NAME_BYTES} bytes, and here one has"
        param_type.fail(f"{reason} {longest}: {path}", param, ctx)
    return path


def _parse_range_piece(piece: str) -> Sequence[int]:
    match = re.fullmatch(r"\s*(?:(\d+)-(\d+)|(-?\d+))\s*", piece, re.ASCII)
    if match is None:
        raise InputError(f"{piece.strip()!r} is not a number or a range; example: 1,2,5-10")
    first, last, single = match.groups()
    return [int(single)] if single is not None else range(int(first), int(last) + 1)
