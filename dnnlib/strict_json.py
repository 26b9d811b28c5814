"""JSON as the standard has it, which knows no NaN and no infinities."""

import json
import math
from collections.abc import Mapping
from typing import Any

from dnnlib.errors import InputError


def dumps(value: Any, **kwargs: Any) -> str:
    """The same as `json.dumps`, but for numbers that are not finite.

    Args:
        value: What to write.
        **kwargs: For `json.dumps`.

    Raises:
        ValueError: If a number is NaN or infinite; the message says which.
    """
    _, paths = replace_nonfinite(value)
    if paths:
        raise InputError(f"JSON has no NaN and no infinities: {', '.join(paths[:4])}")
    return json.dumps(value, allow_nan=False, **kwargs)


def replace_nonfinite(value: Any) -> tuple[Any, list[str]]:
    """Put `None`, which is null in JSON, in the place of NaN and infinities.

    Returns:
        The value, with new dictionaries and lists, and where the numbers were: `results.fid50k`.
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
