"""Read network pickles without running what is in them.

A pickle is a program: it names functions and calls them. Here it can name only what is listed in
`_ALLOWED`, and what it gets under those names are functions of this file, which check their
arguments and make plain data. Objects that carry their source become `Record`s, which hold the
source as text.

A small program can also ask for much: what the instructions do is limited, so that time and memory
stay in proportion to the size of the file.
"""

import dataclasses
import io
import math
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from dnnlib import EasyDict
from dnnlib.errors import InputError
from network_files.tensorflow_object import TensorFlowNetwork
from torch_utils import persistence

MAX_DEPTH = 64  # of nested containers
MAX_INSTRUCTIONS = 300_000  # three large networks are 30 000
MAX_COPIES = 4  # of the file's contents; tensors, say, are copied from text to bytes to numbers
MAX_NAME = 200  # characters, of a class
MAX_DIMENSIONS = 64  # of tensors and arrays; NumPy has no more either
MAX_ITEMS = 100_000  # of all options together
MAX_OPTION_BYTES = 10_000_000  # of their texts, each as often as it is there

# What an instruction costs that handles data, in bytes that are copied in the same time.
CALL_COST = 32
ITEM_COST = 16


class ForbiddenError(pickle.UnpicklingError):
    """A pickle asks for something that this project's networks do not need; others may."""


