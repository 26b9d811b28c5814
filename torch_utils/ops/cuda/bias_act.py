"""Launches `bias_act.cu`: scale, noise, bias, piecewise linear activation, gain and clamp."""

import ctypes
import functools
import math
from ctypes import c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dnnlib import moved
from torch_utils.ops.arguments import fields
from torch_utils.ops.calls import BiasAct, BiasActGrad
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import fallback, launcher
from torch_utils.ops.cuda.cpp_types import CPP_TYPES
from torch_utils.ops.layout import arithmetic_dtype, channel_sizes, channels_format

SOURCE = "bias_act.cu"
THREADS, TILE_ROWS = 256, 64  # as in bias_act.cu
BLOCK = (THREADS, 1, 1)
NOTHING = (0,)  # the shape of a gradient that is not needed

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


class Plan(NamedTuple):
    """A launch for images of a layout.

    Attributes:
        name: C++ name of the kernel.
        grid: Number of blocks.
        args: `BiasAct<Number>` without the pointers.
        by_channel: Shape of the sums over pixels, one per block.
        by_pixel: Shape of the sums over channels, likewise.
        tiles: Tiles of a block along rows and columns.
        is_channels_last: Whether rows are pixels.
    """

    name: str
    grid: tuple[int, int, int]
    args: ctypes.Structure
    by_channel: tuple[int, ...] = ()
    by_pixel: tuple[int, ...] = ()
    tiles: tuple[int, int] = (0, 0)
    is_channels_last: bool = False


def bias_act(x: Tensor, call: BiasAct) -> Tensor:
    """Run the op; bias, scale and noise have the dtype of the arithmetic."""
    memory_format = channels_format(x, call.dim)
    x = x.contiguous(memory_format=memory_format)
    y = torch.empty_like(x, memory_format=memory_format)
    if x.numel() == 0:
        return y
    x_address, y_address = x.data_ptr(), y.data_ptr()
    plan = _plan("bias_act", x, call, x_address | y_address)
    args = c_void_p(x_address), c_void_p(y_address), _with_pointers(plan, call)
    try:
        launcher.launch(SOURCE, plan.name, x.device, plan.grid, BLOCK, args)
    except BuildError:
        return fallback.bias_act(x, call)
    return y


