"""The file format of feature statistics: safetensors, which holds numbers and texts only.

Tensors, if the statistics have them:

    all_features  float32 [num_items, num_features]
    raw_mean      float64 [num_features]
    raw_cov       float64 [num_features, num_features]

The metadata item `feature_stats` is JSON:

    version           1
    capture_all, capture_mean_cov, max_items, num_items, num_features
                      as in `FeatureStats.state_dict`
    chunks            number of vectors in each array of `all_features`
    more              further facts of the writer

A file can hold several statistics. All names then begin with a prefix, as in `0.raw_mean` and
`0.feature_stats`.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import safetensors

from dnnlib import strict_json
from dnnlib.errors import InputError
from dnnlib.text import one_line

VERSION = 1
METADATA_KEY = "feature_stats"
MAX_COUNT = 10**12  # images; more than any dataset has
MAX_FEATURES = 10**6  # numbers for an image; more than any feature network has
DTYPES = {"all_features": "F32", "raw_mean": "F64", "raw_cov": "F64"}
NUMPY_DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}


def write(f: IO[bytes], state: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Write statistics, array by array, because features can fill much of the memory.

    Args:
        f: A file, open for writing in binary mode.
        state: Result of `FeatureStats.state_dict`.
        more: Texts, numbers, None, and lists and dictionaries of them; `read` returns it.
    """
    write_several(f, {"": (state, more)})


