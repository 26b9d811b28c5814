"""What honest pickles contain is read, whatever protocol they are written in."""

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from dnnlib import EasyDict
from network_files import unpickler

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


def reopen(value: object, protocol: int = 4) -> object:
    return unpickler.load(io.BytesIO(pickle.dumps(value, protocol)))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_of_every_protocol(protocol):
    value = {
        "numbers": [0, -1, 255, 70_000, 1 << 60, -(1 << 90), 0.5, True, None],
        "texts": ("", "x", "é" * 300, "\n"),
        "bytes": [b"", b"x", b"y" * 300, bytearray(b""), bytearray(b"z")],
        "sets": [set(), {1, "a"}, frozenset(), frozenset({2})],
        "dictionaries": [OrderedDict(a=1), EasyDict(b=EasyDict(c=2)), {3: 4}],
        "types": [torch.Size([2, 3]), torch.device("cuda:1"), torch.float16],
    }
    value["again"] = value["texts"]
    got = reopen(value, protocol)
    assert got == value
    assert type(got["dictionaries"][0]) is OrderedDict
    assert type(got["dictionaries"][1].b) is EasyDict
    assert got["again"] is got["texts"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_type(dtype, protocol):
    tensor = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    views = [tensor, tensor.t(), tensor[1, 1:], tensor[0, 0], tensor[:0], torch.empty(0)]
    for got, expected in zip(reopen(views, protocol), views, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
        assert got.stride() == expected.stride()


def test_parameters_keep_whether_they_have_gradients():
    params = [torch.nn.Parameter(torch.ones(2), requires_grad=flag) for flag in (True, False)]
    got = reopen(params)
    assert [type(param) for param in got] == [torch.nn.Parameter] * 2
    assert [param.requires_grad for param in got] == [True, False]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("code", ["f2", "f4", "f8", ">f4", "i1", "i8", ">u2", "c8", "?"])
def test_arrays_of_every_type(code, protocol):
    array = np.arange(6).reshape(2, 3).astype(code)
    values = [array, array.T, array[:, 1], array[0, 0], np.broadcast_to(array, [4, 2, 3])]
    for got, expected in zip(reopen(values, protocol), values, strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_the_end_of_a_file_is_noticed(part):
    data = pickle.dumps({"a": torch.ones(1000), "b": "x" * 1000})
    with pytest.raises(EOFError):
        unpickler.load(io.BytesIO(data[: int(len(data) * part)]))


def test_plain_copies_containers_and_shares_arrays():
    array = np.arange(3)
    options = {"a": [1, (2.0, np.float32(3))], "b": array, "c": np.array(4)}
    copied = unpickler.plain(options)
    assert copied.a == [1, (2.0, 3.0)] and type(copied.a[1][1]) is float
    assert copied.a is not options["a"]
    assert np.shares_memory(copied.b, array)
    assert copied.c == 4
