"""Launcher of `upfirdn2d` on the CPU."""

import functools

import torch
from torch import Tensor

from torch_utils.ops.calls import Operands, UpFirDn
from torch_utils.ops.cpu.filters import scaled
from torch_utils.ops.cpu.resample import Resampling, resample


def upfirdn2d(x: Tensor, f: Tensor, call: UpFirDn) -> Tensor:
    """The op. The filter belongs to the upsampling, or to the downsampling if `up` is 1."""
    f = scaled(f, call.gain ** (f.ndim / 2))  # in float32, by definition
    fu, fd = (_identity(), f) if call.up == (1, 1) else (f, _identity())
    resampling = Resampling(call.up, call.down, call.padding, flip_filter=call.flip_filter)
    return resample(Operands(x, fu, fd), resampling)


@functools.cache
def _identity() -> Tensor:
    return torch.ones([1, 1], device="cpu")
