"""Launches `bias_act.cpp`: scale, noise, bias, piecewise linear activation, gain and clamp."""

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torch_utils.ops.arguments import address, fields
from torch_utils.ops.calls import BiasAct, BiasActGrad
from torch_utils.ops.cpu import compiler
from torch_utils.ops.layout import arithmetic_dtype, channel_sizes, channels_format

KERNELS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
NO_GRADIENTS = BiasActGrad(is_output_saved=False)


class BiasActArgs(ctypes.Structure):
    """The structure in `bias_act.h`."""

    _fields_ = [
        *fields(ctypes.c_void_p, "x dy y scale bias noise dscale dbias dnoise"),
        *fields(ctypes.c_int64, "n c s"),
        *fields(ctypes.c_double, "floor slope gain clamp"),
        *fields(ctypes.c_int32, "is_channels_last noise_has_samples"),
        *fields(ctypes.c_int32, "is_output_saved scales_dx num_threads"),
    ]


def bias_act(x: Tensor, call: BiasAct) -> Tensor:
    """The op; bias, scale and noise are in the dtype of the arithmetic."""
    memory_format = channels_format(x, call.dim)
    x = x.contiguous(memory_format=memory_format)
    y = torch.empty_like(x, memory_format=memory_format)
    _launch(call, x, None, y)
    return y


def bias_act_grad(
    dy: Tensor, saved: Tensor, call: BiasAct, wanted: BiasActGrad
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `x`, `b`, `scale` and `noise`; empty where they are not needed."""
    memory_format = channels_format(saved, call.dim)
    dy, saved = (t.contiguous(memory_format=memory_format) for t in (dy, saved))
    dx = torch.empty_like(saved, memory_format=memory_format)
    b_shape, scale_shape, noise_shape = wanted.shapes(saved, call)
    if wanted.needs_noise:  # the kernel keeps samples apart
        noise_shape = [len(saved), *noise_shape[1:]]
    dtype = arithmetic_dtype(saved.dtype)
    db, dscale, dnoise = (
        torch.zeros(shape, dtype=dtype) for shape in (b_shape, scale_shape, noise_shape)
    )
    sums = [t if t.numel() > 0 else None for t in (db, dscale, dnoise)]
    _launch(call, saved, dy, dx, sums, wanted)
    if wanted.needs_noise and call.noise is not None and dnoise.shape != call.noise.shape:
        dnoise = dnoise.sum(0, keepdim=True)
    return dx, db, dscale, dnoise


def _launch(
    call: BiasAct,
    x: Tensor,
    dy: Tensor | None,
    y: Tensor,
    sums: Sequence[Tensor | None] = (None, None, None),
    wanted: BiasActGrad = NO_GRADIENTS,
) -> None:
    """Run the kernel. Given `dy`, `y` is the gradient of `x`; `sums` are those of the operands."""
    if x.numel() == 0:
        return
    is_per_sample = call.is_per_sample
    if is_per_sample or call.b is not None or wanted.needs_b:
        n, c, s, is_channels_last = channel_sizes(x, call.dim, is_per_sample)
    else:
        n, c, s, is_channels_last = 1, 1, x.numel(), True
    db, dscale, dnoise = sums
    args = BiasActArgs(
        *map(address, (x, dy, y, call.scale, call.b, call.noise, dscale, db, dnoise)),
        *(n, c, s),
        0 if call.act == "relu" else -math.inf,
        call.slope,
        call.gain,
        math.inf if call.clamp is None else call.clamp,
        is_channels_last,
        call.noise is not None and len(call.noise) > 1,
        wanted.is_output_saved,
        wanted.scales_dx and call.scale is not None,
        torch.get_num_threads(),
    )
    compiler.kernel(f"bias_act_{KERNELS[x.dtype]}")(ctypes.byref(args))
