"""Read NumPy arrays from pickles without running code in them: see `restricted_pickle`."""

import math
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np

from dnnlib.restricted_pickle import (
    RestrictedUnpickler,
    check_shapes,
    checked_keys,
    handlers_of_python,
)


class ArrayUnpickler(RestrictedUnpickler):
    """Reads plain data and arrays; `allowed` is filled at the end of this file."""

    def set_state_of(self, obj: Any, state: Any) -> None:
        if isinstance(obj, (_Dtype, _Array)):
            obj.__setstate__(state)
        else:
            super().set_state_of(obj, state)


class AnyProtocolUnpickler(ArrayUnpickler):
    """Reads what any version of Python writes, also Python 2. Texts of Python 2 become bytes."""

    key_types = (str, bytes)
    handlers: ClassVar[Mapping[int, Callable[[Any], None]]] = {
        **RestrictedUnpickler.handlers,
        **handlers_of_python("""
            PUT GET INT LONG LONG4 FLOAT STRING BINSTRING SHORT_BINSTRING UNICODE LIST
        """),
        pickle.DICT[0]: RestrictedUnpickler.make_dict,
    }

    def __init__(self, f: BinaryIO, max_instructions: int) -> None:
        super().__init__(f, max_instructions, encoding="bytes")


class _Dtype:
    """Stands for `numpy.dtype`: booleans and numbers only."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        byte_order = _as_text(state[1])
        if not isinstance(byte_order, str) or byte_order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("it has arrays with an unknown order of bytes")
        self.dtype = np.dtype(f"{byte_order}{self.dtype.kind}{self.dtype.itemsize}")


class _Array(np.ndarray):
    """An array whose contents come as raw bytes only."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        check_shapes(shape)
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("it has an array that contains objects")
        if math.prod(shape) * _numpy_dtype(dtype).itemsize != len(data):
            raise pickle.UnpicklingError("it has an array that is larger or smaller than its data")
        values: Any = (1, shape, dtype.dtype, bool(is_fortran), data)
        super().__setstate__(values)


def _as_text(value: Any) -> Any:
    """Convert a text of Python 2, which arrives as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _dtype(code: str | bytes, align: bool = False, copy: bool = False) -> _Dtype:
    code = _as_text(code)
    if not isinstance(code, str) or not re.fullmatch(r"[biufc]\d{1,2}", code, re.ASCII):
        # The text of tuples in tuples could be endless.
        text = f"type {code!r}" if isinstance(code, str) else "an unknown type"
        raise pickle.UnpicklingError(f"it has arrays of {text}")
    return _Dtype(np.dtype(code))


def _empty_array(kind: Any, shape: tuple, type_code: bytes) -> np.ndarray:
    return np.ndarray.__new__(_Array, (0,), np.uint8)


def _array_from_buffer(
    data: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: Any
) -> np.ndarray:
    """Make an array as protocol 5 writes it."""
    check_shapes(shape)
    if order not in ("C", "F"):
        raise pickle.UnpicklingError("it has an array in an unknown order")
    return np.frombuffer(data, _numpy_dtype(dtype)).reshape(shape, order=order)


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    (value,) = np.frombuffer(data, _numpy_dtype(dtype))
    return value


def _numpy_dtype(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("it has an array without a type")
    return dtype.dtype


def _bytes_of_text(text: str, encoding: str | bytes) -> bytes:
    """Make bytes as protocol 2 writes them."""
    if not isinstance(text, str) or _as_text(encoding) != "latin1":
        raise pickle.UnpicklingError("it has bytes in an unknown encoding")
    return text.encode("latin1")


def _bytearray(data: bytes = b"") -> bytearray:
    if not isinstance(data, bytes):  # a number would be its length
        raise pickle.UnpicklingError("it makes bytes out of something else")
    return bytearray(data)


def _no_bytes() -> bytes:
    """Make `b""` as protocol 2 writes it."""
    return b""


def _set(items: Iterable) -> set:
    return set(checked_keys(items))


def _frozenset(items: Iterable) -> frozenset:
    return frozenset(checked_keys(items))


NAMED_ONLY = object()  # stands for classes that pickles pass on as an argument

_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): NAMED_ONLY,
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
ArrayUnpickler.allowed = _ALLOWED
