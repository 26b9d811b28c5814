"""The link of a view: what follows `#` in an address, as in `#network=net.pkl&seed=3&trunc=0.7`.

Each part is `NAME=VALUE`, percent-encoded; names are those of command-line options where there are
such options. Fields that are as by default are left out. Links come from strangers: `from_link`
returns only views that the panes could have made. This module needs neither PyTorch nor a window.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from dnnlib.cli import LARGEST_FLOAT32, MAX_SEED
from dnnlib.errors import InputError
from dnnlib.text import one_line, shortest_number
from viz import color_maps
from viz.view import MAX_BETA, MAX_GAIN_DB, MAX_RANGE_DB, View, rendered

MAX_LINK = 32_000  # characters of a whole link
MAX_PATH = 4096  # characters of a path or address
MAX_NAME = 255  # characters of the name of a layer or direction
MAX_SHOWN = 60  # characters of a part in a message
MAX_PLACE = 2**53  # seeds from the origin of the plane; whole numbers are exact up to here
MAX_LAYER = 999  # of styles; no network has as many
MAX_INDEX = 2**31 - 1  # of classes, channels, and images in a file
MIN_RANGE_DB = 1  # distance of the powers that are black and white
DIRECTION = "direction:"  # the name of a part begins with it, and ends with that of a direction
SAFE = "/:,@"  # characters that are not encoded, besides letters, digits and `-._~`
NUMBER = re.compile(r"-?\d{1,400}(\.\d{1,400})?(e[+-]?\d{1,3})?", re.ASCII)
WHOLE = re.compile(r"-?\d{1,20}", re.ASCII)
LAYERS = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)


class _Kind(NamedTuple):
    """How values of a kind are written and read; a refusal says what a value must be."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


def to_link(view: View) -> str:
    """The link of a view, without `#`; empty if all is as by default; see `left_out`."""
    fields = {name: getattr(view, field) for name, (field, _) in _PARTS.items()}
    # One number only if it reads back as the same point; other rows of the plane have x and y.
    is_seed = view.y == 0 and float(view.x).is_integer() and 0 <= view.x <= MAX_SEED
    fields.update({"x": _DEFAULT.x} if is_seed else {"seed": _DEFAULT.x})
    parts = [
        (name, kind.write(fields[name]))
        for name, (field, kind) in _PARTS.items()
        if fields[name] != getattr(_DEFAULT, field)
    ]
    parts += [(DIRECTION + name, _AMOUNT.write(amount)) for name, amount in view.amounts]
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in parts)


def from_link(text: str) -> View:
    """The view of a link, with or without `#`.

    Raises:
        InputError: If a part is unknown, wrong, or given twice; names the part.
    """
    text = text.removeprefix("#")
    if len(text) > MAX_LINK:
        raise InputError(f"the link has {len(text)} characters, more than {MAX_LINK}")
    shown: dict[str, str] = {}  # by name, a part as messages show it
    fields: dict[str, Any] = {}
    amounts: dict[str, float] = {}
    for part in text.split("&") if text else ():
        name, value, shown_part = _decoded(part)
        try:
            if name in shown:
                raise InputError(f"{name} is given twice")
            if name.startswith(DIRECTION):
                direction = _DIRECTION.read(name.removeprefix(DIRECTION))
                amounts[direction] = _AMOUNT.read(value)
            elif name in _PARTS:
                field, kind = _PARTS[name]
                fields[field] = kind.read(value)
            else:
                raise InputError(f"unknown; a link can have {', '.join(_PARTS)}, {DIRECTION}NAME")
        except InputError as error:
            raise InputError(f"{shown_part}: {error}") from None
        shown[name] = shown_part
    _check_together(shown)
    return View(**fields, amounts=tuple((n, a) for n, a in amounts.items() if a != 0))


def left_out(view: View) -> list[str]:
    """What the link of a view does not hold, in words for the user."""
    if view.drag is None:
        return []
    is_moved = rendered(view).drag is not None
    return ["dragged points (Save latent)" if is_moved else "points and paint"]


def _check_together(shown: Mapping[str, str]) -> None:
    """Refuse parts that exclude each other, or that need another one."""
    for name, part in shown.items():
        if name in ("x", "y") and "seed" in shown:
            raise InputError(f"{part}: give either seed, or x and y")
        if name == "latent" and "latents" not in shown:
            raise InputError(f"{part}: needs latents=FILE")
        is_of_directions = name == "direction-layers" or name.startswith(DIRECTION)
        if is_of_directions and "directions" not in shown:
            raise InputError(f"{part}: needs directions=FILE")


def _encoded(text: str) -> str:
    return quote(text, safe=SAFE, errors="surrogatepass")  # names of files may be any bytes


def _decoded(part: str) -> tuple[str, str, str]:
    """The name and the value of a part, and the part as messages show it."""
    encoded_name, equals, encoded_value = part.partition("=")
    shown_part = f"#{one_line(unquote(part), MAX_SHOWN)}"
    try:
        name, value = (unquote(t, errors="surrogatepass") for t in (encoded_name, encoded_value))
    except UnicodeDecodeError:
        raise InputError(f"{shown_part}: the encoding is not UTF-8") from None
    if not equals:
        raise InputError(f"{shown_part}: write NAME=VALUE")
    return name, value, shown_part


