"""The alias-free nonlinearity: a leaky ReLU between upsampling and downsampling.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", Sec. 3.2 and Fig. 4b.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dnnlib import moved
from torch_utils.ops.arguments import as_operand
from torch_utils.ops.calls import FilteredLrelu, FilteredMask, Operands, call_of_op
from torch_utils.ops.cpu import filtered_lrelu as cpu
from torch_utils.ops.cuda import filtered_lrelu as cuda
from torch_utils.ops.cuda.recorder import stands_for_cuda
from torch_utils.ops.layout import arithmetic_dtype, output_format
from torch_utils.ops.reference import filtered_lrelu as reference
from torch_utils.ops.registration import call as call_op
from torch_utils.ops.registration import register
from torch_utils.ops.selection import has_kernels, wants_reference
from torch_utils.ops.upfirdn2d import (
    INTEGERS,
    Padding,
    check_filter,
    parse_padding,
    taps_of,
)

__getattr__ = moved.names_of(__name__)


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
        b: Bias `[C]`, or `None`; in the dtype of `x` or, for half precision, in float32.
        up: Upsampling factor before the nonlinearity.
        down: Downsampling factor after it.
        padding: Pixels of the upsampled image to add: an integer, `[x, y]` or `[x0, x1, y0, y1]`.
            Negative values crop.
        gain: Factor applied together with the leaky ReLU.
        slope: Slope of the leaky ReLU below zero.
        clamp: Limit of the absolute value after the gain; `None` for no limit.
        flip_filter: False convolves with both filters, True correlates.
        impl: `"cuda"` stands for the best kernel that exists, `"ref"` for the reference.
        scale: Factors `[N, C]` of `x`, applied before the bias; `None` for none. Demodulation after
            a convolution costs nothing here.

    Returns:
        Feature maps `[N, C, H', W']` in the dtype of `x`, where
        `W' = (W * up + x0 + x1 - fu_w - fd_w + 1) // down + 1`.

    Raises:
        ValueError: If an argument has the wrong rank, type or range, or the image is too small.
    """
    is_reference = wants_reference("filtered_lrelu", impl)
    identity = torch.ones([1, 1], device=x.device) if fu is None or fd is None else None
    fu = identity if fu is None else fu
    fd = identity if fd is None else fd
    assert fu is not None and fd is not None
    _check_operands(Operands(x, fu, fd, b, scale))
    call = _parse_settings(up, down, padding, gain, slope, clamp, flip_filter)
    _check_sizes(x, fu, fd, call)
    # The kernel folds the gain into a filter, which needs it to be positive.
    if is_reference or call.gain <= 0 or not has_kernels(x, (fu, fd), (b, scale)):
        return reference.filtered_lrelu(x, fu, fd, b, scale, call)
    dtype = arithmetic_dtype(x.dtype)
    b = None if b is None else as_operand(b, dtype)
    scale = None if scale is None else as_operand(scale, dtype)
    needs_mask = torch.is_grad_enabled() and (
        x.requires_grad
        or (b is not None and b.requires_grad)
        or (scale is not None and scale.requires_grad)
    )
    y, _ = call_op(_filtered_lrelu, x, fu, fd, b, scale, *call, needs_mask)
    return y


