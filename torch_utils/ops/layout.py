"""How ops lay out what they return."""

import torch
from torch import Tensor


def output_format(x: Tensor) -> torch.memory_format:
    """Memory format of the output of an op on images `x`: channels last if `x` is so stored.

    Fake and real kernels share this rule, so that `torch.compile` sees the strides that come out.
    """
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last


def channels_format(x: Tensor, dim: int) -> torch.memory_format:
    """The same for ops on tensors of any rank, whose channels are dimension `dim`."""
    return output_format(x) if x.ndim == 4 and dim == 1 else torch.contiguous_format
