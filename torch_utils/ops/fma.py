"""Multiply and add in one kernel."""

import torch
from torch import Tensor


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """`a * b + c` with broadcasting; the product is not rounded to half precision in between."""
    return torch.addcmul(c, a, b)
