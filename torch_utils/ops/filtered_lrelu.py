"""The alias-free nonlinearity: a leaky ReLU between upsampling and downsampling.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", Sec. 3.2 and Fig. 4b.
"""

from numbers import Integral
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from torch_utils.ops.reference import filtered_lrelu as reference
from torch_utils.ops.upfirdn2d import (
    Padding,
    check_filter,
    check_impl,
    filter_size,
    parse_padding,
)


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None = None,
    fd: Tensor | None = None,
    b: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    gain: float = np.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    impl: Literal["cuda", "ref"] = "cuda",
) -> Tensor:
    """Add a bias, upsample, apply a leaky ReLU and downsample; differentiable to any order.

    Args:
        x: Feature maps `[N, C, H, W]` of any floating-point type.
        fu: Float32 upsampling filter, `[taps]` (separable) or `[fh, fw]`; `None` is the identity.
        fd: Float32 downsampling filter, likewise.
        b: Bias `[C]` in the dtype of `x`, or `None`.
        up: Upsampling factor before the nonlinearity.
        down: Downsampling factor after it.
        padding: Pixels of the upsampled image to add: an integer, `[x, y]` or `[x0, x1, y0, y1]`.
            Negative values crop.
        gain: Factor applied together with the leaky ReLU.
        slope: Slope of the leaky ReLU below zero.
        clamp: Limit of the absolute value after the gain; `None` for no limit.
        flip_filter: False convolves with both filters, True correlates.
        impl: `"cuda"` stands for the best kernel there is, `"ref"` for the reference.

    Returns:
        Feature maps `[N, C, H', W']` in the dtype of `x`, where
        `W' = (W * up + x0 + x1 - fu_w - fd_w + 1) // down + 1`.

    Raises:
        ValueError: If an argument has the wrong rank, type or range, or nothing of the image is
            left.
    """
    check_impl("filtered_lrelu", impl)
    if x.ndim != 4:
        raise ValueError(f"filtered_lrelu: `x` must be [N, C, H, W], got {tuple(x.shape)}")
    if b is not None and b.shape != (x.shape[1],):
        raise ValueError(
            f"filtered_lrelu: bias {tuple(b.shape)} does not fit {x.shape[1]} channels"
        )
    for name, factor in (("up", up), ("down", down)):
        if not isinstance(factor, Integral) or factor < 1:
            raise ValueError(f"filtered_lrelu: `{name}` must be a positive integer, got {factor!r}")
    if clamp is not None and clamp < 0:
        raise ValueError(f"filtered_lrelu: `clamp` must not be negative, got {clamp}")
    identity = torch.ones([1, 1], device=x.device) if fu is None or fd is None else None
    fu = identity if fu is None else fu
    fd = identity if fd is None else fd
    check_filter("fu", fu)
    check_filter("fd", fd)
    x0, x1, y0, y1 = padding = parse_padding(padding)
    (fu_w, fu_h), (fd_w, fd_h) = filter_size(fu), filter_size(fd)
    inner_w = x.shape[3] * up + x0 + x1 - (fu_w - 1)  # size at the nonlinearity
    inner_h = x.shape[2] * up + y0 + y1 - (fu_h - 1)
    if inner_w < fd_w or inner_h < fd_h:
        raise ValueError(
            f"filtered_lrelu: {x.shape[3]}x{x.shape[2]} upsampled by {up} with padding {padding} "
            f"is too small for filters of {fu_w}x{fu_h} and {fd_w}x{fd_h} taps"
        )
    return reference.filtered_lrelu(
        x, fu, fd, b, int(up), int(down), padding, float(gain), float(slope), clamp, flip_filter
    )
