"""Read network pickles without running what is in them.

A pickle is a program: it names functions and calls them. Here it can name only what is listed in
`_ALLOWED`, and what it gets under those names are constructors of this file, which check their
arguments and make plain data. Objects that carry their source become `Record`s, which hold the
source as text.
"""

import dataclasses
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from dnnlib import EasyDict
from network_files.tensorflow import TensorFlowNetwork
from torch_utils import persistence

MAX_DEPTH = 64  # of nested containers


class ForbiddenGlobalError(pickle.UnpicklingError):
    """A pickle asks for something that networks do not need."""


@dataclasses.dataclass(eq=False)
class Record:
    """A persistent object as its pickle describes it; see `torch_utils.persistence`."""

    class_name: str
    module_src: str
    state: dict[str, Any]


def load(f: BinaryIO) -> Any:
    """Read one pickle.

    Args:
        f: The pickle, open for reading in binary mode.

    Returns:
        Plain data, tensors (on the CPU), arrays, `Record`s and `TensorFlowNetwork`s.

    Raises:
        ForbiddenGlobalError: If the pickle names anything else; nothing of it has been executed.
        Exception: Damaged pickles can raise anything.
    """
    return _NetworkUnpickler(f).load()


def plain(value: Any) -> Any:
    """A copy of nested containers, numbers and texts in Python's own types, for use as arguments.

    Dictionaries become `EasyDict`s, NumPy's scalars Python's.

    Raises:
        ValueError: If there is something else in it, such as a tensor or a network.
    """
    return _plain(value, depth=0, budget=[100_000])


def _plain(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    # Containers may contain themselves, or be shared until their copies fill the memory.
    if depth > MAX_DEPTH or budget[0] < 0:
        raise ValueError("the options in the pickle are nested without end")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the options in the pickle have keys that are not texts")
        copies = {key: _plain(item, depth + 1, budget) for key, item in value.items()}
        return EasyDict(copies)
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, depth + 1, budget) for item in value)
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, np.ndarray):
        return np.array(value)
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return value
    if isinstance(value, (torch.dtype, torch.device)):
        return value
    raise ValueError(f"the options in the pickle contain a {type(value).__name__}")


class _NetworkUnpickler(pickle._Unpickler):
    """Looks up names in `_ALLOWED` only, and sets the state of a few kinds of objects only.

    The implementation in Python, because that in C cannot be told how to set states, and can be
    made to use up all memory by an eight-byte pickle.
    """

    dispatch: ClassVar[dict[int, Callable]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ForbiddenGlobalError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the pickle")

    def _load_build(self) -> None:
        state = self.stack.pop()
        obj = self.stack[-1]
        if isinstance(obj, (_Dtype, _Array, TensorFlowNetwork)):
            obj.__setstate__(state)
        elif not isinstance(obj, OrderedDict):  # its attributes do not matter to anybody
            raise pickle.UnpicklingError(f"it changes a {type(obj).__name__}")

    dispatch[pickle.BUILD[0]] = _load_build


def _record(meta: dict) -> Record:
    kinds = {"module_src": str, "class_name": str, "state": dict}
    if not isinstance(meta, dict) or not all(
        isinstance(meta.get(key), kind) for key, kind in kinds.items()
    ):
        raise pickle.UnpicklingError("a persistent object lacks its source, class name or state")
    persistence.check_version(meta)
    return Record(meta["class_name"], meta["module_src"], meta["state"])


class _Dtype:
    """Stands for `numpy.dtype`: booleans and numbers only."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(code, str) or np.dtype(code).kind not in "biufc":
            raise pickle.UnpicklingError(f"it has arrays of type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        byte_order = state[1]
        if byte_order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it has arrays with byte order {byte_order!r}")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Array(np.ndarray):
    """An array whose contents come as raw bytes only."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        _check_numbers(shape)
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("it has an array that contains objects")
        super().__setstate__((1, shape, _numpy_dtype(dtype), bool(is_fortran), data))


def _empty_array(kind: Any, shape: tuple, type_code: bytes) -> np.ndarray:
    return np.ndarray.__new__(_Array, (0,), np.uint8)


def _array_from_buffer(
    data: bytes | bytearray, dtype: _Dtype, shape: tuple, order: str
) -> np.ndarray:
    _check_numbers(shape)
    return np.frombuffer(data, _numpy_dtype(dtype)).reshape(shape, order=order)


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    (value,) = np.frombuffer(data, _numpy_dtype(dtype))
    return value


def _numpy_dtype(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("it has an array without a type")
    return dtype.dtype


def _check_numbers(*shapes: Any) -> None:
    for shape in shapes:
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError(f"it has a tensor of shape {shape!r}")


def _load_storage(data: bytes) -> torch.storage.TypedStorage:
    storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("it has a tensor without data")
    return storage


def _rebuild_tensor(
    storage: torch.storage.TypedStorage, offset: int, size: tuple, stride: tuple, *ignored: Any
) -> Tensor:
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("it has a tensor without data")
    _check_numbers((offset,), size, stride)
    # PyTorch would make a storage that is too small larger, with whatever is in the memory.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    data = storage._untyped_storage
    if 0 not in size and last >= data.nbytes() // storage.dtype.itemsize:
        raise pickle.UnpicklingError("it has a tensor that is larger than its data")
    return torch.empty(0, dtype=storage.dtype).set_(data, offset, size, stride)


def _rebuild_parameter(data: Tensor, requires_grad: bool, *ignored: Any) -> torch.nn.Parameter:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("it has a parameter that is no tensor")
    return torch.nn.Parameter(data, bool(requires_grad))


def _rebuild_with_attributes(rebuild: Callable, kind: Any, args: tuple, *ignored: Any) -> Tensor:
    if rebuild not in (_rebuild_tensor, _rebuild_parameter):
        raise pickle.UnpicklingError("it has a tensor of an unknown kind")
    return rebuild(*args)


def _bytes_of_text(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes bytes as {encoding!r}")
    return text.encode("latin1")


def _bytearray(data: bytes = b"") -> bytearray:
    if not isinstance(data, bytes):  # a number would be its length
        raise pickle.UnpicklingError("it makes bytes out of something else")
    return bytearray(data)


_KIND = object()  # stands for classes that are named as an argument only

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("dnnlib", "EasyDict"): EasyDict,
    ("dnnlib.util", "EasyDict"): EasyDict,
    ("dnnlib.tflib.network", "Network"): TensorFlowNetwork,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _record,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _KIND,
    ("torch", "Tensor"): _KIND,
    ("torch._tensor", "Tensor"): _KIND,
    ("torch.nn.parameter", "Parameter"): _KIND,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_with_attributes,
    ("_codecs", "encode"): _bytes_of_text,
}
for _core in ("numpy.core", "numpy._core"):  # before and after NumPy 2
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _empty_array
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _array_from_buffer
for _builtins in ("builtins", "__builtin__"):  # in Python 3 and, in old protocols, Python 2
    _ALLOWED[_builtins, "set"] = set
    _ALLOWED[_builtins, "frozenset"] = frozenset
    _ALLOWED[_builtins, "bytearray"] = _bytearray
for _name in ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64", "bool"):
    _ALLOWED["torch", _name] = getattr(torch, _name)
