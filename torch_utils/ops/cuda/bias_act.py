"""Launches `bias_act.cu`: scale, noise, bias, piecewise linear activation, gain and clamp."""

import ctypes
import functools
import math
from ctypes import c_void_p

import torch
from torch import Tensor

from torch_utils.ops.cuda import compiler, fallback
from torch_utils.ops.layout import channel_sizes, channels_format

SOURCE = "bias_act.cu"
THREADS, TILE_ROWS = 256, 64  # as in bias_act.cu
NAMES = {
    torch.float16: "__half",
    torch.bfloat16: "__nv_bfloat16",
    torch.float32: "float",
    torch.float64: "double",
}


@functools.cache
def _structure(number: type) -> type[ctypes.Structure]:
    """`BiasAct<Number>` of `bias_act.cu`."""

    class BiasAct(ctypes.Structure):
        _fields_ = [
            *[(name, c_void_p) for name in ("scale", "bias", "noise")],
            *[(name, number) for name in ("floor", "slope", "gain", "clamp", "saved_clamp")],
            ("noise_has_samples", ctypes.c_int32),
            *[(name, ctypes.c_int64) for name in ("samples", "channels", "pixels")],
        ]

    return BiasAct


class Gradient(ctypes.Structure):
    """The structure in `bias_act.cu`."""

    _fields_ = [
        *[(name, c_void_p) for name in ("saved", "dy", "dx", "row_sums", "row_products")],
        *[(name, c_void_p) for name in ("column_sums", "column_products")],
        *[(name, ctypes.c_int32) for name in ("is_output_saved", "scales_dx")],
        *[(name, ctypes.c_int64) for name in ("row_tiles", "column_tiles")],
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
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
    if x.numel() == 0:
        return y
    sizes, is_channels_last = _sizes(x, dim, scale, noise)
    columns = sizes[1] if is_channels_last else sizes[2]
    vec = _vector_size(columns, x, y)
    name = _specialisation("bias_act", x, vec, is_channels_last)
    args = _arguments(x, b, scale, noise, sizes, act, alpha, gain, clamp)
    grid = (_ceil_div(x.numel() // vec, THREADS), 1, 1)
    pointers = c_void_p(x.data_ptr()), c_void_p(y.data_ptr())
    try:
        compiler.launch(SOURCE, name, x.device, grid, (THREADS, 1, 1), (*pointers, args))
    except compiler.BuildError:
        return fallback.bias_act(x, b, scale, noise, dim, act, alpha, gain, clamp)
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
    dx = torch.empty(
        saved.shape, dtype=saved.dtype, device=saved.device, memory_format=memory_format
    )
    dtype = torch.float64 if saved.dtype == torch.float64 else torch.float32
    if dx.numel() == 0:
        shapes = (
            [saved.shape[dim]] if needs_b else [0],
            saved.shape[:2] if needs_scale else [0],
            noise.shape if needs_noise else [0],
        )
        return dx, *(torch.zeros(shape, dtype=dtype, device=saved.device) for shape in shapes)
    (n, c, s), is_channels_last = _sizes(saved, dim, scale, noise)
    rows, columns = (s, c) if is_channels_last else (c, s)
    vec = _vector_size(columns, saved, dy, dx)
    row_tiles, column_tiles = _ceil_div(rows, TILE_ROWS), _ceil_div(columns, 32 * vec)
    # What the blocks sum up: over pixels for bias and scale, over channels for the noise.
    shapes = [n, column_tiles, rows], [n, row_tiles, columns]
    by_channel, by_pixel = reversed(shapes) if is_channels_last else shapes
    db, dscale, dnoise = (
        torch.empty(shape if is_needed else [0], dtype=dtype, device=saved.device)
        for shape, is_needed in (
            (by_channel, needs_b),
            (by_channel, needs_scale),
            (by_pixel, needs_noise),
        )
    )
    sums = [db, dscale, dnoise, None] if not is_channels_last else [dnoise, None, db, dscale]
    args = _arguments(saved, b, scale, noise, (n, c, s), act, alpha, gain, clamp)
    gradient = Gradient(
        *map(_pointer, (saved, dy, dx, *sums)),
        *(is_output_saved, scales_dx, row_tiles, column_tiles),
    )
    name = _specialisation("bias_act_gradient", saved, vec, is_channels_last)
    grid = (n * row_tiles * column_tiles, 1, 1)
    try:
        compiler.launch(SOURCE, name, saved.device, grid, (THREADS, 1, 1), (args, gradient))
    except compiler.BuildError:
        flags = is_output_saved, scales_dx, needs_b, needs_scale, needs_noise
        settings = dim, act, alpha, gain, clamp
        return fallback.bias_act_grad(dy, saved, b, scale, noise, *settings, *flags)
    if needs_b:
        db = db.sum([0, 1])
    if needs_scale:
        dscale = dscale.sum(1)
    if needs_noise:
        dnoise = dnoise.sum([0, 1] if noise.shape[0] == 1 else 1).reshape(noise.shape)
    return dx, db, dscale, dnoise


def _sizes(
    x: Tensor, dim: int, scale: Tensor | None, noise: Tensor | None
) -> tuple[tuple[int, int, int], bool]:
    *sizes, is_channels_last = channel_sizes(x, dim, scale is not None or noise is not None)
    return tuple(sizes), is_channels_last


def _vector_size(columns: int, *images: Tensor) -> int:
    """Number of elements in the largest aligned piece of a row, of 16 bytes at most."""
    size = images[0].element_size()
    vec = 16 // size
    while columns % vec != 0 or any(t.data_ptr() % (vec * size) != 0 for t in images):
        vec //= 2
    return vec


def _specialisation(kernel: str, x: Tensor, vec: int, is_channels_last: bool) -> str:
    """C++ name of a kernel with its template arguments."""
    # Indices go a little beyond the images, to the end of the last block.
    index = "int" if x.numel() + 32 * THREADS * vec < 2**31 else "long long"
    return f"{kernel}<{NAMES[x.dtype]}, {index}, {vec}, {str(is_channels_last).lower()}>"


def _arguments(
    x: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    sizes: tuple[int, int, int],
    act: str,
    alpha: float,
    gain: float,
    clamp: float | None,
) -> ctypes.Structure:
    number = ctypes.c_double if x.dtype == torch.float64 else ctypes.c_float
    # Limits of half precision are rounded as the outputs are that they are compared with.
    saved_clamp = math.nan if clamp is None else torch.tensor(clamp, dtype=x.dtype).item()
    return _structure(number)(
        *map(_pointer, (scale, b, noise)),
        0 if act == "relu" else -math.inf,
        {"linear": 1, "relu": 0, "lrelu": alpha}[act],
        gain,
        math.inf if clamp is None else clamp,
        saved_clamp,
        noise is not None and noise.shape[0] > 1,
        *sizes,
    )


def _pointer(t: Tensor | None) -> int | None:
    return None if t is None or t.numel() == 0 else t.data_ptr()


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
