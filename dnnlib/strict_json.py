"""Write JSON as the standard defines it, without NaN and infinities."""

import json
import math
from collections.abc import Mapping
from typing import Any

from dnnlib.errors import InputError


def dumps(value: Any, **kwargs: Any) -> str:
    """Like `json.dumps`, but refuse numbers that are not finite.

    Args:
        value: The value to write.
        **kwargs: Arguments of `json.dumps`.

    Raises:
        ValueError: If a number is NaN or infinite; the message says which.
    """
    _, paths = replace_nonfinite(value)
    if paths:
        raise InputError(f"JSON has no NaN and no infinities: {', '.join(paths[:4])}")
    return json.dumps(value, allow_nan=False, **kwargs)


def replace_nonfinite(value: Any) -> tuple[Any, list[str]]:
    """Replace NaN and infinities by `None`, which is null in JSON.

    Returns:
        A copy of the value, and the places of these numbers, such as `results.fid50k`.
    """
    paths: list[str] = []

    def copy(item: Any, path: str) -> Any:
        if isinstance(item, Mapping):
            return {k: copy(v, f"{path}.{k}" if path else str(k)) for k, v in item.items()}
        if isinstance(item, (list, tuple)):
            return [copy(v, f"{path}[{i}]") for i, v in enumerate(item)]
        if isinstance(item, float) and not math.isfinite(item):
            paths.append(path or "the value")
            return None
        return item

    return copy(value, ""), paths
