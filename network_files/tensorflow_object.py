"""A network in a pickle of the TensorFlow versions, as plain data without its meaning.

The unpickler makes these objects; `network_files.tensorflow` converts them to our networks.
"""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import InputError

MAX_OPTION_NUMBERS = 1000  # of an array among the options


@dataclass(frozen=True)
class Kind:
    """A set of accepted values, in words and as a function."""

    name: str
    accepts: Callable[[Any], bool]

    def or_none(self) -> "Kind":
        """The same kind, or None."""
        return Kind(f"{self.name} or None", lambda value: value is None or self.accepts(value))


def is_int(value: Any) -> bool:
    """Whether a value is a whole number; `True` does not count."""
    return isinstance(value, int) and not isinstance(value, bool)


TEXT = Kind("a text", lambda value: isinstance(value, str))


class TensorFlowNetwork:
    """The plain data of a network in a pickle. An object without a state has no attributes.

    Attributes:
        version: Version of the format.
        name: Name of the network.
        static_kwargs: Options with which the network was built.
        components: Networks that are parts of this one, by name.
        build_module_src: Text of the module that built the network; it is never run.
        build_func_name: Name of the function that built the network.
        variables: Names and values of its own variables, without those of its components.
    """

    version: int
    name: str
    static_kwargs: dict[str, Any]
    components: dict[str, "TensorFlowNetwork"]
    build_module_src: str
    build_func_name: str
    variables: list[tuple[str, Any]]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state that the pickle holds; `components` may be missing.

        Raises:
            ValueError: If another entry is missing, or has an unexpected type.
        """
        if not isinstance(state, dict):
            raise InputError(f"TensorFlow network: its state is no dict, but {show(state)}")
        state = {"components": {}, **state}
        for key, kind in _STATE.items():
            if key not in state:
                raise InputError(f"TensorFlow network: its state lacks {key!r}")
            value = plain(state[key])
            if not kind.accepts(value):
                raise InputError(
                    f"TensorFlow network: {key!r} must be {kind.name}, found {show(value)}"
                )
            # A copy, because the rest of the pickle can still change the original.
            setattr(self, key, value.copy() if isinstance(value, (dict, list)) else value)
        self.variables = [(name, value) for name, value in self.variables]


def _is_dict(value: Any, items: type = object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and isinstance(item, items) for key, item in value.items()
    )


def _is_list_of_variables(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str)
        for item in value
    )


_STATE = {
    "version": Kind("a whole number", is_int),
    "name": TEXT,
    "static_kwargs": Kind("a dictionary by name", _is_dict),
    "components": Kind(
        "a dictionary of networks by name", lambda value: _is_dict(value, TensorFlowNetwork)
    ),
    "build_module_src": TEXT,
    "build_func_name": TEXT,
    "variables": Kind("a list of names and values", _is_list_of_variables),
}


def plain(value: Any) -> Any:
    """Convert NumPy's numbers and arrays, and tuples, to Python's numbers and lists."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size > MAX_OPTION_NUMBERS:
            raise InputError(f"TensorFlow network: an option is an array of {value.size} numbers")
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


_SHORT = reprlib.Repr()
_SHORT.maxstring = 80


def show(value: Any) -> str:
    """A value from the file on one short line."""
    if isinstance(value, int) and abs(value) > 1e18:
        return "a very large number"  # Python refuses to print the largest
    if isinstance(value, (str, int, float, type(None))):
        return _SHORT.repr(value)
    return f"a {type(value).__name__}"
