"""Sums over the pixels of images."""

import torch
from torch import Tensor

from torch_utils.ops.layout import arithmetic_dtype


def sum_of_products(x: Tensor, y: Tensor) -> Tensor:
    """Sum of `x * y` `[N, C, H, W]` over the pixels, `[N, C]`: float64 if `x` is, else float32.

    Products in half precision are not rounded before they are summed: small ones would become zero.
    """
    n, c, h, w = x.shape
    dtype = arithmetic_dtype(x.dtype)
    if x.dtype == y.dtype == dtype and x.is_contiguous() and y.is_contiguous():
        # Without the products in memory.
        return torch.bmm(x.reshape(n * c, 1, h * w), y.reshape(n * c, h * w, 1)).reshape(n, c)
    return (x.to(dtype) * y).sum([2, 3])
