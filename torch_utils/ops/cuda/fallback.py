"""The ops in plain PyTorch, for GPUs for which a kernel cannot be built.

Inputs and outputs equal those of the kernels, including layouts and the mask of `filtered_lrelu`:
each part of a forward and backward pass may use either implementation.
"""

import torch
from torch import Tensor

from torch_utils.ops.calls import BiasAct, BiasActGrad, Operands, UpFirDn
from torch_utils.ops.cuda.filtered_lrelu_plan import READ_MASK, WRITE_MASK, Call
from torch_utils.ops.layout import arithmetic_dtype, channels_format, output_format
from torch_utils.ops.reference import bias_act as bias_act_reference
from torch_utils.ops.reference import upfirdn2d as upfirdn2d_reference
from torch_utils.ops.sums import sum_of_products


def upfirdn2d(x: Tensor, f: Tensor, call: UpFirDn) -> Tensor:
    """The op."""
    y = upfirdn2d_reference.upfirdn2d(x, f, call)
    return y.contiguous(memory_format=output_format(x))


def filtered_lrelu(call: Call, operands: Operands) -> Tensor:
    """The op, or its masked, linear form without scale and sums."""
    x, fu, fd, b, scale, mask, _ = operands
    v = x if call.mode == READ_MASK else bias_act_reference.bias_act(x, BiasAct(b, scale))
    upsampling = UpFirDn((call.up, call.up), (1, 1), call.padding, call.flip_filter, call.gain)
    v = upfirdn2d_reference.upfirdn2d(v, fu, upsampling)
    if call.mode == READ_MASK:
        assert mask is not None
        is_negative, is_clamped = _unpack(mask, v.shape[3])
        v = torch.where(is_negative, v * call.slope, v).masked_fill(is_clamped, 0)
    else:
        is_negative = ~(v > 0)
        v = torch.where(is_negative, v * call.slope, v)
        if call.mode == WRITE_MASK:
            assert mask is not None
            mask.copy_(_pack(is_negative, v.abs() > call.clamp))
        v = v.clamp(-call.clamp, call.clamp)
    downsampling = UpFirDn((1, 1), (call.down, call.down), call.mid_padding, call.flip_filter)
    y = upfirdn2d_reference.upfirdn2d(v, fd, downsampling)
    return y.contiguous(memory_format=output_format(x))


def scale_and_sum(
    v: Tensor, operands: Operands, needs_sums: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What the masked, linear form does with its result: scaled output, sums, sums of products."""
    scale, saved = operands.scale, operands.saved
    sums = v.sum([0, 2, 3], dtype=arithmetic_dtype(v.dtype)) if needs_sums else None
    products = None if saved is None else sum_of_products(v, saved)
    return v if scale is None else v.mul_(scale[:, :, None, None]), sums, products


def _pack(is_negative: Tensor, is_clamped: Tensor) -> Tensor:
    """Pack the mask of samples in the layout of `filtered_lrelu.cu`: 4 samples per byte."""
    n, c, h, w = is_negative.shape
    bits = is_negative.to(torch.uint8) + 2 * is_clamped.to(torch.uint8)
    bits = torch.nn.functional.pad(bits, [0, -w % 16]).reshape(n, c, h, -1, 4, 4)
    mask = bits[..., 0] + 4 * bits[..., 1] + 16 * bits[..., 2] + 64 * bits[..., 3]
    return mask.transpose(2, 3)


def _unpack(mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Masks of the samples that are not positive, and that are clamped; `[N, C, H, width]`."""
    bits = torch.arange(0, 8, 2, device=mask.device)
    codes = (mask.transpose(2, 3)[..., None] >> bits).flatten(3)[..., :width]
    return (codes & 1).bool(), (codes & 2).bool()


def bias_act(x: Tensor, call: BiasAct) -> Tensor:
    """The op."""
    y = bias_act_reference.bias_act(x, call)
    y = y.clone() if y is x else y  # an op must not return its input
    return y.contiguous(memory_format=channels_format(x, call.dim))


def bias_act_grad(
    dy: Tensor, saved: Tensor, call: BiasAct, wanted: BiasActGrad
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `x`, `b`, `scale` and `noise`; empty where they are not needed."""
    _, scale, noise, dim, act, alpha, gain, clamp = call
    value = saved.to(arithmetic_dtype(saved.dtype))
    is_clamped = None
    if wanted.is_output_saved:
        is_positive = value > 0
        if clamp is not None:  # clamped outputs equal the rounded limit
            is_clamped = value.abs() >= torch.tensor(clamp, dtype=saved.dtype).item()
    else:
        v = bias_act_reference.bias_act(value, BiasAct(call.b, scale, noise, dim))
        is_positive = v > 0
        if clamp is not None:
            activation = BiasAct(dim=dim, act=act, alpha=alpha, gain=gain)
            is_clamped = bias_act_reference.bias_act(v, activation).abs() > clamp
    dv = dy.to(value.dtype) * gain
    dv = torch.where(is_positive, dv, dv * call.slope)
    if is_clamped is not None:
        dv = dv.masked_fill(is_clamped, 0)
    dx = dv * scale[:, :, None, None] if wanted.scales_dx and scale is not None else dv
    db, dscale, dnoise = (value.new_empty([0]) for _ in range(3))
    if wanted.needs_b:
        db = dv.transpose(0, dim).reshape(dv.shape[dim], -1).sum(1)
    if wanted.needs_scale:
        dscale = (dv * value).sum([2, 3])
    if wanted.needs_noise:
        assert noise is not None
        dnoise = dv.sum_to_size(noise.shape).clone()
    dx = dx.to(saved.dtype).contiguous(memory_format=channels_format(saved, dim))
    return dx, db, dscale, dnoise
