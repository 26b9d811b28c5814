"""Checks whether a run can continue from a training state."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from dnnlib.errors import InputError
from training.config import TrainOptions
from training.symptoms import DURATIONS, Observation

MAX_DEPTH = 20
MAX_ITEMS = 2_000_000  # of all containers together
MAX_TEXTS, MAX_TEXT = 1000, 10_000  # texts of an option, and characters of a text
MAX_COUNT = 2**53  # images, batches, bytes
MAX_USES = 2  # bytes of tensors for each byte of the file
FREE_BYTES = 1 << 20  # bytes of tensors that are allowed in any case


def check(state: Any, file_bytes: int) -> None:
    """Refuse a state from which no run can continue.

    Args:
        state: Contents of the file; tensors can be on the meta device.
        file_bytes: Size of the file.

    Raises:
        ValueError: If a part is missing or of another kind, or tensors share their numbers; the
            message names the part.
    """
    _check_size(state, file_bytes)
    for name, is_good in _PARTS.items():
        if name not in state:
            raise InputError(f"it lacks {name!r}")
        if not is_good(state[name]):
            raise InputError(f"its {name!r} makes no sense")
    for name, is_good in _OPTIONAL_PARTS.items():
        if not is_good(state.get(name)):
            raise InputError(f"its {name!r} makes no sense")


def _check_size(state: Any, file_bytes: int) -> None:
    """Refuse endless containers, and tensors that are much larger than the file."""
    num_items = num_bytes = 0
    level = [state]
    for _ in range(MAX_DEPTH):
        parts: list[Any] = []
        for value in level:
            if isinstance(value, Tensor):
                num_bytes += value.numel() * value.itemsize
            elif isinstance(value, (dict, list, tuple)):
                num_items += len(value)
                if num_items > MAX_ITEMS:
                    raise InputError("it has no end")
                parts += value.values() if isinstance(value, dict) else value
        level = parts
    if level:
        raise InputError("it has no end")
    if num_bytes > MAX_USES * file_bytes + FREE_BYTES:
        raise InputError("its tensors are larger than the file")


def _dict_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict)
        and all(isinstance(k, str) and isinstance(v, kinds) for k, v in value.items())
    )


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(key in value for key in keys)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_duration(value: Any) -> bool:
    return _is_number(value) and abs(value) < MAX_COUNT


def _is_tensor(num_dimensions: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Tensor) and value.ndim == num_dimensions


def _are_options(value: Any) -> bool:
    fields = dataclasses.fields(TrainOptions)
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    kinds = get_type_hints(TrainOptions)
    return (
        _has(*required)(value)
        and value.keys() <= kinds.keys()
        and all(_is_of_kind(option, kinds[name]) for name, option in value.items())
    )


def _is_of_kind(value: Any, kind: Any) -> bool:
    """Whether a value has the type of an annotation, and is not too long a text."""
    if get_origin(kind) in (Union, UnionType):
        return any(_is_of_kind(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        texts = value if isinstance(value, (list, tuple)) else [None]
        return len(texts) <= MAX_TEXTS and all(_is_of_kind(text, str) for text in texts)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind and (kind is not str or len(value) <= MAX_TEXT)


def _are_networks(value: Any) -> bool:
    return _has("G", "D", "G_ema")(value) and all(map(_dict_of(Tensor), value.values()))


def _are_optimizers(value: Any) -> bool:
    return _dict_of(dict)(value) and all(
        isinstance(one.get("state"), dict) and isinstance(one.get("param_groups"), list)
        for one in value.values()
    )


def _are_stats(value: Any) -> bool:
    return _has("moments", "arrived")(value) and all(
        _dict_of(list)(rows) and all(_is_row(row) for row in rows.values())
        for rows in value.values()
    )


def _is_row(row: list) -> bool:
    return len(row) == 3 and all(isinstance(number, (int, float)) for number in row)


def _are_ranks(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(
            _has("random", "loss")(rank)
            and isinstance(rank["loss"], dict)
            and _is_begun_or_none(rank.get("begun"))
            and _is_random_state(rank["random"])
            for rank in value
        )
    )


def _is_begun_or_none(value: Any) -> bool:
    return value is None or (
        _has("gen_z", "gen_c", "done")(value)
        and all(_is_tensor(3)(value[name]) for name in ("gen_z", "gen_c"))
        and isinstance(value["done"], list)
    )


def _is_random_state(value: Any) -> bool:
    sizes = {"python": 3, "numpy": 5}
    return (
        _has("python", "numpy", "torch", "device")(value)
        and all(isinstance(value[k], tuple) and len(value[k]) == n for k, n in sizes.items())
        and all(isinstance(value[key][1], Tensor) for key in sizes)
        and isinstance(value["torch"], Tensor)
    )


def _is_training_set(value: Any) -> bool:
    return (
        _has("path", "resolution", "use_labels", "xflip")(value)
        and isinstance(value["path"], str)
        and isinstance(value["use_labels"], bool)
    )


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_dict_or_none(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _are_names_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(v, str) for v in value))


def _are_counts_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_count, value)))


def _is_best_or_none(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and value.keys() == {"value_name", "value", "nimg", "num_worse", "former"}
        and isinstance(value["value_name"], str)
        and (value["value"] is None or _is_number(value["value"]))
        and _is_count(value["nimg"])
        and _is_count(value["num_worse"])
        and isinstance(value["former"], list)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(map(_is_count, pair))
            for pair in value["former"]
        )
    )


def _are_durations_or_none(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(isinstance(k, str) and _is_duration(v) for k, v in value.items())
    )


def _is_watch_or_none(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and value.keys() in ({"history", "said"}, {"history", "said", "found"})
        and isinstance(value.get("found", []), list)
        and all(isinstance(name, str) for name in value.get("found", []))
        and isinstance(value["history"], list)
        and all(_is_observation(tick) for tick in value["history"])
        and _dict_of(list)(value["said"])
        and all(len(pair) == 2 and all(map(_is_number, pair)) for pair in value["said"].values())
    )


def _is_observation(value: Any) -> bool:
    names = {field.name for field in dataclasses.fields(Observation)} - {*DURATIONS}
    return (
        isinstance(value, dict)
        and value.keys() <= names
        and _is_number(value.get("kimg"))
        and all(one is None or _is_number(one) for one in value.values())
    )


_PARTS: dict[str, Callable[[Any], bool]] = {
    "launch_id": _is_text_or_none,
    "options": _are_options,
    "training_set_kwargs": _is_training_set,
    "cur_nimg": _is_count,
    "batch_idx": _is_count,
    "tick": _is_count,
    "tick_start_nimg": _is_count,
    "total_sec": _is_duration,
    "tick_sec": _is_duration,
    "networks": _are_networks,
    "optimizers": _are_optimizers,
    "ada": _is_dict_or_none,
    "stats": _are_stats,
    "ranks": _are_ranks,
    "sheet_z": _is_tensor(2),
    "stats_jsonl_bytes": _is_count,
}
_OPTIONAL_PARTS = {
    "dataset_fingerprint": _is_dict_or_none,
    "given": _is_dict_or_none,
    "missing": _are_names_or_none,
    "pass_sizes": _are_counts_or_none,
    "kept_kimg": _are_counts_or_none,
    "best": _is_best_or_none,
    "durations": _are_durations_or_none,
    "watch": _is_watch_or_none,
}
