"""Attribute dictionaries, lookup by name, durations; and names from other modules of `dnnlib`.

Other programs import all these names from here.
"""

import importlib
from typing import Any

from dnnlib.addresses import cached_download as cached_download
from dnnlib.addresses import is_url as is_url
from dnnlib.addresses import open_url as open_url
from dnnlib.addresses import remove_download as remove_download
from dnnlib.atomic_file import open_atomic as open_atomic
from dnnlib.atomic_file import remove_leftovers as remove_leftovers
from dnnlib.cache_dir import make_cache_dir_path as make_cache_dir_path
from dnnlib.log_file import Logger as Logger
from dnnlib.text import printable as printable


class EasyDict(dict):
    """A dictionary whose items are attributes as well: `d.key` is `d["key"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"EasyDict has no item {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"EasyDict has no item {name!r}") from None


def get_obj_by_name(name: str) -> Any:
    """Import and return the module, class, function or attribute at a dotted path.

    Raises:
        ImportError: If a part of the path is missing or cannot be imported; the message names it.
    """
    parts = name.split(".")
    if not all(parts):
        raise ImportError(f"{name!r} is not a dotted path like 'package.module.Class'")
    obj, num_found = _import_longest_prefix(name, parts)
    for i, part in enumerate(parts[num_found:], start=num_found):
        try:
            obj = getattr(obj, part)
        except AttributeError as err:
            found = ".".join(parts[:i])
            raise ImportError(f"cannot find {name!r}: {found!r} has no attribute {part!r}") from err
    return obj


def call_func_by_name(*args: Any, func_name: str, **kwargs: Any) -> Any:
    """Call the function at the dotted path `func_name` with the other arguments."""
    func = get_obj_by_name(func_name)
    if not callable(func):
        raise TypeError(f"{func_name!r} is not callable")
    return func(*args, **kwargs)


def construct_class_by_name(*args: Any, class_name: str, **kwargs: Any) -> Any:
    """Construct the class at the dotted path `class_name` with the other arguments."""
    return call_func_by_name(*args, func_name=class_name, **kwargs)


def format_time(seconds: float) -> str:
    """A duration in its largest units: `59s`, `1m 00s`, `2h 05m 09s`, `3d 04h 05m`."""
    total_sec = round(seconds)
    minutes, sec = divmod(total_sec, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if total_sec < 60:
        return f"{total_sec}s"
    if total_sec < 60 * 60:
        return f"{minutes}m {sec:02d}s"
    if total_sec < 24 * 60 * 60:
        return f"{hours}h {minutes:02d}m {sec:02d}s"
    return f"{days}d {hours:02d}h {minutes:02d}m"


def is_power_of_two(number: int) -> bool:
    """Whether `number` is 1, 2, 4, 8, ..."""
    return number > 0 and number & (number - 1) == 0


def nearest_power_of_two(number: int) -> int:
    """The power of two (at least 1) with the ratio closest to 1: 256 for 182 to 362."""
    smaller = 1 << (number.bit_length() - 1)
    return smaller if number**2 < 2 * smaller**2 else 2 * smaller


def _import_longest_prefix(name: str, parts: list[str]) -> tuple[Any, int]:
    """The innermost importable module on a dotted path, and the number of parts of its name."""
    for num_parts in range(len(parts), 0, -1):
        module_name = ".".join(parts[:num_parts])
        try:
            return importlib.import_module(module_name), num_parts
        except ModuleNotFoundError as err:
            # A module with a missing import of its own must not count as missing.
            if err.name is None or not f"{module_name}.".startswith(f"{err.name}."):
                raise ImportError(f"cannot import {name!r}: {err}") from err
            if num_parts == 1:
                raise ImportError(f"cannot find {name!r}: no module {module_name!r}") from err
    raise AssertionError("unreachable")
