"""Layouts and types that the kernels, fakes and references of an op share."""

import math

import torch
from torch import Tensor


def output_format(x: Tensor) -> torch.memory_format:
    """Memory format of the output of an op on images `x`: channels last if `x` is so stored.

    Fake and real kernels share this rule, so that `torch.compile` sees the real strides.
    """
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last


def channels_format(x: Tensor, dim: int) -> torch.memory_format:
    """The same for ops on tensors of any rank, whose channels are dimension `dim`."""
    return output_format(x) if x.ndim == 4 and dim == 1 else torch.contiguous_format


def channel_sizes(x: Tensor, dim: int, is_per_sample: bool) -> tuple[int, int, int, bool]:
    """Samples, channels and pixels of a tensor in this format, and whether channels come last.

    Dimensions before `dim` are samples, dimensions behind it pixels. If channels come last and the
    operands are the same for all samples, all pixels count as pixels of one sample.
    """
    n, c, s = math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :])
    if s > 1 and channels_format(x, dim) == torch.contiguous_format:
        return n, c, s, False
    return (n, c, s, True) if is_per_sample else (1, c, n * s, True)


def arithmetic_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type in which kernels compute on images of a type, and of the sums that they return."""
    return torch.float64 if dtype == torch.float64 else torch.float32
