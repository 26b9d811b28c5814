"""What the tests of `test_gpu.py` do is right where the emulator stands in for the GPU."""

import pytest
import torch

from tests.cuda_emulator.ops import emulate
from tests.refuse_copies import RefuseCopies
from tests.torch_utils.ops.cuda import test_gpu
from torch_utils.ops.cuda.recorder import record_launches


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("op", test_gpu.OPS)
def test_tolerances_are_those_of_the_kernels(op, dtype, monkeypatch):
    emulate(monkeypatch)
    monkeypatch.setattr(test_gpu, "DEVICE", torch.device("cpu"))
    test_gpu.test_value_and_gradients_match_reference(op, dtype, "contiguous")


@pytest.mark.parametrize("op", test_gpu.OPS)
def test_captured_function_copies_nothing_between_devices(op, monkeypatch):
    """On the meta device, which stands for a GPU."""
    monkeypatch.setattr(test_gpu, "DEVICE", torch.device("meta"))
    x, b = test_gpu._operands(torch.float16, "contiguous")
    dy = torch.empty_like(test_gpu.OPS[op](x, b, "cuda"))  # makes the filters
    with RefuseCopies(), record_launches() as kernels:
        y, dx = test_gpu._value_and_gradient(op, x, b, dy)
    assert y.device.type == dx.device.type == "meta"
    assert kernels
