"""What the tests of `test_gpu.py` do is right where the emulator stands in for the GPU."""

import importlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.cuda_emulator import emulator
from tests.torch_utils.ops.cuda import test_gpu
from torch_utils.ops import selection
from torch_utils.ops.cuda import launcher
from torch_utils.ops.cuda.recorder import record_launches


@pytest.fixture
def emulated(monkeypatch):
    """The ops take tensors on the CPU to the launchers of CUDA kernels, and those to the emulator.

    Threads run in the order of their numbers. `test_gpu.py` puts its filters on the CPU, too.
    """
    for name in ("upfirdn2d", "filtered_lrelu", "bias_act"):
        op = importlib.import_module(f"torch_utils.ops.{name}")
        monkeypatch.setattr(op, "cpu", op.cuda)
    monkeypatch.setattr(selection.cpu, "is_supported", lambda *_: True)
    monkeypatch.setattr(launcher, "launch", emulator.launch)
    monkeypatch.setattr(test_gpu, "DEVICE", torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("op", test_gpu.OPS)
def test_tolerances_are_those_of_the_kernels(op, dtype, emulated):
    test_gpu.test_value_and_gradients_match_reference(op, dtype, "contiguous")


class RefuseCopies(TorchDispatchMode):
    """Refuse operations on several devices: in a graph, a copy from the CPU is an error."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        y = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, y))
        devices = {t.device.type for t in leaves if isinstance(t, torch.Tensor)}
        assert len(devices) < 2, f"{func} takes part on {devices}"
        return y


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


def test_copies_are_refused():
    with RefuseCopies(), pytest.raises(AssertionError, match="cpu"):
        torch.ones(3).to("meta")
