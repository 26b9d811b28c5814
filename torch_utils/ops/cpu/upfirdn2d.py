"""Launcher of `upfirdn2d` on the CPU."""

import torch
from torch import Tensor

from torch_utils.ops.cpu.resample import resample


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: list[int],
    down: list[int],
    padding: list[int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    """The op: the filter belongs to the upsampling, unless there is none."""
    f = f * gain ** (f.ndim / 2)  # in float32, by definition
    identity = torch.ones([1, 1])
    no_padding = (0, 0, 0, 0)
    filters = (identity, f) if tuple(up) == (1, 1) else (f, identity)
    return resample(x, *filters, tuple(up), tuple(down), tuple(padding), no_padding, flip_filter)
