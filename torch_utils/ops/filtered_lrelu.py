"""The alias-free nonlinearity: a leaky ReLU between upsampling and downsampling.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", Sec. 3.2 and Fig. 4b.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from torch_utils.ops.cpu import filtered_lrelu as cpu
from torch_utils.ops.cuda import filtered_lrelu as cuda
from torch_utils.ops.layout import output_format
from torch_utils.ops.reference import filtered_lrelu as reference
from torch_utils.ops.selection import has_kernels, wants_reference
from torch_utils.ops.upfirdn2d import (
    Padding,
    check_filter,
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
    scale: Tensor | None = None,
) -> Tensor:
    """Scale, add a bias, upsample, apply a leaky ReLU and downsample; differentiable to any order.

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
        scale: Factors `[N, C]` of `x`, applied before the bias; `None` for none. What demodulation
            does after a convolution costs nothing here.

    Returns:
        Feature maps `[N, C, H', W']` in the dtype of `x`, where
        `W' = (W * up + x0 + x1 - fu_w - fd_w + 1) // down + 1`.

    Raises:
        ValueError: If an argument has the wrong rank, type or range, or nothing of the image is
            left.
    """
    is_reference = wants_reference("filtered_lrelu", impl)
    if x.ndim != 4:
        raise ValueError(f"filtered_lrelu: `x` must be [N, C, H, W], got {tuple(x.shape)}")
    if b is not None and b.shape != (x.shape[1],):
        raise ValueError(
            f"filtered_lrelu: bias {tuple(b.shape)} does not fit {x.shape[1]} channels"
        )
    if scale is not None and scale.shape != x.shape[:2]:
        raise ValueError(
            f"filtered_lrelu: scale {tuple(scale.shape)} does not fit {tuple(x.shape[:2])}"
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
    up, down, gain, slope = int(up), int(down), float(gain), float(slope)
    # The kernel folds the gain into a filter, which needs it to be positive.
    if is_reference or gain <= 0 or not has_kernels(x, (fu, fd), (b, scale)):
        return reference.filtered_lrelu(
            x, fu, fd, b, up, down, padding, gain, slope, clamp, flip_filter, scale
        )
    needs_mask = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, b, scale)
    )
    y, _ = _filtered_lrelu(
        x,
        fu,
        fd,
        b,
        scale,
        up,
        down,
        padding,
        gain,
        slope,
        None if clamp is None else float(clamp),
        bool(flip_filter),
        needs_mask,
    )
    return y


@torch.library.custom_op("stylegan3::filtered_lrelu", mutates_args=())
def _filtered_lrelu(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    up: int,
    down: int,
    padding: Sequence[int],
    gain: float,
    slope: float,
    clamp: float | None,
    flip_filter: bool,
    write_mask: bool,
) -> tuple[Tensor, Tensor]:
    return _launch(
        cpu, x, fu, fd, b, scale, up, down, padding, gain, slope, clamp, flip_filter, write_mask
    )


@_filtered_lrelu.register_kernel("cuda")
def _filtered_lrelu_cuda(*args) -> tuple[Tensor, Tensor]:
    return _launch(cuda, *args)


def _launch(kernels, x, fu, fd, b, scale, up, down, padding, *settings) -> tuple[Tensor, Tensor]:
    *settings, write_mask = settings  # gain, slope, clamp, flip_filter
    tmp_w, tmp_h = _inner_size(x, fu, up, padding)
    shape = kernels.mask_shape(x, tmp_h, tmp_w) if write_mask else [0]
    mask = x.new_empty(shape, dtype=torch.uint8)
    y = kernels.filtered_lrelu(
        x, fu, fd, b, scale, up, down, padding, *settings, mask if write_mask else None
    )
    return y, mask


@_filtered_lrelu.register_fake
def _(x, fu, fd, b, scale, up, down, padding, gain, slope, clamp, flip_filter, write_mask):
    if x.device.type == "meta":
        return _filtered_lrelu_cuda(
            x, fu, fd, b, scale, up, down, padding, gain, slope, clamp, flip_filter, write_mask
        )
    tmp_w, tmp_h = _inner_size(x, fu, up, padding)
    fd_w, fd_h = filter_size(fd)
    shape = [*x.shape[:2], (tmp_h - fd_h) // down + 1, (tmp_w - fd_w) // down + 1]
    kernels = cuda if x.device.type == "cuda" else cpu
    mask_shape = kernels.mask_shape(x, tmp_h, tmp_w) if write_mask else [0]
    y = x.new_empty(shape).contiguous(memory_format=output_format(x))
    return y, x.new_empty(mask_shape, dtype=torch.uint8)


def _setup_lrelu(ctx, inputs, output) -> None:
    x, fu, fd, b, scale, *settings = inputs
    ctx.up, ctx.down, ctx.padding, ctx.gain, ctx.slope, _, ctx.flip, _ = settings
    ctx.in_size = x.shape[3], x.shape[2]
    ctx.has_bias = b is not None
    is_trained = scale is not None and ctx.needs_input_grad[4]
    ctx.save_for_backward(fu, fd, output[1], scale, x if is_trained else None)


def _backward_lrelu(ctx, dy: Tensor, _) -> tuple[Tensor | None, ...]:
    fu, fd, mask, scale, x = ctx.saved_tensors
    gain = ctx.gain * ctx.up**2
    dx = _adjoint(ctx, dy, fu, fd, mask, ctx.padding, (0, 0, 0, 0), gain)
    db = dx.sum([0, 2, 3]) if ctx.has_bias else None
    dscale = None if x is None else sum_of_products(dx, x)
    if scale is not None:
        factors = scale.to(dx.dtype)[:, :, None, None]
        # Nothing else needs the unscaled gradient, unless it is to be differentiated again.
        dx = dx * factors if torch.is_grad_enabled() else dx.mul_(factors)
    return dx, None, None, db, dscale, *[None] * 8


_filtered_lrelu.register_autograd(_backward_lrelu, setup_context=_setup_lrelu)


@torch.library.custom_op("stylegan3::filtered_mask", mutates_args=())
def _filtered_mask(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    mask: Tensor,
    up: int,
    down: int,
    padding: Sequence[int],
    mid_padding: Sequence[int],
    gain: float,
    slope: float,
    flip_filter: bool,
) -> Tensor:
    """Upsample, multiply by the derivative of the nonlinearity, pad and downsample; linear."""
    return cpu.filtered_mask(
        x, fu, fd, mask, up, down, padding, mid_padding, gain, slope, flip_filter
    )


_filtered_mask.register_kernel("cuda", cuda.filtered_mask)


@_filtered_mask.register_fake
def _(x, fu, fd, mask, up, down, padding, mid_padding, gain, slope, flip_filter):
    if x.device.type == "meta":
        return cuda.filtered_mask(
            x, fu, fd, mask, up, down, padding, mid_padding, gain, slope, flip_filter
        )
    tmp_w, tmp_h = _inner_size(x, fu, up, padding)
    fd_w, fd_h = filter_size(fd)
    x0, x1, y0, y1 = mid_padding
    shape = [(tmp_h + y0 + y1 - fd_h) // down + 1, (tmp_w + x0 + x1 - fd_w) // down + 1]
    return x.new_empty([*x.shape[:2], *shape]).contiguous(memory_format=output_format(x))


def _setup_mask(ctx, inputs, output) -> None:
    x, fu, fd, mask, ctx.up, ctx.down, ctx.padding, ctx.mid, ctx.gain, ctx.slope, ctx.flip = inputs
    ctx.in_size = x.shape[3], x.shape[2]
    ctx.save_for_backward(fu, fd, mask)


def _backward_mask(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
    fu, fd, mask = ctx.saved_tensors
    dx = _adjoint(ctx, dy, fu, fd, mask, ctx.padding, ctx.mid, ctx.gain)
    return dx, *[None] * 10


_filtered_mask.register_autograd(_backward_mask, setup_context=_setup_mask)


def _adjoint(ctx, dy, fu, fd, mask, padding, mid_padding, gain) -> Tensor:
    """The adjoint of `_filtered_mask`: the same with the roles of up and down swapped."""
    sizes = zip(
        ctx.in_size, (dy.shape[3], dy.shape[2]), filter_size(fu), filter_size(fd), strict=True
    )
    first_padding, second_padding = [], []
    for axis, (size_in, size_out, fu_taps, fd_taps) in enumerate(sizes):
        before, after = padding[2 * axis : 2 * axis + 2]
        tmp_size = size_in * ctx.up + before + after - (fu_taps - 1)
        mid = mid_padding[2 * axis]
        first_padding += [fd_taps - 1 - mid, tmp_size - size_out * ctx.down + mid]
        second_padding += [fu_taps - 1 - before, (size_in - 1) * ctx.up + 1 + before - tmp_size]
    return _filtered_mask(
        dy,
        fd,
        fu,
        mask,
        ctx.down,
        ctx.up,
        first_padding,
        second_padding,
        gain,
        ctx.slope,
        not ctx.flip,
    )


def sum_of_products(x: Tensor, y: Tensor) -> Tensor:
    """Sum of `x * y` `[N, C, H, W]` over the pixels, `[N, C]`, without the product in memory."""
    n, c, h, w = x.shape
    is_half = x.dtype in (torch.float16, torch.bfloat16)
    if x.is_contiguous() and y.is_contiguous() and not is_half:
        return torch.bmm(x.reshape(n * c, 1, h * w), y.reshape(n * c, h * w, 1)).reshape(n, c)
    return (x * y).sum([2, 3], dtype=torch.float32 if is_half else None)


def _inner_size(x: Tensor, fu: Tensor, up: int, padding: Sequence[int]) -> tuple[int, int]:
    """Width and height at the nonlinearity."""
    x0, x1, y0, y1 = padding
    fu_w, fu_h = filter_size(fu)
    return x.shape[3] * up + x0 + x1 - (fu_w - 1), x.shape[2] * up + y0 + y1 - (fu_h - 1)