@dataclasses.dataclass(eq=False, repr=False)  # records may contain themselves
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
        ForbiddenError: If there is anything else in the pickle; nothing of it has been executed.
        EOFError: If the pickle ends too early.
        Exception: Damaged pickles can raise anything.
    """
    return LimitedUnpickler(f).load()


def plain(value: Any, max_items: int = MAX_ITEMS) -> Any:
    """A copy of nested containers, numbers and texts in Python's own types, for use as arguments.

    Dictionaries become `EasyDict`s, NumPy's scalars Python's. Arrays are not copied.

    Args:
        value: A part of what `load` returned.
        max_items: How many items all containers may have together.

    Raises:
        ValueError: If there is something else in it, such as a tensor or a network, or if it is
            out of all proportion.
    """
    return _PlainCopy(max_items).of(value, depth=0)


class _PlainCopy:
    """Copies containers, as long as there are few items and short texts in them.

    Containers may contain themselves, or be shared until their copies fill the memory. Texts and
    arrays are shared here, but whoever writes or prints the copy repeats them.
    """

    def __init__(self, max_items: int) -> None:
        self.num_items_left = max_items
        self.num_bytes_left = MAX_OPTION_BYTES
        self.arrays: dict[int, np.ndarray] = {}  # by the address of theirs

    def of(self, value: Any, depth: int) -> Any:
        self.num_items_left -= 1
        if isinstance(value, (str, bytes)):
            self.num_bytes_left -= len(value)
        if depth > MAX_DEPTH or self.num_items_left < 0 or self.num_bytes_left < 0:
            raise InputError("the options in the pickle are nested without end")
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise InputError("the options in the pickle have keys that are not texts")
            copies = {key: self.of(item, depth + 1) for key, item in value.items()}
            return EasyDict(copies)
        if isinstance(value, (list, tuple)):
            return type(value)(self.of(item, depth + 1) for item in value)
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
            return value.item()
        if isinstance(value, np.ndarray):
            return self.arrays.setdefault(id(value), np.asarray(value))
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return value
        if isinstance(value, (torch.dtype, torch.device)):
            return value
        raise InputError(f"the options in the pickle contain a {type(value).__name__}")


class LimitedUnpickler(pickle._Unpickler):
    """Looks up names in `allowed` only, calls functions only, and changes plain containers only.

    The implementation in Python, because that in C cannot be told how to set states, and can be
    made to use up all memory by an eight-byte pickle.
    """

    allowed: ClassVar[dict[tuple[str, str], Any]] = {}  # filled at the end of this file

    def __init__(self, f: BinaryIO, max_instructions: int = MAX_INSTRUCTIONS) -> None:
        file = _File(f)
        super().__init__(file)
        self.dispatch = _Handlers(max_instructions)
        self.num_bytes_left = MAX_COPIES * file.num_left + (1 << 20)  # that calls may copy

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise ForbiddenError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the pickle")

    def read_bytearray(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))

    def call(self) -> None:
        args = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, FunctionType) or not isinstance(args, tuple):
            raise pickle.UnpicklingError(f"it calls a {type(function).__name__}")
        self._charge(args)
        self.stack[-1] = function(*args)

    def make_object(self) -> None:
        args = self.stack.pop()
        cls = self.stack.pop()
        is_known = cls is EasyDict or cls is TensorFlowNetwork
        if not is_known or not isinstance(args, tuple) or args:
            raise pickle.UnpicklingError("it makes an object of an unknown kind")
        self.append(cls())

    def set_state(self) -> None:
        state = self.stack.pop()
        obj = self.stack[-1]
        self._charge(state)
        if isinstance(obj, (_Dtype, _Array, TensorFlowNetwork)):
            obj.__setstate__(state)
        elif not isinstance(obj, OrderedDict):  # its attributes do not matter to anybody
            raise pickle.UnpicklingError(f"it changes a {type(obj).__name__}")

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key], [value])

    def set_items(self) -> None:
        items = self.pop_mark()
        self._set_items(items[::2], items[1::2])

    def append_one(self) -> None:
        value = self.stack.pop()
        _require(self.stack[-1], list)
        self.stack[-1].append(value)

    def append_many(self) -> None:
        items = self.pop_mark()
        _require(self.stack[-1], list)
        self.stack[-1].extend(items)

    def add_items(self) -> None:
        items = self.pop_mark()
        _require(self.stack[-1], set)
        self.stack[-1].update(_keys(items))

    def make_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(_keys(items)))

    def _set_items(self, keys: list, values: list) -> None:
        target = self.stack[-1]
        _require(target, dict, EasyDict, OrderedDict)
        for key, value in zip(_keys(keys), values, strict=True):
            target[key] = value

    def _charge(self, args: Any) -> None:
        """Refuse programs that handle the same data over and over, to fill memory or time.

        Functions copy the texts, bytes and arrays that are given to them, and go through the items
        of containers, also of those one level inside.
        """
        self.num_bytes_left -= CALL_COST + ITEM_COST * _num_items(args)
        for arg in _items(args):
            self.num_bytes_left -= _num_bytes(arg) + ITEM_COST * _num_items(arg)
            if self.num_bytes_left < 0:
                break
            self.num_bytes_left -= ITEM_COST * sum(_num_items(item) for item in _items(arg))
        if self.num_bytes_left < 0:
            raise pickle.UnpicklingError("it copies the same data over and over")


def _num_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    return len(value) if isinstance(value, (str, bytes, bytearray)) else 0


def _num_items(value: Any) -> int:
    return len(value) if isinstance(value, (list, tuple, dict, set, frozenset)) else 0


def _items(value: Any) -> Iterable:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


# What Python 3 writes in binary protocols. Others do not occur, and some of them are dangerous:
# those that look up objects elsewhere, and those that can make numbers without end.
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    EMPTY_SET ADDITEMS FROZENSET GLOBAL STACK_GLOBAL BINPERSID REDUCE NEWOBJ BUILD
"""
_CODES = [getattr(pickle, name)[0] for name in _INSTRUCTIONS.split()]
_HANDLERS: dict[int, Callable[[LimitedUnpickler], None]] = {
    **{code: pickle._Unpickler.dispatch[code] for code in _CODES},
    pickle.BYTEARRAY8[0]: LimitedUnpickler.read_bytearray,
    pickle.REDUCE[0]: LimitedUnpickler.call,
    pickle.NEWOBJ[0]: LimitedUnpickler.make_object,
    pickle.BUILD[0]: LimitedUnpickler.set_state,
    pickle.SETITEM[0]: LimitedUnpickler.set_item,
    pickle.SETITEMS[0]: LimitedUnpickler.set_items,
    pickle.APPEND[0]: LimitedUnpickler.append_one,
    pickle.APPENDS[0]: LimitedUnpickler.append_many,
    pickle.ADDITEMS[0]: LimitedUnpickler.add_items,
    pickle.FROZENSET[0]: LimitedUnpickler.make_frozenset,
}