def _filtered_lrelu_cpu(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _launch(cpu, *arguments)


def _filtered_lrelu_cuda(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _launch(cuda, *arguments)


def _launch(kernels: ModuleType, *arguments: Any) -> tuple[Tensor, Tensor]:
    """The output, and the mask for the backward pass, which is empty if it is not needed."""
    (x, fu, fd, b, scale), call, write_mask = _split(arguments)
    if not write_mask:
        mask = x.new_empty(0, dtype=torch.uint8)
        return kernels.filtered_lrelu(Operands(x, fu, fd, b, scale), call), mask
    tmp_w, tmp_h = _inner_size(x, fu, call.up, call.padding)
    mask = x.new_empty(kernels.mask_shape(x, tmp_h, tmp_w), dtype=torch.uint8)
    return kernels.filtered_lrelu(Operands(x, fu, fd, b, scale, mask), call), mask


def _split(arguments: tuple) -> tuple[tuple, FilteredLrelu, bool]:
    """The tensors, the settings, and whether to write the mask, from the arguments of the op."""
    *settings, write_mask = arguments[5:]
    return arguments[:5], call_of_op(FilteredLrelu, settings), write_mask


def _filtered_lrelu_fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    x, fu, fd, *_ = arguments
    if stands_for_cuda(x.device):
        return _filtered_lrelu_cuda(*arguments)
    _, call, write_mask = _split(arguments)
    tmp_w, tmp_h = _inner_size(x, fu, call.up, call.padding)
    kernels = cuda if x.device.type == "cuda" else cpu
    mask_shape = kernels.mask_shape(x, tmp_h, tmp_w) if write_mask else [0]
    y = _fake_output(x, fd, tmp_w, tmp_h, call.down)
    return y, x.new_empty(mask_shape, dtype=torch.uint8)


def _fake_output(x: Tensor, fd: Tensor, width: int, height: int, down: int) -> Tensor:
    """The output for padded samples of a size at the nonlinearity."""
    fd_w, fd_h = taps_of(fd)
    shape = [*x.shape[:2], (height - fd_h) // down + 1, (width - fd_w) // down + 1]
    return x.new_empty(shape).contiguous(memory_format=output_format(x))


def _setup_lrelu(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    (x, fu, fd, _, scale), call, _ = _split(inputs)
    gain = call.gain * call.up**2
    ctx.call = FilteredMask(
        call.up, call.down, call.padding, (0, 0, 0, 0), gain, call.slope, call.flip_filter
    )
    ctx.in_size = x.shape[3], x.shape[2]
    ctx.set_materialize_grads(False)  # the mask would get one, of zeros
    is_trained = scale is not None and ctx.needs_input_grad[4]
    ctx.save_for_backward(fu, fd, output[1], scale, x if is_trained else None)


def _backward_lrelu(ctx: Any, dy: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None,) * 5
    fu, fd, mask, scale, x = ctx.saved_tensors
    needs_b = ctx.needs_input_grad[3]
    dx, db, dscale = _adjoint(ctx, dy, fu, fd, mask, scale, x, needs_b)
    return dx, None, None, db if needs_b else None, None if x is None else dscale


# The output, and the mask for the backward pass, which is empty if it is not needed.
_filtered_lrelu = register(
    "filtered_lrelu",
    "(Tensor x, Tensor fu, Tensor fd, Tensor? b, Tensor? scale, SymInt up, SymInt down, "
    "SymInt[] padding, float gain, float slope, float? clamp, bool flip_filter, bool write_mask) "
    "-> (Tensor, Tensor)",
    cpu=_filtered_lrelu_cpu,
    cuda=_filtered_lrelu_cuda,
    fake=_filtered_lrelu_fake,
    setup_context=_setup_lrelu,
    backward=_backward_lrelu,
)


def _filtered_mask_cpu(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return cpu.filtered_mask(*_split_mask(arguments))


def _filtered_mask_cuda(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return cuda.filtered_mask(*_split_mask(arguments))


def _split_mask(arguments: tuple) -> tuple[Operands, FilteredMask]:
    x, fu, fd, mask, scale, saved, *settings = arguments
    return Operands(x, fu, fd, None, scale, mask, saved), call_of_op(FilteredMask, settings)


def _filtered_mask_fake(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    operands, call = _split_mask(arguments)
    x, fu, fd, *_ = operands
    if stands_for_cuda(x.device):
        return _filtered_mask_cuda(*arguments)
    tmp_w, tmp_h = _inner_size(x, fu, call.up, call.padding)
    x0, x1, y0, y1 = call.mid_padding
    y = _fake_output(x, fd, tmp_w + x0 + x1, tmp_h + y0 + y1, call.down)
    dtype = arithmetic_dtype(x.dtype)
    sums, products = (x.new_empty(shape, dtype=dtype) for shape in call.shapes(operands))
    return y, sums, products


def _setup_mask(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    (x, fu, fd, _, scale, mask, saved), ctx.call = _split_mask(inputs)
    ctx.in_size, ctx.out_shape, ctx.dtype = (x.shape[3], x.shape[2]), output[0].shape, x.dtype
    ctx.set_materialize_grads(False)
    # The outputs are linear in `x`, which matters only as a factor of `scale` and `saved`.
    factor = None if scale is None and saved is None else x
    ctx.save_for_backward(factor, fu, fd, mask, scale, saved)


def _backward_mask(
    ctx: Any, dy: Tensor | None, dsums: Tensor | None, dproducts: Tensor | None
) -> tuple[Tensor | None, ...]:
    x, fu, fd, mask, scale, saved = ctx.saved_tensors
    parts = []  # what each of the outputs adds to the gradient of `v`
    if dy is not None:
        parts.append(dy if scale is None else dy * scale[:, :, None, None])
    if dsums is not None and ctx.call.needs_sums:
        parts.append(dsums[:, None, None])
    if dproducts is not None and saved is not None:
        parts.append(dproducts[:, :, None, None] * saved)
    if not parts:
        return (None,) * 6
    dv = torch.as_tensor(sum(parts)).to(ctx.dtype).expand(ctx.out_shape)
    dx, *_ = _adjoint(ctx, dv, fu, fd, mask)
    dscale = dsaved = None
    if x is not None:
        # `v * dproducts`, and the sums of `v * dy`.
        call = ctx.call._replace(needs_sums=False)
        factors = None if dproducts is None else dproducts.contiguous()
        dsaved, _, dscale = call_op(_filtered_mask, x, fu, fd, mask, factors, dy, *call)
        dsaved = None if dproducts is None or saved is None else dsaved
        dscale = None if dy is None or scale is None else dscale
    return dx, None, None, None, dscale, dsaved


# Upsample, multiply by the derivative of the nonlinearity, pad and downsample; linear in `x`.
#
# With `v` the result for each pixel, the outputs are `v * scale`, the sums of `v`, `[C]`, and those
# of `v * saved`, `[N, C]`; sums are empty where they are not needed.
_filtered_mask = register(
    "filtered_mask",
    "(Tensor x, Tensor fu, Tensor fd, Tensor mask, Tensor? scale, Tensor? saved, SymInt up, "
    "SymInt down, SymInt[] padding, SymInt[] mid_padding, float gain, float slope, "
    "bool flip_filter, bool needs_sums) -> (Tensor, Tensor, Tensor)",
    cpu=_filtered_mask_cpu,
    cuda=_filtered_mask_cuda,
    fake=_filtered_mask_fake,
    setup_context=_setup_mask,
    backward=_backward_mask,
)


def _adjoint(
    ctx: Any,
    dy: Tensor,
    fu: Tensor,
    fd: Tensor,
    mask: Tensor,
    scale: Tensor | None = None,
    saved: Tensor | None = None,
    needs_sums: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The adjoint of `ctx.call`: the same with the roles of up and down swapped."""
    up, down, padding, mid_padding, gain, slope, flip_filter, _ = ctx.call
    (in_w, in_h), (*_, out_h, out_w) = ctx.in_size, dy.shape
    (fu_w, fu_h), (fd_w, fd_h) = taps_of(fu), taps_of(fd)
    (x0, x1, y0, y1), (mid_x, _, mid_y, _) = padding, mid_padding
    tmp_w, tmp_h = in_w * up + x0 + x1 - (fu_w - 1), in_h * up + y0 + y1 - (fu_h - 1)
    first_padding = [
        *(fd_w - 1 - mid_x, tmp_w - out_w * down + mid_x),
        *(fd_h - 1 - mid_y, tmp_h - out_h * down + mid_y),
    ]
    second_padding = [
        *(fu_w - 1 - x0, (in_w - 1) * up + 1 + x0 - tmp_w),
        *(fu_h - 1 - y0, (in_h - 1) * up + 1 + y0 - tmp_h),
    ]
    call = down, up, first_padding, second_padding, gain, slope, not flip_filter, needs_sums
    return call_op(_filtered_mask, dy, fd, fu, mask, scale, saved, *call)


def _inner_size(x: Tensor, fu: Tensor, up: int, padding: Sequence[int]) -> tuple[int, int]:
    """Width and height at the nonlinearity."""
    x0, x1, y0, y1 = padding
    (fu_w, fu_h), (*_, in_h, in_w) = taps_of(fu), x.shape
    return in_w * up + x0 + x1 - (fu_w - 1), in_h * up + y0 + y1 - (fu_h - 1)


def _check_operands(operands: Operands) -> None:
    """Refuse tensors that do not fit one another."""
    x, fu, fd, b, scale, *_ = operands
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
    check_filter("fu", fu)
    check_filter("fd", fd)


def _parse_settings(
    up: int,
    down: int,
    padding: Padding,
    gain: float,
    slope: float,
    clamp: float | None,
    flip_filter: bool,
) -> FilteredLrelu:
    for name, factor in (("up", up), ("down", down)):
        if not isinstance(factor, INTEGERS) or factor < 1:
            raise ValueError(f"filtered_lrelu: `{name}` must be a positive integer, got {factor!r}")
    if clamp is not None and clamp < 0:
        raise ValueError(f"filtered_lrelu: `clamp` must not be negative, got {clamp}")
    clamp = None if clamp is None else float(clamp)
    settings = parse_padding(padding), float(gain), float(slope), clamp, bool(flip_filter)
    return FilteredLrelu(int(up), int(down), *settings)


def _check_sizes(x: Tensor, fu: Tensor, fd: Tensor, call: FilteredLrelu) -> None:
    """Refuse images that are smaller at the nonlinearity than the downsampling filter."""
    inner_w, inner_h = _inner_size(x, fu, call.up, call.padding)
    fd_w, fd_h = taps_of(fd)
    if inner_w < fd_w or inner_h < fd_h:
        fu_w, fu_h = taps_of(fu)
        raise ValueError(
            f"filtered_lrelu: {x.shape[3]}x{x.shape[2]} upsampled by {call.up} with padding "
            f"{call.padding} is too small for filters of {fu_w}x{fu_h} and {fd_w}x{fd_h} taps"
        )
