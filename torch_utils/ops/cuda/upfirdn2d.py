"""Launches `upfirdn2d.cu`: pad, upsample, filter and downsample on CUDA devices."""

import ctypes
from ctypes import c_void_p
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dnnlib import moved
from torch_utils.ops.arguments import as_operand, fields
from torch_utils.ops.calls import Pair, UpFirDn
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import fallback, launcher
from torch_utils.ops.cuda.cpp_types import CPP_TYPES
from torch_utils.ops.cuda.upfirdn2d_tiles import PATCH_WIDTH, Filters, best_tile
from torch_utils.ops.layout import arithmetic_dtype, output_format

SOURCE = "upfirdn2d.cu"
MAX_TAPS = {1: 32, 2: 8}  # dimensions of the filter -> most taps per axis in compiled kernels
MAX_GRID_HEIGHT = MAX_GRID_DEPTH = 65535  # blocks, limits of CUDA
BLOCK = (256, 1, 1)  # threads of the general kernel
PIECE = 4  # outputs of a thread of the general kernel

__getattr__ = moved.names_of(__name__)


class Tiled(ctypes.Structure):
    """The structure in `upfirdn2d.cu`."""

    _fields_ = [
        *fields(ctypes.c_float, "tap_gain"),
        *fields(ctypes.c_int32, "is_flipped samples channels channel_blocks"),
        *fields(ctypes.c_int32, "in_w in_h out_w out_h pad_x pad_y first_x first_y"),
        *fields(ctypes.c_int32, "tile_w tile_h tile_c"),
        *fields(ctypes.c_int32, "tile_in_h in_pairs in_teams in_batches in_pitch in_plane"),
        *fields(ctypes.c_int32, "row_teams out_pitch out_plane has_pairs"),
        *fields(ctypes.c_int64, "x_n x_c x_h x_w y_n y_c y_h y_w"),
    ]


class General(ctypes.Structure):
    """The structure in `upfirdn2d.cu`."""

    _fields_ = [
        *fields(ctypes.c_double, "gain"),
        *fields(ctypes.c_int32, "is_flipped is_channels_last channels in_w in_h out_w out_h"),
        *fields(ctypes.c_int32, "up_x up_y down_x down_y pad_x pad_y fw fh pieces_w"),
        *fields(ctypes.c_int64, "num_pieces x_n x_c x_h x_w"),
    ]