class _Handlers:
    """What to do for each instruction, for a limited number of them."""

    def __init__(self, num_instructions: int) -> None:
        self.num_left = num_instructions

    def __getitem__(self, code: int) -> Callable[[LimitedUnpickler], None]:
        self.num_left -= 1
        if self.num_left < 0:
            raise pickle.UnpicklingError("it is far longer than networks are")
        if code not in _HANDLERS:
            names = {ord(instruction.code): instruction.name for instruction in pickletools.opcodes}
            raise pickle.UnpicklingError(f"it has the instruction {names.get(code, hex(code))}")
        return _HANDLERS[code]


class _File:
    """A file that allocates no memory for bytes that it does not have."""

    def __init__(self, f: BinaryIO) -> None:
        start = f.tell()
        self.num_left = f.seek(0, io.SEEK_END) - start
        self._f = f
        f.seek(start)

    def read(self, size: int) -> bytes:
        if size > self.num_left:
            raise EOFError("the pickle ends too early")
        self.num_left -= size
        return self._f.read(size)

    def readline(self) -> bytes:
        line = self._f.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the pickle ends too early")
        self.num_left -= len(line)
        return line


def _require(obj: Any, *kinds: type) -> None:
    if type(obj) not in kinds:
        raise pickle.UnpicklingError(f"it changes a {type(obj).__name__}")


def _keys(items: Iterable) -> list:
    """Keys of dictionaries, or members of sets: texts and small numbers.

    The hash of anything else can take forever, or crash: of tuples in tuples, of numbers that were
    chosen for it.
    """
    if not isinstance(items, (list, tuple)):
        raise pickle.UnpicklingError(f"it makes a set of a {type(items).__name__}")
    for key in items:
        if type(key) is not str and not (type(key) is int and abs(key) < 1 << 31):
            raise ForbiddenError(f"it has a {type(key).__name__} as a key")
    return list(items)


def _record(meta: dict) -> Record:
    kinds = {"type": str, "version": int, "module_src": str, "class_name": str, "state": dict}
    if not isinstance(meta, dict) or not all(
        isinstance(meta.get(key), kind) for key, kind in kinds.items()
    ):
        raise pickle.UnpicklingError("a persistent object lacks its source, class name or state")
    if len(meta["class_name"]) > MAX_NAME:
        raise pickle.UnpicklingError("it has a class with an endless name")
    persistence.check_version(meta)
    return Record(meta["class_name"], meta["module_src"], meta["state"])


class _Dtype:
    """Stands for `numpy.dtype`: booleans and numbers only."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        byte_order = state[1]
        if not isinstance(byte_order, str) or byte_order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("it has arrays with an unknown order of bytes")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Array(np.ndarray):
    """An array whose contents come as raw bytes only."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        _check_numbers(shape)
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("it has an array that contains objects")
        if math.prod(shape) * _numpy_dtype(dtype).itemsize != len(data):
            raise pickle.UnpicklingError("it has an array that is larger or smaller than its data")
        super().__setstate__((1, shape, dtype.dtype, bool(is_fortran), data))


def _dtype(code: str, align: bool = False, copy: bool = False) -> _Dtype:
    if not isinstance(code, str) or not re.fullmatch(r"[biufc]\d{1,2}", code, re.ASCII):
        text = f"type {code!r}" if isinstance(code, str) else "an unknown type"
        raise pickle.UnpicklingError(f"it has arrays of {text}")
    return _Dtype(np.dtype(code))


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
            raise pickle.UnpicklingError("it has a tensor with an impossible shape")
        if len(shape) > MAX_DIMENSIONS:
            raise pickle.UnpicklingError(f"it has a tensor of {len(shape)} dimensions")


@dataclasses.dataclass(eq=False, repr=False)
class Storage:
    """The numbers of one or several tensors, in one dimension."""

    numbers: Tensor


