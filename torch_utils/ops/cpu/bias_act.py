"""Launches `bias_act.cpp`: scale, noise, bias, piecewise linear activation, gain and clamp."""

import ctypes
import math

import torch
from torch import Tensor

from torch_utils.ops.cpu import compiler
from torch_utils.ops.layout import channel_sizes, channels_format

KERNELS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


class BiasActArgs(ctypes.Structure):
    """The structure in `bias_act.h`."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("x", "dy", "y", "scale", "bias", "noise")],
        *[(name, ctypes.c_void_p) for name in ("dscale", "dbias", "dnoise")],
        *[(name, ctypes.c_int64) for name in ("n", "c", "s")],
        *[(name, ctypes.c_double) for name in ("floor", "slope", "gain", "clamp")],
        *[(name, ctypes.c_int32) for name in ("is_channels_last", "noise_has_samples")],
        *[(name, ctypes.c_int32) for name in ("is_output_saved", "scales_dx", "num_threads")],
    ]


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
    """The op; bias, scale and noise are in the dtype of the arithmetic."""
    memory_format = channels_format(x, dim)
    x = x.contiguous(memory_format=memory_format)
    y = torch.empty_like(x, memory_format=memory_format)
    _launch([x, None, y], [b, scale, noise], [None] * 3, dim, (act, alpha, gain, clamp))
    return y


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
    memory_format = channels_format(saved, dim)
    dy, saved = (t.contiguous(memory_format=memory_format) for t in (dy, saved))
    dx = torch.empty_like(saved, memory_format=memory_format)
    dtype = torch.float64 if saved.dtype == torch.float64 else torch.float32
    db = torch.zeros([saved.shape[dim]] if needs_b else [0], dtype=dtype)
    dscale = torch.zeros(saved.shape[:2] if needs_scale else [0], dtype=dtype)
    dnoise = torch.zeros([len(saved), 1, *saved.shape[2:]] if needs_noise else [0], dtype=dtype)
    sums = [t if t.numel() > 0 else None for t in (db, dscale, dnoise)]
    _launch(
        [saved, dy, dx],
        [b, scale, noise],
        sums,
        dim,
        (act, alpha, gain, clamp),
        is_output_saved=is_output_saved,
        scales_dx=scales_dx and scale is not None,
    )
    if needs_noise and dnoise.shape != noise.shape:
        dnoise = dnoise.sum(0, keepdim=True)
    return dx, db, dscale, dnoise


def _launch(
    images: list[Tensor | None],
    operands: list[Tensor | None],
    sums: list[Tensor | None],
    dim: int,
    settings: tuple[str, float, float, float | None],
    is_output_saved: bool = False,
    scales_dx: bool = False,
) -> None:
    """Run the kernel on `x, dy, y`, on bias, scale and noise, and on the gradients of these."""
    x = images[0]
    if x.numel() == 0:
        return
    b, scale, noise = operands
    act, alpha, gain, clamp = settings
    is_per_sample = scale is not None or noise is not None
    if is_per_sample or b is not None or sums[0] is not None:
        n, c, s, is_channels_last = channel_sizes(x, dim, is_per_sample)
    else:
        n, c, s, is_channels_last = 1, 1, x.numel(), True
    x, dy, y, b, scale, noise, db, dscale, dnoise = (
        None if t is None else t.data_ptr() for t in (*images, *operands, *sums)
    )
    args = BiasActArgs(
        *(x, dy, y, scale, b, noise, dscale, db, dnoise),
        *(n, c, s),
        0 if act == "relu" else -math.inf,
        {"linear": 1, "relu": 0, "lrelu": alpha}[act],
        gain,
        math.inf if clamp is None else clamp,
        is_channels_last,
        noise is not None and len(operands[2]) > 1,
        *(is_output_saved, scales_dx, torch.get_num_threads()),
    )
    getattr(compiler.library(), f"bias_act_{KERNELS[images[0].dtype]}")(ctypes.byref(args))