def bias_act_grad(
    dy: Tensor, saved: Tensor, call: BiasAct, wanted: BiasActGrad
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `x`, `b`, `scale` and `noise`; empty where they are not needed."""
    memory_format = channels_format(saved, call.dim)
    dy = dy.contiguous(memory_format=memory_format)
    saved = saved.contiguous(memory_format=memory_format)
    dx = torch.empty_like(saved, memory_format=memory_format)
    options: dict[str, Any] = dict(dtype=arithmetic_dtype(saved.dtype), device=saved.device)
    if dx.numel() == 0:
        db, dscale, dnoise = (torch.zeros(shape, **options) for shape in wanted.shapes(saved, call))
        return dx, db, dscale, dnoise
    addresses = saved.data_ptr(), dy.data_ptr(), dx.data_ptr()
    alignment = addresses[0] | addresses[1] | addresses[2]
    plan = _plan("bias_act_gradient", saved, call, alignment)
    db = torch.empty(plan.by_channel if wanted.needs_b else NOTHING, **options)
    dscale = torch.empty(plan.by_channel if wanted.needs_scale else NOTHING, **options)
    dnoise = torch.empty(plan.by_pixel if wanted.needs_noise else NOTHING, **options)
    sums: tuple[int | None, ...]
    if plan.is_channels_last:
        sums = _pointer(dnoise), None, _pointer(db), _pointer(dscale)
    else:
        sums = _pointer(db), _pointer(dscale), _pointer(dnoise), None
    is_output_saved, scales_dx, *_ = wanted
    gradient = Gradient(*addresses, *sums, is_output_saved, scales_dx, *plan.tiles)
    args = _with_pointers(plan, call), gradient
    try:
        launcher.launch(SOURCE, plan.name, saved.device, plan.grid, BLOCK, args)
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


def _plan(kernel: str, x: Tensor, call: BiasAct, addresses: int) -> Plan:
    """The plan for images like `x`; `addresses` is the bitwise OR of all their addresses."""
    _, scale, noise, *settings = call
    noise_has_samples = noise is not None and noise.shape[0] > 1
    is_per_sample = scale is not None or noise is not None
    layout = x.shape, x.is_contiguous(), x.dtype
    return _make_plan(
        kernel, *layout, is_per_sample, noise_has_samples, tuple(settings), addresses % 16
    )


@functools.lru_cache(maxsize=1024)
def _make_plan(
    kernel: str,
    shape: torch.Size,
    is_contiguous: bool,
    dtype: torch.dtype,
    is_per_sample: bool,
    noise_has_samples: bool,
    settings: tuple,
    alignment: int,
) -> Plan:
    """Plan a launch; `settings` are the fields of the call that are not tensors."""
    call = BiasAct(None, None, None, *settings)
    memory_format = torch.contiguous_format if is_contiguous else torch.channels_last
    x = torch.empty(shape, dtype=dtype, device="meta", memory_format=memory_format)
    n, c, s, is_channels_last = channel_sizes(x, call.dim, is_per_sample)
    rows, columns = (s, c) if is_channels_last else (c, s)
    vec = _vector_size(columns, dtype.itemsize, alignment)
    name = _specialisation(kernel, x, vec, is_channels_last)
    args = _arguments(call, dtype, noise_has_samples, (n, c, s))
    if kernel == "bias_act":
        return Plan(name, (_ceil_div(x.numel() // vec, THREADS), 1, 1), args)
    # Each block sums up its tile: over pixels for bias and scale, over channels for the noise.
    row_tiles, column_tiles = _ceil_div(rows, TILE_ROWS), _ceil_div(columns, 32 * vec)
    of_rows, of_columns = (n, column_tiles, rows), (n, row_tiles, columns)
    by_channel, by_pixel = (of_columns, of_rows) if is_channels_last else (of_rows, of_columns)
    grid = (n * row_tiles * column_tiles, 1, 1)
    tiles = row_tiles, column_tiles
    return Plan(name, grid, args, by_channel, by_pixel, tiles, is_channels_last)


def _vector_size(columns: int, size: int, alignment: int) -> int:
    """Elements of `size` bytes that a thread takes at a time: at most 16 bytes, aligned."""
    vec = 16 // size
    while columns % vec != 0 or alignment % (vec * size) != 0:
        vec //= 2
    return vec


def _specialisation(kernel: str, x: Tensor, vec: int, is_channels_last: bool) -> str:
    """C++ name of a kernel with its template arguments."""
    # Indices run past the images to the end of the last block.
    index = "int" if x.numel() + 32 * THREADS * vec < 2**31 else "long long"
    return f"{kernel}<{CPP_TYPES[x.dtype]}, {index}, {vec}, {str(is_channels_last).lower()}>"


def _arguments(
    call: BiasAct, dtype: torch.dtype, noise_has_samples: bool, sizes: tuple[int, int, int]
) -> ctypes.Structure:
    """`BiasAct<Number>` without pointers; `sizes` are samples, channels and pixels."""
    clamp = call.clamp
    # In half precision, outputs are compared with the rounded limit.
    saved_clamp = math.nan if clamp is None else torch.tensor(clamp, dtype=dtype).item()
    return _structure(ctypes.c_double if dtype == torch.float64 else ctypes.c_float)(
        *[None] * 3,
        0 if call.act == "relu" else -math.inf,
        call.slope,
        call.gain,
        math.inf if clamp is None else clamp,
        saved_clamp,
        noise_has_samples,
        *sizes,
    )


def _with_pointers(plan: Plan, call: BiasAct) -> ctypes.Structure:
    """The arguments of a plan with the pointers of a call."""
    args: Any = type(plan.args).from_buffer_copy(plan.args)
    b, scale, noise, *_ = call
    if b is not None:
        args.bias = b.data_ptr()
    if scale is not None:
        args.scale = scale.data_ptr()
    if noise is not None:
        args.noise = noise.data_ptr()
    return args


def _pointer(t: Tensor) -> int | None:
    return t.data_ptr() if t.numel() > 0 else None


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
