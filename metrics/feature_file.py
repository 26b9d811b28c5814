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
"""

import json
import os
from collections.abc import Mapping
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
NUMPY_DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def write(f: IO[bytes], state: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Write statistics, array by array, because features can fill much of the memory.

    Args:
        f: A file, open for writing in binary mode.
        state: Result of `FeatureStats.state_dict`.
        more: Texts, numbers, None, and lists and dictionaries of them; `read` returns it.
    """
    chunks = list(state["all_features"])
    fields = {key: state[key] for key in ("capture_all", "capture_mean_cov", "max_items")}
    fields |= {key: state[key] for key in ("num_items", "num_features")}
    fields |= {"version": VERSION, "chunks": [len(chunk) for chunk in chunks], "more": dict(more)}
    arrays = {"raw_mean": [state["raw_mean"]], "raw_cov": [state["raw_cov"]]}
    arrays["all_features"] = chunks
    header: dict[str, Any] = {"__metadata__": {METADATA_KEY: strict_json.dumps(fields)}}
    shapes, end = _shapes(fields), 0
    for name, shape in shapes.items():
        start, end = end, end + _num_bytes(name, shape)
        header[name] = {"dtype": DTYPES[name], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # aligns the numbers
    f.write(len(text).to_bytes(8, "little") + text)
    for name in shapes:
        for array in arrays[name]:
            f.write(np.ascontiguousarray(array, NUMPY_DTYPES[DTYPES[name]]).tobytes())


def read(path: str | os.PathLike) -> dict[str, Any]:
    """Read a file that `write` wrote.

    Returns:
        The state for `FeatureStats.from_state`, and `more`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged or holds something else. Nothing larger than the file is
            allocated before.
    """
    with open(path, "rb"):  # a missing file or a folder gets Python's own error
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            fields = _fields(f.metadata())
            shapes = _shapes(fields)
            if set(f.keys()) != set(shapes):
                raise InputError(f"it has the arrays {', '.join(sorted(f.keys())[:4]) or 'none'}")
            arrays = {name: _array(f, name, shape) for name, shape in shapes.items()}
    except (safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"{path} holds no feature statistics: {one_line(str(error))}") from error
    bounds = np.cumsum(fields["chunks"])[:-1]
    return {
        **{key: value for key, value in fields.items() if key not in ("version", "chunks")},
        "all_features": np.split(arrays["all_features"], bounds) if fields["chunks"] else [],
        "raw_mean": arrays.get("raw_mean", np.zeros([0])),
        "raw_cov": arrays.get("raw_cov", np.zeros([0, 0])),
    }


def _fields(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """The fields of the metadata.

    Raises:
        ValueError: If a field is missing, or makes no sense.
    """
    text = (metadata or {}).get(METADATA_KEY)
    if text is None:
        raise InputError("it does not say what it holds")
    try:
        fields = json.loads(text)
    except RecursionError as error:
        raise InputError("its description is nested without end") from error
    if not isinstance(fields, dict) or fields.get("version") != VERSION:
        raise InputError("its description is of another version")
    for name, is_good in _FIELDS.items():
        if name not in fields or not is_good(fields[name]):
            raise InputError(f"its {name} makes no sense")
    num_items, max_items = fields["num_items"], fields["max_items"]
    if max_items is not None and num_items > max_items:
        raise InputError(f"it has {num_items} items, of at most {max_items}")
    if fields["num_features"] is None and num_items > 0:
        raise InputError("its num_features is missing")
    if sum(fields["chunks"]) != (num_items if fields["capture_all"] else 0):
        raise InputError(f"it has {sum(fields['chunks'])} of {num_items} features")
    return fields


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


_FIELDS = {
    "capture_all": lambda value: isinstance(value, bool),
    "capture_mean_cov": lambda value: isinstance(value, bool),
    "num_items": _is_count,
    "max_items": lambda value: value is None or _is_count(value),
    "num_features": lambda value: value is None or (_is_count(value) and value <= MAX_FEATURES),
    "chunks": lambda value: isinstance(value, list) and all(map(_is_count, value)),
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


def _num_bytes(name: str, shape: list[int]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * NUMPY_DTYPES[DTYPES[name]].itemsize


def _array(f: Any, name: str, shape: list[int]) -> np.ndarray:
    """An array of the file, of exactly this shape."""
    entry = f.get_slice(name)
    if entry.get_dtype() != DTYPES[name] or entry.get_shape() != shape:
        raise InputError(f"its {name} is {entry.get_dtype()} {entry.get_shape()}, not {shape}")
    array = f.get_tensor(name)
    if not np.isfinite(array).all():
        raise InputError("features that are not finite")
    return array
