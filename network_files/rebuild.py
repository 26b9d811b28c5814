"""Build this project's networks from the description of networks in a pickle.

The class name and the constructor's arguments in the pickle choose one of our classes; nothing of
the source in the pickle is executed. Every parameter and buffer must match by name and shape.
"""

import dataclasses
import hashlib
import inspect
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from network_files import own_classes
from network_files.own_classes import PACKAGE, SHIPPED
from network_files.proportion import Sharing, check_image_size
from network_files.unpickler import Record, plain
from torch_utils import persistence

# Upper limits of arguments, so that a damaged number cannot keep the constructor busy.
MAX_NUMBERS = {
    "channel_base": 1 << 24,
    "num_layers": 32,
    "filter_size": 1000,
    "margin_size": 1000,
    "lrelu_upsampling": 16,
}
MAX_NUMBER = 1 << 16
MAX_OPTIONS = 5000  # of one network, including nested options

MAX_NETWORKS = 16  # in one file

# Limits of a network. A record can be a part of several records, even of itself.
MAX_DEPTH = 20
MAX_MODULES = 1000
MAX_TENSORS = 10_000  # and other names
MAX_NAME = 100  # characters

# Defaults of StyleGAN2-ADA's classes that differ from those of StyleGAN3.
_ADA_SYNTHESIS = dict(num_fp16_res=0, conv_clamp=None)
_ADA_MAPPING = dict(w_avg_beta=0.995)


class MismatchError(InputError):
    """A network in a pickle cannot be rebuilt as one of our classes."""


@dataclasses.dataclass
class Contents:
    """Modules and tensors of a network. Paths are dotted; "" is the network itself."""

    class_names: dict[str, str] = dataclasses.field(default_factory=dict)  # by path of the module
    attributes: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # by path
    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)  # parameters and buffers
    sources: set[str] = dataclasses.field(default_factory=set)  # texts of the classes' modules
    num_names: int = 0  # of parameters, buffers and modules, even if they are None


def rebuild(record: Record, sharing: Sharing) -> torch.nn.Module:
    """Build the network that a record describes, as one of our classes, on the CPU.

    Args:
        record: The network.
        sharing: Counts the tensors of the file.

    Raises:
        MismatchError: If we lack the class, or our class has other tensors; the message lists the
            differences.
        ValueError: If the record is damaged, or needs far more memory than the file.
    """
    theirs = contents_of_record(record)
    sharing.add_tensors(theirs.tensors.values())
    best = None
    for cls in _candidates(record, theirs):
        for args, kwargs in _variants(cls, record):
            attempt = _attempt(cls, args, kwargs, theirs)
            if best is None or attempt.badness < best.badness:
                best = attempt
    if best is None:
        raise MismatchError(f"this project has no class {record.class_name!r}")
    if best.module is None or best.differences:
        raise MismatchError(_mismatch(best.cls, best.differences))
    check_image_size(best.module)
    fill(best.module, theirs.tensors)
    for path, module in best.module.named_modules():
        module.training = bool(theirs.attributes[path].get("training", False))
    for name, param in best.module.named_parameters():
        param.requires_grad_(theirs.tensors[name].requires_grad)
    return best.module


def unknown_sources(record: Record) -> list[str]:
    """SHA-256 of sources that are neither published nor the current text of our files."""
    theirs = {persistence.normalised(text) for text in contents_of_record(record).sources}
    hashes = {_sha256(text) for text in theirs.difference(own_classes.texts().values())}
    return sorted(hashes - _known_sources().keys())


def contents_of_record(record: Record) -> Contents:
    """The modules and tensors of a record.

    Raises:
        ValueError: If the record describes no network.
    """
    contents = Contents()
    _add_record(contents, "", record)
    return contents


def contents_of_module(module: torch.nn.Module) -> Contents:
    """The modules and tensors of a network."""
    contents = Contents()
    for path, part in module.named_modules():
        contents.class_names[path] = type(part).__name__
        contents.attributes[path] = vars(part)
    contents.tensors.update(module.named_parameters())
    contents.tensors.update(module.named_buffers())
    return contents


