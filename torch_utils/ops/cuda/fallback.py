"""What the launchers do in plain PyTorch where a kernel cannot be built for a GPU.

The contract is that of the kernels, layouts and the mask of `filtered_lrelu` included: any part of
a forward and a backward pass may use either.
"""

import torch
from torch import Tensor

from torch_utils.ops.cuda.filtered_lrelu_plan import READ_MASK, WRITE_MASK, Call
from torch_utils.ops.layout import channels_format, output_format
from torch_utils.ops.reference import bias_act as bias_act_reference
from torch_utils.ops.reference import upfirdn2d as upfirdn2d_reference


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: list[int],
    down: list[int],
    padding: list[int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    """The op."""
    settings = tuple(up), tuple(down), tuple(padding), flip_filter, gain
    y = upfirdn2d_reference.upfirdn2d(x, f, *settings)
    return y.contiguous(memory_format=output_format(x))


def filtered_lrelu(
    call: Call,
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """The op, or its masked, linear form."""
    v = bias_act_reference.bias_act(x, b, 1, "linear", 0.0, 1.0, None, scale)
    factors, flip = ((call.up, call.up), (1, 1)), call.flip_filter
    v = upfirdn2d_reference.upfirdn2d(v, fu, *factors, call.padding, flip, call.gain)
    if call.mode == READ_MASK:
        is_negative, is_clamped = _unpack(mask, v.shape[3])
        v = torch.where(is_negative, v * call.slope, v).masked_fill(is_clamped, 0)
    else:
        is_negative = ~(v > 0)
        v = torch.where(is_negative, v * call.slope, v)
        if call.mode == WRITE_MASK:
            mask.copy_(_pack(is_negative, v.abs() > call.clamp))
        v = v.clamp(-call.clamp, call.clamp)
    factors = (1, 1), (call.down, call.down)
    y = upfirdn2d_reference.upfirdn2d(v, fd, *factors, call.mid_padding, flip, 1.0)
    return y.contiguous(memory_format=output_format(x))


def _pack(is_negative: Tensor, is_clamped: Tensor) -> Tensor:
    """The mask of samples, in the layout of `filtered_lrelu.cu`: 4 samples to a byte."""
    n, c, h, w = is_negative.shape
    bits = is_negative.to(torch.uint8) + 2 * is_clamped.to(torch.uint8)
    bits = torch.nn.functional.pad(bits, [0, -w % 16]).reshape(n, c, h, -1, 4, 4)
    mask = bits[..., 0] + 4 * bits[..., 1] + 16 * bits[..., 2] + 64 * bits[..., 3]
    return mask.transpose(2, 3)


def _unpack(mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Which samples are not positive, and which are clamped; `[N, C, H, width]`."""
    bits = torch.arange(0, 8, 2, device=mask.device)
    codes = (mask.transpose(2, 3)[..., None] >> bits).flatten(3)[..., :width]
    return (codes & 1).bool(), (codes & 2).bool()


def bias_act(
    x: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    dim: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float | None,
) -> Tensor:
    """The op."""
    y = bias_act_reference.bias_act(x, b, dim, act, alpha, gain, clamp, scale, noise)
    y = y.clone() if y is x else y  # ops do not return what they were given
    return y.contiguous(memory_format=channels_format(x, dim))


def bias_act_grad(
    dy: Tensor,
    saved: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    dim: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float | None,
    is_output_saved: bool,
    scales_dx: bool,
    needs_b: bool,
    needs_scale: bool,
    needs_noise: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradient op: those of `x`, `b`, `scale` and `noise`, empty where not needed."""
    value = saved.to(torch.float64 if saved.dtype == torch.float64 else torch.float32)
    if is_output_saved:
        is_positive = value > 0
        # Outputs are at the limit as their type rounds it.
        limit = None if clamp is None else torch.tensor(clamp, dtype=saved.dtype).item()
        is_clamped = None if clamp is None else value.abs() >= limit
    else:
        operands = dict(scale=scale, noise=noise)
        v = bias_act_reference.bias_act(value, b, dim, "linear", 0.0, 1.0, None, **operands)
        is_positive = v > 0
        y = bias_act_reference.bias_act(v, None, dim, act, alpha, gain, None)
        is_clamped = None if clamp is None else y.abs() > clamp
    slope = {"linear": 1, "relu": 0, "lrelu": alpha}[act]
    dv = dy.to(value.dtype) * gain
    dv = torch.where(is_positive, dv, dv * slope)
    if is_clamped is not None:
        dv = dv.masked_fill(is_clamped, 0)
    dx = dv * scale[:, :, None, None] if scales_dx and scale is not None else dv
    none = value.new_empty([0])
    return (
        dx.to(saved.dtype).contiguous(memory_format=channels_format(saved, dim)),
        dv.transpose(0, dim).reshape(dv.shape[dim], -1).sum(1) if needs_b else none,
        (dv * value).sum([2, 3]) if needs_scale else none.clone(),
        dv.sum_to_size(noise.shape).clone() if needs_noise else none.clone(),
    )
