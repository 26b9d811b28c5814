"""Read and write networks in safetensors files: weights, class names and arguments.

The format holds tensors and texts only, so such a file cannot carry code. Tensors are called
`<network>.<name>`, as in `G_ema.mapping.fc0.weight`. The metadata item `stylegan3` is JSON:

    version              1
    networks             for each network: class, init_args, init_kwargs
    training_set_kwargs  as in a network pickle, or null
    dataset_fingerprint  as in a network pickle; may be missing
    stored_as            number of tensors by type, as in {"float16": 90}, if weights were rounded
                         to float16; readers without this item read such a file, too

Networks have float32 weights whatever the file holds.
"""

import json
import re
import warnings
from collections import Counter
from typing import IO, Any, BinaryIO, Literal

import safetensors.torch
import torch

from dnnlib import strict_json
from dnnlib.errors import InputError
from network_files import own_classes, rebuild
from network_files.half_weights import Rounding, type_name
from network_files.proportion import check_image_size
from torch_utils import persistence

VERSION = 1
METADATA_KEY = "stylegan3"
FINGERPRINT_KEY = "dataset_fingerprint"
STORED_KEY = "stored_as"
MAX_HEADER_BYTES = 100_000_000  # the format's own limit

StoredType = Literal["float32", "float16"]


class DamagedError(InputError):
    """Bytes of a safetensors file are missing or wrong."""


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins with `head` (nine bytes or more) is in this format."""
    size = int.from_bytes(head[:8], "little")
    return len(head) >= 9 and 2 <= size <= MAX_HEADER_BYTES and head[8:9] == b"{"


def save(f: IO[bytes], data: dict[str, Any], store_as: StoredType = "float32") -> Rounding | None:
    """Write networks, as `load.load_network_pkl` returns them, with the facts about their data.

    Args:
        f: The file, open for writing.
        data: The networks.
        store_as: `float16` rounds the parameters, see `half_weights`. Buffers (filters, averages,
            noise) stay float32.

    Returns:
        What rounding did; `None` for float32.

    Raises:
        ValueError: If a network is none of this project's classes, or its arguments are not plain.
    """
    networks, tensors = {}, {}
    rounding = Rounding() if store_as == "float16" else None
    for key, module in data.items():
        if not isinstance(module, torch.nn.Module):
            continue
        class_path = own_classes.path_of(type(module))
        if class_path is None:
            cls = type(module)
            raise _unknown_class(f"{cls.__module__}.{cls.__qualname__}")
        networks[key] = {
            "class": class_path,
            "init_args": module.init_args,
            "init_kwargs": module.init_kwargs,
        }
        params = dict(module.named_parameters())
        for name, tensor in rebuild.contents_of_module(module).tensors.items():
            stored = tensor.detach().cpu().contiguous().clone()
            if rounding is not None:
                is_weight = name in params and stored.dtype == torch.float32
                path = f"{key}.{name}"
                stored = rounding.store(path, stored) if is_weight else rounding.keep(stored)
            tensors[f"{key}.{name}"] = stored
    description = {
        "version": VERSION,
        "networks": networks,
        "training_set_kwargs": data.get("training_set_kwargs"),
    }
    if data.get(FINGERPRINT_KEY) is not None:
        description[FINGERPRINT_KEY] = data[FINGERPRINT_KEY]
    if rounding is not None:
        description[STORED_KEY] = dict(rounding.counts)
    try:
        text = strict_json.dumps(description)
    except (TypeError, ValueError) as error:
        raise InputError(f"the networks' options do not fit into this format: {error}") from error
    f.write(safetensors.torch.save(tensors, {"format": "pt", METADATA_KEY: text}))
    return rounding


def load(f: BinaryIO) -> dict[str, Any]:
    """Read networks, in evaluation mode and without gradients, and the facts about their data.

    Raises:
        DamagedError: If the file is damaged.
        ValueError: If the file has another origin, or does not match our classes.
    """
    content = f.read()
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # damaged bytes can make the library raise anything
        raise DamagedError(f"the safetensors file is damaged or truncated ({error})") from error
    description = _description(content)
    data: dict[str, Any] = {"training_set_kwargs": description.get("training_set_kwargs")}
    if FINGERPRINT_KEY in description:
        data[FINGERPRINT_KEY] = description[FINGERPRINT_KEY]
    prefixes = tuple(f"{key}." for key in description["networks"])
    if unknown := [name for name in tensors if not name.startswith(prefixes)]:
        raise InputError(f"the tensor {unknown[0]} belongs to none of the networks")
    converted: Counter[str] = Counter()
    for key, network in description["networks"].items():
        prefix = f"{key}."
        own = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
        data[key] = _build(key, network, own)
        needed = rebuild.contents_of_module(data[key]).tensors
        converted.update(type_name(t) for name, t in own.items() if t.dtype != needed[name].dtype)
    if converted and description.get(STORED_KEY) != Counter(map(type_name, tensors.values())):
        kinds = ", ".join(f"{num} of {kind}" for kind, num in sorted(converted.items()))
        warnings.warn(
            f"tensors of other types than the networks have were converted: {kinds}; the file does "
            "not say that it was written so",
            stacklevel=4,
        )
    return data


def _description(content: bytes) -> dict[str, Any]:
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    try:
        description = json.loads(metadata[METADATA_KEY])
        is_ours = description["version"] == VERSION and isinstance(description["networks"], dict)
        is_ours = is_ours and len(description["networks"]) <= rebuild.MAX_NETWORKS
    except (KeyError, TypeError, ValueError, RecursionError):
        is_ours = False
    if not is_ours:
        raise InputError(
            "the safetensors file does not say which networks it holds; write such files with "
            "legacy.py --dest=FILE.safetensors"
        )
    return description


def _build(key: str, network: Any, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    try:
        cls = _class_of_path(network["class"])
        module = rebuild.build_empty(cls, tuple(network["init_args"]), network["init_kwargs"])
    except Exception as error:  # the arguments can be anything
        text = str(error).partition("\n")[0]
        raise InputError(f"{key} cannot be constructed: {text}") from error
    try:
        rebuild.require_match(module, tensors)
        check_image_size(module)
    except ValueError as error:
        raise InputError(f"{key}: {error}") from error
    rebuild.fill(module, tensors)
    return module.eval().requires_grad_(False)


def _class_of_path(path: str) -> type:
    match = re.fullmatch(rf"({own_classes.PACKAGE}\.\w+)\.(\w+)", path, re.ASCII)
    if match is not None:
        module_name, class_name = match.groups()
        if module_name in own_classes.texts():
            cls = vars(own_classes.load(module_name)).get(class_name)
            if isinstance(cls, type) and persistence.is_persistent(cls):
                return cls
    raise _unknown_class(path)


def _unknown_class(path: str) -> InputError:
    return InputError(f"{path} is no network class of this project")