def write_several(
    f: IO[bytes],
    parts: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
    metadata: Mapping[str, str] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write several statistics to one file, and further texts and arrays.

    Args:
        f: A file, open for writing in binary mode.
        parts: For each prefix, `state` and `more` as for `write`.
        metadata: Further items of the metadata.
        arrays: Further arrays of a type in `NUMPY_DTYPES`.
    """
    texts = dict(metadata or {})
    contents: list[tuple[str, str, list[int], list[np.ndarray]]] = []
    for prefix, (state, more) in parts.items():
        fields = _describe(state, more)
        texts[f"{prefix}{METADATA_KEY}"] = strict_json.dumps(fields)
        for name, shape in _shapes(fields).items():
            chunks = list(state[name]) if name == "all_features" else [state[name]]
            contents.append((f"{prefix}{name}", DTYPES[name], shape, chunks))
    types = {dtype: name for name, dtype in NUMPY_DTYPES.items()}
    for name, array in (arrays or {}).items():
        dtype = types[array.dtype.newbyteorder("<")]
        contents.append((name, dtype, list(array.shape), [array]))
    # The largest numbers come first, so that all are aligned.
    contents.sort(key=lambda item: -NUMPY_DTYPES[item[1]].itemsize)
    header: dict[str, Any] = {"__metadata__": texts}
    end = 0
    for name, dtype, shape, _ in contents:
        start, end = end, end + math.prod(shape) * NUMPY_DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    f.write(len(text).to_bytes(8, "little") + text)
    for _, dtype, _, chunks in contents:
        for array in chunks:
            f.write(np.ascontiguousarray(array, NUMPY_DTYPES[dtype]).tobytes())


def read(path: str | os.PathLike, prefix: str = "") -> dict[str, Any]:
    """Read a file that `write` wrote, or one of several statistics.

    Args:
        path: The file.
        prefix: The beginning of the names of the statistics.

    Returns:
        The state for `FeatureStats.from_state`, and `more`. `whole` is the array that the parts of
        `all_features` lie in, one after the other; `None` if there are none.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged or holds something else. Nothing larger than the file is
            allocated before.
    """
    with opened(path, "feature statistics") as f:
        fields = parse(f.metadata(), prefix)
        shapes = _shapes(fields)
        keys = f.keys()
        names = {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
        if names != set(shapes):
            raise InputError(f"it has the arrays {', '.join(sorted(names)[:4]) or 'none'}")
        arrays = {name: _array(f, prefix, name, shape) for name, shape in shapes.items()}
    bounds = np.cumsum(fields["chunks"])[:-1]
    return {
        **{key: value for key, value in fields.items() if key not in ("version", "chunks")},
        "all_features": np.split(arrays["all_features"], bounds) if fields["chunks"] else [],
        "whole": arrays.get("all_features"),
        "raw_mean": arrays.get("raw_mean", np.zeros([0])),
        "raw_cov": arrays.get("raw_cov", np.zeros([0, 0])),
    }


@contextlib.contextmanager
def opened(path: str | os.PathLike, kind: str) -> Iterator[Any]:
    """Open a safetensors file. A `ValueError` inside means that the file holds something else.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged; the message names it, and the kind of its content.
    """
    with open(path, "rb"):  # a missing file or a folder gets Python's own error
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            yield f
    except (safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"{path} holds no {kind}: {one_line(str(error))}") from error


def parse(metadata: Mapping[str, str] | None, prefix: str = "") -> dict[str, Any]:
    """The fields of the metadata about the statistics of a prefix.

    Raises:
        ValueError: If a field is missing, or makes no sense.
    """
    fields = parse_item(metadata, f"{prefix}{METADATA_KEY}", VERSION, _FIELDS)
    num_items, max_items = fields["num_items"], fields["max_items"]
    if max_items is not None and num_items > max_items:
        raise InputError(f"it has {num_items} items, of at most {max_items}")
    if fields["num_features"] is None and num_items > 0:
        raise InputError("its num_features is missing")
    if sum(fields["chunks"]) != (num_items if fields["capture_all"] else 0):
        raise InputError(f"it has {sum(fields['chunks'])} of {num_items} features")
    return fields


def parse_item(
    metadata: Mapping[str, str] | None,
    key: str,
    version: int,
    checks: Mapping[str, Callable[[Any], bool]],
) -> dict[str, Any]:
    """An item of the metadata, which must be a JSON object.

    Args:
        metadata: The metadata.
        key: Name of the item.
        version: The `version` that it must have.
        checks: For each of its fields, whether a value makes sense.

    Raises:
        ValueError: If the item or a field is missing, or makes no sense.
    """
    text = (metadata or {}).get(key)
    if text is None:
        raise InputError("it does not say what it holds")
    try:
        fields = json.loads(text)
    except RecursionError as error:
        raise InputError("its description is nested without end") from error
    if not isinstance(fields, dict) or fields.get("version") != version:
        raise InputError("its description is of another version")
    for name, is_good in checks.items():
        if name not in fields or not is_good(fields[name]):
            raise InputError(f"its {name} makes no sense")
    return fields


def _describe(state: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the metadata."""
    names = ("capture_all", "capture_mean_cov", "max_items", "num_items", "num_features")
    fields = {name: state[name] for name in names}
    chunks = [len(chunk) for chunk in state["all_features"]]
    return {**fields, "version": VERSION, "chunks": chunks, "more": dict(more)}


def is_count(value: Any) -> bool:
    """Whether a value can be a number of images."""
    return type(value) is int and 0 <= value <= MAX_COUNT


_FIELDS = {
    "capture_all": lambda value: isinstance(value, bool),
    "capture_mean_cov": lambda value: isinstance(value, bool),
    "num_items": is_count,
    "max_items": lambda value: value is None or is_count(value),
    "num_features": lambda value: value is None or (is_count(value) and value <= MAX_FEATURES),
    "chunks": lambda value: isinstance(value, list) and all(map(is_count, value)),
    "more": lambda value: isinstance(value, dict),
}


def _shapes(fields: Mapping[str, Any]) -> dict[str, list[int]]:
    """Shapes of the arrays of such statistics."""
    num_features = fields["num_features"]
    shapes: dict[str, list[int]] = {}
    if fields["capture_mean_cov"] and num_features is not None:
        shapes |= {"raw_mean": [num_features], "raw_cov": [num_features] * 2}
    if fields["chunks"]:
        shapes["all_features"] = [fields["num_items"], num_features]
    return shapes


def _array(f: Any, prefix: str, name: str, shape: list[int]) -> np.ndarray:
    """An array of the file, of exactly this shape."""
    entry = f.get_slice(f"{prefix}{name}")
    if entry.get_dtype() != DTYPES[name] or entry.get_shape() != shape:
        raise InputError(f"its {name} is {entry.get_dtype()} {entry.get_shape()}, not {shape}")
    array = f.get_tensor(f"{prefix}{name}")
    if not np.isfinite(array).all():
        raise InputError("features that are not finite")
    return array
