"""Launches `bias_act.cu`: scale, noise, bias, piecewise linear activation, gain and clamp."""

import ctypes
import functools
import math
from ctypes import c_void_p
from typing import Any

import torch
from torch import Tensor

from dnnlib import moved
from torch_utils.ops.arguments import address, fields
from torch_utils.ops.calls import BiasAct, BiasActGrad
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import fallback, launcher
from torch_utils.ops.cuda.cpp_types import CPP_TYPES
from torch_utils.ops.layout import arithmetic_dtype, channel_sizes, channels_format

SOURCE = "bias_act.cu"
THREADS, TILE_ROWS = 256, 64  # as in bias_act.cu

__getattr__ = moved.names_of(__name__)


@functools.cache
def _structure(number: type) -> type[ctypes.Structure]:
    """`BiasAct<Number>` of `bias_act.cu`."""

    class BiasAct(ctypes.Structure):
        _fields_ = [
            *fields(c_void_p, "scale bias noise"),
            *fields(number, "floor slope gain clamp saved_clamp"),
            *fields(ctypes.c_int32, "noise_has_samples"),
            *fields(ctypes.c_int64, "samples channels pixels"),
        ]

    return BiasAct


class Gradient(ctypes.Structure):
    """The structure in `bias_act.cu`."""

    _fields_ = [
        *fields(c_void_p, "saved dy dx row_sums row_products column_sums column_products"),
        *fields(ctypes.c_int32, "is_output_saved scales_dx"),
        *fields(ctypes.c_int64, "row_tiles column_tiles"),
    ]


def bias_act(x: Tensor, call: BiasAct) -> Tensor:
    """Run the op; bias, scale and noise have the dtype of the arithmetic."""
    memory_format = channels_format(x, call.dim)
    x = x.contiguous(memory_format=memory_format)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
    if x.numel() == 0:
        return y
    n, c, s, is_channels_last = channel_sizes(x, call.dim, call.is_per_sample)
    vec = _vector_size(c if is_channels_last else s, x, y)
    name = _specialisation("bias_act", x, vec, is_channels_last)
    grid = (_ceil_div(x.numel() // vec, THREADS), 1, 1)
    args = c_void_p(x.data_ptr()), c_void_p(y.data_ptr()), _arguments(x, call, (n, c, s))
    try:
        launcher.launch(SOURCE, name, x.device, grid, (THREADS, 1, 1), args)
    except BuildError:
        return fallback.bias_act(x, call)
    return y


def bias_act_grad(
    dy: Tensor, saved: Tensor, call: BiasAct, wanted: BiasActGrad
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `x`, `b`, `scale` and `noise`; empty where they are not needed."""
    memory_format = channels_format(saved, call.dim)
    dy, saved = (t.contiguous(memory_format=memory_format) for t in (dy, saved))
    dx = torch.empty(
        saved.shape, dtype=saved.dtype, device=saved.device, memory_format=memory_format
    )
    options: dict[str, Any] = dict(dtype=arithmetic_dtype(saved.dtype), device=saved.device)
    if dx.numel() == 0:
        db, dscale, dnoise = (torch.zeros(shape, **options) for shape in wanted.shapes(saved, call))
        return dx, db, dscale, dnoise
    n, c, s, is_channels_last = channel_sizes(saved, call.dim, call.is_per_sample)
    rows, columns = (s, c) if is_channels_last else (c, s)
    vec = _vector_size(columns, saved, dy, dx)
    row_tiles, column_tiles = _ceil_div(rows, TILE_ROWS), _ceil_div(columns, 32 * vec)
    # Each block sums up its tile: over pixels for bias and scale, over channels for the noise.
    of_rows, of_columns = [n, column_tiles, rows], [n, row_tiles, columns]
    by_channel, by_pixel = (of_columns, of_rows) if is_channels_last else (of_rows, of_columns)
    db = torch.empty(by_channel if wanted.needs_b else [0], **options)
    dscale = torch.empty(by_channel if wanted.needs_scale else [0], **options)
    dnoise = torch.empty(by_pixel if wanted.needs_noise else [0], **options)
    sums = (dnoise, None, db, dscale) if is_channels_last else (db, dscale, dnoise, None)
    gradient = Gradient(
        *map(_pointer, (saved, dy, dx, *sums)),
        *(wanted.is_output_saved, wanted.scales_dx, row_tiles, column_tiles),
    )
    args = _arguments(saved, call, (n, c, s)), gradient
    name = _specialisation("bias_act_gradient", saved, vec, is_channels_last)
    grid = (n * row_tiles * column_tiles, 1, 1)
    try:
        launcher.launch(SOURCE, name, saved.device, grid, (THREADS, 1, 1), args)
    except BuildError:
        return fallback.bias_act_grad(dy, saved, call, wanted)
    return dx, *_add_tiles(db, dscale, dnoise, call, wanted)


def _add_tiles(
    db: Tensor, dscale: Tensor, dnoise: Tensor, call: BiasAct, wanted: BiasActGrad
) -> tuple[Tensor, Tensor, Tensor]:
    """Add up the sums of the blocks, `[N, tiles, channels]` or, for the noise, `pixels`."""
    if wanted.needs_b:
        db = db.sum([0, 1])
    if wanted.needs_scale:
        dscale = dscale.sum(1)
    if wanted.needs_noise:
        assert call.noise is not None
        shape = call.noise.shape
        dnoise = dnoise.sum([0, 1] if shape[0] == 1 else 1).reshape(shape)
    return db, dscale, dnoise


def _vector_size(columns: int, *images: Tensor) -> int:
    """Elements that a thread takes at a time: at most 16 bytes, aligned in all rows."""
    size = images[0].element_size()
    vec = 16 // size
    while columns % vec != 0 or any(t.data_ptr() % (vec * size) != 0 for t in images):
        vec //= 2
    return vec


def _specialisation(kernel: str, x: Tensor, vec: int, is_channels_last: bool) -> str:
    """C++ name of a kernel with its template arguments."""
    # Indices run past the images to the end of the last block.
    index = "int" if x.numel() + 32 * THREADS * vec < 2**31 else "long long"
    return f"{kernel}<{CPP_TYPES[x.dtype]}, {index}, {vec}, {str(is_channels_last).lower()}>"


def _arguments(x: Tensor, call: BiasAct, sizes: tuple[int, int, int]) -> ctypes.Structure:
    """`BiasAct<Number>`; `sizes` are samples, channels and pixels."""
    number = ctypes.c_double if x.dtype == torch.float64 else ctypes.c_float
    clamp = call.clamp
    # In half precision, outputs are compared with the rounded limit.
    saved_clamp = math.nan if clamp is None else torch.tensor(clamp, dtype=x.dtype).item()
    return _structure(number)(
        *map(_pointer, (call.scale, call.b, call.noise)),
        0 if call.act == "relu" else -math.inf,
        call.slope,
        call.gain,
        math.inf if clamp is None else clamp,
        saved_clamp,
        call.noise is not None and call.noise.shape[0] > 1,
        *sizes,
    )


def _pointer(t: Tensor | None) -> int | None:
    return None if t is None or t.numel() == 0 else address(t)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
