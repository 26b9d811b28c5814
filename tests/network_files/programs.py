"""Pickles written instruction by instruction."""

import io
import pickle
import struct

import torch

START, STOP, MARK, TUPLE, REDUCE, BUILD = b"\x80\x04", b".", b"(", b"t", b"R", b"b"
EMPTY_DICT, EMPTY_TUPLE, EMPTY_LIST, NONE, POP = b"}", b")", b"]", b"N", b"0"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def binary(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def call(function: bytes, *args: bytes) -> bytes:
    return function + MARK + b"".join(args) + TUPLE + REDUCE


def program(*parts: bytes) -> bytes:
    return START + b"".join(parts) + STOP


def put(idx: int) -> bytes:
    return b"r" + struct.pack("<I", idx)


def get(idx: int) -> bytes:
    return b"j" + struct.pack("<I", idx)


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(*values: int) -> bytes:
    return MARK + b"".join(map(number, values)) + TUPLE


def storage_data(tensor: torch.Tensor, **kwargs) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensor._typed_storage(), buffer, **kwargs)
    return buffer.getvalue()


def tensor(data: bytes, offset: int, size: tuple, stride: tuple) -> bytes:
    storage = call(name("torch.storage", "_load_from_bytes"), binary(data))
    args = storage, number(offset), numbers(*size), numbers(*stride), b"\x89", NONE
    return call(name("torch._utils", "_rebuild_tensor_v2"), *args)


def four_numbers() -> bytes:
    return storage_data(torch.ones(4), _use_new_zipfile_serialization=False)


def dtype(code: str) -> bytes:
    return call(name("numpy", "dtype"), text(code), b"\x89", b"\x88")


def array(code: bytes, shape: tuple, data: bytes) -> bytes:
    args = name("numpy", "ndarray"), numbers(0), binary(b"b")
    empty = call(name("numpy._core.multiarray", "_reconstruct"), *args)
    return empty + MARK + number(1) + numbers(*shape) + code + b"\x89" + data + TUPLE + BUILD