def _text(max_length: int, forbidden: str) -> _Kind:
    def read(text: str) -> str:
        if not text:
            raise InputError("is empty")
        if len(text) > max_length:
            raise InputError(f"has more than {max_length} characters")
        if any(character in text for character in forbidden):
            raise InputError(f"must not contain {' or '.join(map(repr, forbidden))}")
        return text

    return _Kind(str, read)


def _choice(choices: Iterable[Any]) -> _Kind:
    by_text = {str(choice): choice for choice in choices}

    def read(text: str) -> Any:
        if text not in by_text:
            raise InputError(f"must be one of {', '.join(by_text)}")
        return by_text[text]

    return _Kind(str, read)


def _number(low: float = -LARGEST_FLOAT32, high: float = LARGEST_FLOAT32) -> _Kind:
    def read(text: str) -> float:
        if not NUMBER.fullmatch(text):
            raise InputError("must be a number")
        if not low <= float(text) <= high:
            raise InputError(f"must be from {low:g} to {high:g}")
        return float(text)

    return _Kind(shortest_number, read)


def _whole(high: int) -> _Kind:
    def read(text: str) -> int:
        number = int(text) if WHOLE.fullmatch(text) else -1
        if not 0 <= number <= high:
            raise InputError(f"must be a whole number from 0 to {high}")
        return number

    return _Kind(lambda number: str(int(number)), read)


def _pair(number: _Kind) -> _Kind:
    def write(pair: tuple[float, float]) -> str:
        return ",".join(map(number.write, pair))

    def read(text: str) -> tuple[float, float]:
        first, comma, second = text.partition(",")
        if not comma:
            raise InputError("must be two numbers, such as 0.3,1")
        return number.read(first), number.read(second)

    return _Kind(write, read)


def _write_flag(is_on: bool) -> str:
    return str(int(is_on))


def _read_flag(text: str) -> bool:
    return bool(_BIT.read(text))


def _write_layers(layers: tuple[int, ...]) -> str:
    """Numbers and inclusive ranges: (0, 1, 2, 5) is "0-2,5"."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _read_layers(text: str) -> tuple[int, ...]:
    layers: list[int] = []
    for piece in text.split(","):
        first, last = _read_layer_range(piece)
        if layers and first <= layers[-1]:
            raise InputError("the numbers must increase")
        layers += range(first, last + 1)
    return tuple(layers)


def _write_layer_range(layers: tuple[int, int]) -> str:
    return f"{layers[0]}-{layers[1]}"


def _read_layer_range(text: str) -> tuple[int, int]:
    match = LAYERS.fullmatch(text)
    if match is None:
        raise InputError(f"must be numbers of layers from 0 to {MAX_LAYER}, such as 2-5")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise InputError("the numbers must increase")
    return first, last


def _read_range_db(text: str) -> tuple[float, float]:
    low, high = _RANGE_DB.read(text)
    if high < low + MIN_RANGE_DB:
        raise InputError(f"the second number must be at least {MIN_RANGE_DB} above the first")
    return low, high


_DEFAULT = View()
_AMOUNT = _number()
_BIT = _choice((0, 1))
_RANGE_DB = _pair(_number(-MAX_RANGE_DB, MAX_RANGE_DB))
_FLAG = _Kind(_write_flag, _read_flag)
_PATH = _text(MAX_PATH, forbidden="\0")
_DIRECTION = _text(MAX_NAME, forbidden=":=")
_PLACE = _number(-MAX_PLACE, MAX_PLACE)
_SEED = _whole(MAX_SEED)
_INDEX = _whole(MAX_INDEX)
# Name of a part -> field of a view, kind of value. The amounts have parts of their own names.
_PARTS: dict[str, tuple[str, _Kind]] = {
    "network": ("network", _PATH),
    "seed": ("x", _SEED),
    "x": ("x", _PLACE),
    "y": ("y", _PLACE),
    "class": ("class_idx", _INDEX),
    "latents": ("latents", _PATH),
    "latent": ("latent_idx", _INDEX),
    "directions": ("directions", _PATH),
    "direction-layers": ("direction_layers", _Kind(_write_layer_range, _read_layer_range)),
    "mix-seed": ("mix_seed", _SEED),
    "mix-layers": ("mix_layers", _Kind(_write_layers, _read_layers)),
    "trunc": ("truncation_psi", _number()),
    "cutoff": ("truncation_cutoff", _whole(MAX_LAYER)),
    "noise-mode": ("noise_mode", _choice(("const", "random", "none"))),
    "noise-seed": ("noise_seed", _SEED),
    "translate": ("translate", _pair(_number())),
    "rotate": ("rotate", _number()),
    "untransform": ("untransform", _FLAG),
    "layer": ("layer", _text(MAX_NAME, forbidden="")),
    "channel": ("channel", _INDEX),
    "channels": ("num_channels", _choice((1, 3))),
    "normalize": ("normalize", _FLAG),
    "gain": ("gain_db", _number(-MAX_GAIN_DB, MAX_GAIN_DB)),
    "level": ("level", _number()),
    "window": ("window", _number(0)),
    "colors": ("color_map", _choice(color_maps.NAMES)),
    "fft": ("fft", _FLAG),
    "fft-range": ("fft_range_db", _Kind(_RANGE_DB.write, _read_range_db)),
    "fft-beta": ("fft_beta", _number(0, MAX_BETA)),
    "fft-all": ("fft_all", _FLAG),
    "fp32": ("force_fp32", _FLAG),
}