class Layout(NamedTuple):
    """The layout of images, which a plan depends on."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Plan:
    """A launch of a kernel; images of the same layout share it.

    Attributes:
        specialisation: C++ name of the kernel.
        grid: Number of blocks; zeros if there is nothing to do.
        block: Number of threads per block.
        shared_bytes: Dynamic shared memory per block.
        shape: Shape of the output.
        dtype: Type of the output.
        memory_format: Layout of the output.
        args: The last argument of the kernel.
    """

    specialisation: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    memory_format: torch.memory_format
    args: ctypes.Structure


def upfirdn2d(x: Tensor, f: Tensor, call: UpFirDn) -> Tensor:
    """The op; arithmetic is in float32, for float64 in float64."""
    try:
        if _is_tiled(x.dtype, f.shape, call.up, call.down):
            plan = _plan_tiles(_layout(x), f.shape, call)
            if plan.grid[1] <= MAX_GRID_HEIGHT:
                return _launch(plan, x, as_operand(f, torch.float32))
    except BuildError:
        pass  # the general kernel is another specialisation, which may be built
    try:
        return _launch_general(x, f, call)
    except BuildError:
        return fallback.upfirdn2d(x, f, call)


def _launch_general(x: Tensor, f: Tensor, call: UpFirDn) -> Tensor:
    """The general kernel, which filters along each axis in turn if the filter is separable."""
    gain = call.gain ** (f.ndim / 2)
    if x.dtype == torch.float64:
        # By definition, filter and gain are multiplied in the type of the filter.
        f, gain = f * gain, 1.0
    f = as_operand(f, arithmetic_dtype(x.dtype))
    call = call._replace(gain=gain)
    if f.ndim == 2:
        return _launch(_plan_general(_layout(x), f.shape, call, x.dtype), x, f)
    (up_x, up_y), (down_x, down_y), (x0, x1, y0, y1) = call.up, call.down, call.padding
    along_x = call._replace(up=(up_x, 1), down=(down_x, 1), padding=(x0, x1, 0, 0))
    along_y = call._replace(up=(1, up_y), down=(1, down_y), padding=(0, 0, y0, y1))
    between = _launch(_plan_general(_layout(x), (1, len(f)), along_x, f.dtype), x, f)
    return _launch(_plan_general(_layout(between), (len(f), 1), along_y, x.dtype), between, f)


def _launch(plan: Plan, x: Tensor, f: Tensor) -> Tensor:
    y = torch.empty(plan.shape, dtype=plan.dtype, device=x.device, memory_format=plan.memory_format)
    if plan.grid[0] > 0:
        pointers = c_void_p(x.data_ptr()), c_void_p(y.data_ptr()), c_void_p(f.data_ptr())
        sizes = plan.grid, plan.block, (*pointers, plan.args), plan.shared_bytes
        launcher.launch(SOURCE, plan.specialisation, x.device, *sizes)
    return y


def _layout(x: Tensor) -> Layout:
    return Layout(x.shape, x.stride(), x.dtype)


@lru_cache(maxsize=1024)
def _is_tiled(dtype: torch.dtype, taps: tuple[int, ...], up: Pair, down: Pair) -> bool:
    """Whether a kernel is compiled for these factors and taps.

    A separable filter without resampling is a blur. Its size changes during training, and a kernel
    for every size would be too many kernels.
    """
    factors = up[0], down[0]
    if dtype == torch.float64 or up[0] != up[1] or down[0] != down[1]:
        return False
    if factors not in ((1, 1), (2, 1), (1, 2)) or (len(taps) == 1 and factors == (1, 1)):
        return False
    return taps[0] == taps[-1] <= MAX_TAPS[len(taps)]


@lru_cache(maxsize=1024)
def _plan_tiles(image: Layout, f_shape: tuple[int, ...], call: UpFirDn) -> Plan:
    """Plan of a launch of the tiled kernel, for square filters and the same factors x and y."""
    (shape, strides, dtype), up, down = image, call.up[0], call.down[0]
    (n, c, in_h, in_w), taps, (x0, x1, y0, y1) = shape, f_shape[0], call.padding
    out_w = (in_w * up + x0 + x1 - taps) // down + 1
    out_h = (in_h * up + y0 + y1 - taps) // down + 1
    x = torch.empty_strided(shape, strides, device="meta")
    y = torch.empty([n, c, out_h, out_w], device="meta", memory_format=output_format(x))
    is_last, is_separable = _is_channels_last(y), len(f_shape) == 1
    # Where planes are evenly spaced, those of all samples count as channels of one sample.
    is_one = not is_last and (n == 1 or strides[0] == c * strides[1])
    samples, channels = (1, max(1, n * c)) if is_one else (n, max(1, c))
    # Tiles start where the window of an output starts at an input.
    first_x, first_y = -(-x0 % up), -(-y0 % up)
    outputs = out_w - first_x, out_h - first_y
    filters = Filters(up, down, taps, is_separable)
    tile = best_tile(filters, outputs, channels, dtype.itemsize, is_last)
    channel_blocks = -(-channels // tile.channels)
    grid = *tile.count(*outputs), min(samples * channel_blocks, MAX_GRID_DEPTH)
    args = Tiled(
        call.gain ** (len(f_shape) / 2),
        *(call.flip_filter, samples, channels, channel_blocks),
        *(in_w, in_h, out_w, out_h, x0, y0, first_x, first_y),
        *(tile.width, tile.height, tile.channels, tile.in_height, tile.in_pairs, tile.in_teams),
        *(tile.in_batches, tile.in_pitch, tile.in_plane),
        *(tile.row_teams, tile.out_pitch, tile.out_plane),
        *(not is_last and out_w % PATCH_WIDTH == first_x % PATCH_WIDTH == 0, *strides, *y.stride()),
    )
    packed = tile.channels if tile.is_packed else 0
    parameters = [CPP_TYPES[dtype], _index_type(x, y), up, down, taps, is_separable, packed]
    name = f"upfirdn2d<{', '.join(map(str, parameters)).lower()}>"
    return Plan(
        *(name, grid if y.numel() else (0, 0, 0), tile.block, tile.shared_bytes),
        *(tuple(y.shape), dtype, output_format(y), args),
    )


@lru_cache(maxsize=1024)
def _plan_general(
    image: Layout, f_shape: tuple[int, ...], call: UpFirDn, out_dtype: torch.dtype
) -> Plan:
    """Plan of a launch of the general kernel; `call.gain` multiplies each tap of the filter."""
    (shape, strides, dtype), up, down = image, call.up, call.down
    (n, c, in_h, in_w), (fh, fw), (x0, x1, y0, y1) = shape, f_shape, call.padding
    out_w = (in_w * up[0] + x0 + x1 - fw) // down[0] + 1
    out_h = (in_h * up[1] + y0 + y1 - fh) // down[1] + 1
    x = torch.empty_strided(shape, strides, device="meta")
    y = torch.empty([n, c, out_h, out_w], device="meta", memory_format=output_format(x))
    pieces_w = -(-out_w // PIECE)
    num_pieces = n * c * out_h * pieces_w
    args = General(
        *(call.gain, call.flip_filter, _is_channels_last(y), c, in_w, in_h, out_w, out_h),
        *(*up, *down, x0, y0, fw, fh, pieces_w, num_pieces, *strides),
    )
    # Positions in the stuffed image need the type, too.
    reach = max(out_w * down[0] + fw + abs(x0), out_h * down[1] + fh + abs(y0))
    reach = max(reach, in_w * up[0] + fw, in_h * up[1] + fh)
    index = _index_type(x, y) if reach < 2**31 else "long long"
    number = torch.float64 if torch.float64 in (dtype, out_dtype) else torch.float32
    types = [CPP_TYPES[t] for t in (dtype, out_dtype, number)]
    name = f"upfirdn2d_general<{', '.join(types)}, {index}>"
    grid = (-(-num_pieces // BLOCK[0]), 1, 1)
    return Plan(name, grid, BLOCK, 0, tuple(y.shape), out_dtype, output_format(y), args)


def _is_channels_last(y: Tensor) -> bool:
    return not y.is_contiguous()


def _index_type(*tensors: Tensor) -> str:
    """The type that holds all offsets into the tensors."""
    is_large = any(
        sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True)) >= 2**31
        for t in tensors
    )
    return "long long" if is_large else "int"