def build_empty(cls: type, args: tuple, kwargs: Mapping[str, Any]) -> torch.nn.Module:
    """Construct a network on the meta device, without memory for its tensors.

    Raises:
        ValueError: If the arguments are out of all proportion.
        Exception: Whatever the constructor raises.
    """
    _check_options(inspect.signature(cls).bind(*args, **kwargs).arguments)
    with torch.device("meta"), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return cls(*args, **kwargs)


def require_match(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that do not match a network.

    Raises:
        MismatchError: If a tensor is missing, has another shape, or is unknown; the message says
            which.
    """
    differences = differences_of_tensors(tensors, contents_of_module(module).tensors)
    if differences:
        raise MismatchError(_mismatch(type(module), differences))


@torch.no_grad()
def fill(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network from `build_empty` memory on the CPU, and copy its tensors into it."""
    module.to_empty(device="cpu")
    for name, tensor in contents_of_module(module).tensors.items():
        tensor.copy_(tensors[name])


def differences_of_tensors(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """Reasons why their tensors cannot be copied to ours, one for each difference."""
    differences = []
    for name, tensor in ours.items():
        if name not in theirs:
            differences.append(f"{name} is missing")
        elif theirs[name].shape != tensor.shape:
            shapes = f"{list(theirs[name].shape)} in the file and {list(tensor.shape)} here"
            differences.append(f"{name} is {shapes}")
        elif theirs[name].is_floating_point() != tensor.is_floating_point():
            dtypes = f"{theirs[name].dtype} in the file and {tensor.dtype} here"
            differences.append(f"{name} is {dtypes}")
    return differences + [f"{name} is unknown here" for name in theirs if name not in ours]


def _add_record(contents: Contents, path: str, record: Record) -> None:
    is_endless = path.count(".") >= MAX_DEPTH or len(contents.class_names) >= MAX_MODULES
    if is_endless:
        raise InputError("the network has no end")
    contents.class_names[path] = record.class_name
    contents.attributes[path] = record.state
    contents.sources.add(record.module_src)
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _items(contents, record.state, kind):
            if tensor is not None:
                if not isinstance(tensor, Tensor):
                    raise InputError(f"{_join(path, name)} is a {type(tensor).__name__}")
                contents.tensors[_join(path, name)] = tensor
    for name, part in _items(contents, record.state, "_modules"):
        if part is not None:
            if not isinstance(part, Record):
                raise InputError(f"{_join(path, name)} is a {type(part).__name__}")
            _add_record(contents, _join(path, name), part)


def _items(contents: Contents, state: dict, kind: str) -> Iterator[tuple[str, Any]]:
    members = state.get(kind)
    if not isinstance(members, dict):
        raise InputError("it is not a network")
    contents.num_names += len(members)
    if contents.num_names > MAX_TENSORS:
        raise InputError("the network has no end")
    if not all(_is_name(name) for name in members):
        raise InputError("it is not a network")
    yield from members.items()


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME and "." not in name


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _candidates(record: Record, theirs: Contents) -> Iterator[type]:
    """Our classes that fit a record: the class with the same source, or those with its name."""
    text = persistence.normalised(record.module_src)
    for module_name, own_text in own_classes.texts().items():
        if own_text == text:
            cls = vars(own_classes.load(module_name)).get(record.class_name)
            if isinstance(cls, type) and persistence.is_persistent(cls):
                yield cls
                return
    modules = [own_classes.load(f"{PACKAGE}.{name}") for name in SHIPPED]
    modules = [module for module in modules if _has_persistent(module, record.class_name)]
    names = set(theirs.class_names.values())
    complete = [m for m in modules if all(_has_persistent(m, name) for name in names)]
    for module in complete or modules:
        yield vars(module)[record.class_name]


def _has_persistent(module: ModuleType, class_name: str) -> bool:
    return persistence.is_persistent(vars(module).get(class_name))


def _variants(cls: type, record: Record) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """The constructor's arguments, unchanged and with the defaults of StyleGAN2-ADA."""
    args = plain(record.state.get("_init_args", ()), MAX_OPTIONS)
    kwargs = plain(record.state.get("_init_kwargs", {}), MAX_OPTIONS)
    if not isinstance(args, tuple) or not isinstance(kwargs, dict):
        raise InputError("it does not say how it was constructed")
    synthesis_kwargs = kwargs.pop("synthesis_kwargs", {})
    if not isinstance(synthesis_kwargs, dict):
        raise InputError("its `synthesis_kwargs` are not options")
    kwargs = {**kwargs, **synthesis_kwargs}
    yield args, kwargs
    if (own_classes.path_of(cls) or "").startswith(f"{PACKAGE}.networks_stylegan2."):
        ada_kwargs = {**_ADA_SYNTHESIS, **kwargs}
        if cls.__name__ == "Generator":
            mapping_kwargs = kwargs.get("mapping_kwargs") or {}
            ada_kwargs["mapping_kwargs"] = {**_ADA_MAPPING, **mapping_kwargs}
        yield args, ada_kwargs


@dataclasses.dataclass
class _Attempt:
    cls: type
    module: torch.nn.Module | None
    differences: list[str]
    num_other_values: int = 0  # of attributes, which do not prevent the match

    @property
    def badness(self) -> tuple:
        return self.module is None, len(self.differences), self.num_other_values


def _attempt(cls: type, args: tuple, kwargs: dict[str, Any], theirs: Contents) -> _Attempt:
    try:
        module = build_empty(cls, args, kwargs)
    except Exception as error:  # the arguments can be anything
        text = str(error).partition("\n")[0]
        return _Attempt(cls, None, [f"its options are refused ({text})"])
    ours = contents_of_module(module)
    differences = differences_of_tensors(theirs.tensors, ours.tensors)
    for path, name in theirs.class_names.items():
        our_name = ours.class_names.get(path)
        if our_name != name:
            differences.append(f"{path or 'it'} is a {name} in the file and a {our_name} here")
    differences += [
        f"{path} is missing" for path in ours.class_names if path not in theirs.class_names
    ]
    num_other_values = sum(
        _is_other_value(theirs.attributes[path][key], value)
        for path, attributes in ours.attributes.items()
        for key, value in attributes.items()
        if path in theirs.attributes and key in theirs.attributes[path] and key != "training"
    )
    return _Attempt(cls, module, differences, num_other_values)


def _is_other_value(theirs: Any, ours: Any) -> bool:
    """Whether two attributes are plain values and differ."""
    kinds = (bool, int, float, str, np.number, type(None))
    return isinstance(theirs, kinds) and isinstance(ours, kinds) and theirs != ours


def _mismatch(cls: type, differences: list[str], num_shown: int = 4) -> str:
    shown = differences[:num_shown]
    if len(differences) > num_shown:
        shown.append(f"and {len(differences) - num_shown} more differences")
    path = (own_classes.path_of(cls) or cls.__qualname__).removeprefix(f"{PACKAGE}.")
    return f"it does not match this project's {path}: {'; '.join(shown)}"


def _check_options(options: Mapping[Any, Any]) -> None:
    for key, value in options.items():
        if isinstance(value, (int, float)):
            if not abs(value) <= MAX_NUMBERS.get(key, MAX_NUMBER):  # also refuses NaN
                raise InputError(f"{key} is out of range")
        elif key in MAX_NUMBERS:  # a sequence times a number could be long
            raise InputError(f"{key} is no number")
        elif isinstance(value, Mapping):
            _check_options(value)
        elif isinstance(value, (list, tuple)):
            _check_options(dict(enumerate(value)))
        elif not isinstance(value, (str, type(None))):
            raise InputError(f"{key} is a {type(value).__name__}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _known_sources() -> dict[str, str]:
    path = Path(__file__).with_name("known_sources.json")
    return json.loads(path.read_text(encoding="utf-8"))