class StorageUnpickler(LimitedUnpickler):
    """Reads the pickles that `_load_storage` finds; knows the types of numbers."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("torch", f"{name}Storage"): dtype
        for name, dtype in {
            "Double": torch.float64,
            "Float": torch.float32,
            "Half": torch.float16,
            "BFloat16": torch.bfloat16,
            "Long": torch.int64,
            "Int": torch.int32,
            "Short": torch.int16,
            "Char": torch.int8,
            "Byte": torch.uint8,
            "Bool": torch.bool,
        }.items()
    }

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _load_storage(data: bytes) -> Storage:
    """Read what `torch.save` writes of a storage in its format of 2017, which pickles contain.

    Five pickles: a magic number, a version, facts of the system, the storage's
    `("storage", dtype, key, location, size, None)`, and a list with its key. Then the size again,
    as eight bytes, and the numbers, both little-endian.
    """
    f = io.BytesIO(data)
    magic, version, _, storage, _ = (
        StorageUnpickler(f, max_instructions=100).load() for _ in range(5)
    )
    if magic != 0x1950A86A20F9469CFC6C or version != 1001:
        raise pickle.UnpicklingError("it has a tensor of an unknown format")
    kind, dtype, _, _, num, view = storage
    content = memoryview(data)[f.tell() :]
    if kind != "storage" or view is not None or not isinstance(dtype, torch.dtype):
        raise pickle.UnpicklingError("it has a tensor of an unknown format")
    if type(num) is not int or num < 0 or content[:8] != num.to_bytes(8, "little"):
        raise pickle.UnpicklingError("it has a tensor without data")
    if len(content) != 8 + num * dtype.itemsize:
        raise pickle.UnpicklingError("it has a tensor that is larger or smaller than its data")
    if num == 0:
        return Storage(torch.empty(0, dtype=dtype))
    return Storage(torch.frombuffer(bytearray(content[8:]), dtype=dtype))


def _rebuild_tensor(
    storage: Storage, offset: int, size: tuple, stride: tuple, *ignored: Any
) -> Tensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("it has a tensor without data")
    _check_numbers((offset,), size, stride)
    # Numbers that are there once and used many times could be copied until the memory is full.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and max(last, math.prod(size) - 1) >= len(storage.numbers):
        raise pickle.UnpicklingError("it has a tensor that is larger than its data")
    return storage.numbers.as_strided(size, stride, offset)


def _rebuild_parameter(data: Tensor, requires_grad: bool, *ignored: Any) -> torch.nn.Parameter:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("it has a parameter that is no tensor")
    return torch.nn.Parameter(data, bool(requires_grad))


def _rebuild_with_attributes(rebuild: Callable, kind: Any, args: tuple, *ignored: Any) -> Tensor:
    if rebuild is not _rebuild_tensor and rebuild is not _rebuild_parameter:
        raise pickle.UnpicklingError("it has a tensor of an unknown kind")
    return rebuild(*args)


def _bytes_of_text(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it has bytes in an unknown encoding")
    return text.encode("latin1")


def _bytearray(data: bytes = b"") -> bytearray:
    if not isinstance(data, bytes):  # a number would be its length
        raise pickle.UnpicklingError("it makes bytes out of something else")
    return bytearray(data)


def _no_bytes() -> bytes:
    """How protocol 2 writes `b""`."""
    return b""


def _ordered_dict() -> OrderedDict:
    return OrderedDict()


def _set(items: Iterable) -> set:
    return set(_keys(items))


def _frozenset(items: Iterable) -> frozenset:
    return frozenset(_keys(items))


def _size(numbers: tuple) -> torch.Size:
    _check_numbers(numbers)
    return torch.Size(numbers)


def _device(kind: str, *index: int) -> torch.device:
    if not isinstance(kind, str):  # a number would ask for the accelerator of this machine
        raise pickle.UnpicklingError("it has an unknown device")
    return torch.device(kind, *index)


_KIND = object()  # stands for classes that are named as an argument only

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("dnnlib", "EasyDict"): EasyDict,
    ("dnnlib.util", "EasyDict"): EasyDict,
    ("dnnlib.tflib.network", "Network"): TensorFlowNetwork,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _record,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _KIND,
    ("torch", "Tensor"): _KIND,
    ("torch._tensor", "Tensor"): _KIND,
    ("torch.nn.parameter", "Parameter"): _KIND,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
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
    _ALLOWED[_builtins, "set"] = _set
    _ALLOWED[_builtins, "frozenset"] = _frozenset
    _ALLOWED[_builtins, "bytes"] = _no_bytes
    _ALLOWED[_builtins, "bytearray"] = _bytearray
for _name in ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64", "bool"):
    _ALLOWED["torch", _name] = getattr(torch, _name)
LimitedUnpickler.allowed = _ALLOWED
