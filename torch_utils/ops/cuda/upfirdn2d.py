"""Launches `upfirdn2d.cu`: pad, upsample, filter and downsample on CUDA devices."""

import contextlib
import ctypes
from ctypes import c_void_p
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from torch_utils.ops.cuda import compiler, fallback
from torch_utils.ops.layout import output_format

SOURCE = "upfirdn2d.cu"
BLOCK = (256, 1, 1)
MAX_TAPS = {1: 32, 2: 8}  # dimensions of the filter -> taps per axis that are compiled in
MAX_SHARED_BYTES = 24 * 1024  # so that several blocks fit on a multiprocessor
NAMES = {
    torch.float16: "__half",
    torch.bfloat16: "__nv_bfloat16",
    torch.float32: "float",
    torch.float64: "double",
}

# Outputs of a block: width, height, planes; the first that suits the image and fits is taken.
TILES = [(64, 32, 1), (32, 16, 1), (16, 8, 1)]
SMALL_IMAGE_TILES = [(16, 16, 8), (16, 16, 4), (16, 16, 2), (16, 16, 1), (8, 8, 1)]
CHANNELS_LAST_TILES = [(8, 8, 32), (8, 8, 16), (8, 8, 8), (8, 8, 4), (8, 8, 1)]


def _fields(ctype: type, names: str) -> list[tuple[str, type]]:
    return [(name, ctype) for name in names.split()]


class Tiled(ctypes.Structure):
    """The structure in `upfirdn2d.cu`."""

    _fields_ = [
        *_fields(ctypes.c_float, "tap_gain"),
        *_fields(
            ctypes.c_int32, "is_flipped num_planes channels in_w in_h out_w out_h pad_x pad_y"
        ),
        *_fields(ctypes.c_int32, "first_x first_y tiles_x tiles_y"),
        *_fields(ctypes.c_int64, "x_n x_c x_h x_w y_n y_c y_h y_w"),
    ]


class General(ctypes.Structure):
    """The structure in `upfirdn2d.cu`."""

    _fields_ = [
        *_fields(ctypes.c_double, "gain"),
        *_fields(ctypes.c_int32, "is_flipped is_channels_last channels in_w in_h out_w out_h"),
        *_fields(ctypes.c_int32, "up_x up_y down_x down_y pad_x pad_y fw fh"),
        *_fields(ctypes.c_int64, "num_outputs x_n x_c x_h x_w"),
    ]


@dataclass(frozen=True)
class Plan:
    """How a kernel is launched; the same for all images of the same layout."""

    specialisation: str
    grid: tuple[int, int, int]
    shape: tuple[int, ...]  # of the output
    dtype: torch.dtype  # likewise
    memory_format: torch.memory_format  # likewise
    args: ctypes.Structure


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: list[int],
    down: list[int],
    padding: list[int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    """The op; arithmetic is in float32, for float64 in float64."""
    settings = tuple(up), tuple(down), tuple(padding), flip_filter, gain
    if _is_tiled(x.dtype, f.shape, *settings[:2]):
        with contextlib.suppress(compiler.BuildError):
            return _launch_tiled(x, f, *settings)
    with contextlib.suppress(compiler.BuildError):
        return _launch_general(x, f, *settings)
    return fallback.upfirdn2d(x, f, *settings)


def _launch_tiled(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    settings = up[0], down[0], padding, flip_filter, gain ** (f.ndim / 2)
    plan = _tiled(x.shape, x.stride(), x.dtype, f.shape, *settings)
    return _launch(plan, x, f.to(torch.float32).contiguous())


def _launch_general(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    gain = gain ** (f.ndim / 2)
    if x.dtype == torch.float64:
        # Filter and gain meet in the type of the filter, by definition.
        f, gain = f * gain, 1.0
    f = f.to(_arithmetic(x.dtype)).contiguous()
    layout = x.shape, x.stride(), x.dtype
    if f.ndim == 2:
        plan = _general(*layout, f.shape, up, down, padding, flip_filter, gain, x.dtype)
        return _launch(plan, x, f)
    (up_x, up_y), (down_x, down_y), (x0, x1, y0, y1) = up, down, padding
    along_x = f[None, :].shape, (up_x, 1), (down_x, 1), (x0, x1, 0, 0)
    along_y = f[:, None].shape, (1, up_y), (1, down_y), (0, 0, y0, y1)
    between = _launch(_general(*layout, *along_x, flip_filter, gain, f.dtype), x, f)
    layout = between.shape, between.stride(), between.dtype
    return _launch(_general(*layout, *along_y, flip_filter, gain, x.dtype), between, f)


def _launch(plan: Plan, x: Tensor, f: Tensor) -> Tensor:
    y = torch.empty(plan.shape, dtype=plan.dtype, device=x.device, memory_format=plan.memory_format)
    if plan.grid[0] > 0:
        args = (*map(c_void_p, (x.data_ptr(), y.data_ptr(), f.data_ptr())), plan.args)
        compiler.launch(SOURCE, plan.specialisation, x.device, plan.grid, BLOCK, args)
    return y


def _arithmetic(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


@lru_cache(maxsize=1024)
def _is_tiled(
    dtype: torch.dtype, taps: tuple[int, ...], up: tuple[int, int], down: tuple[int, int]
) -> bool:
    """Whether a kernel is compiled for factors and taps; filters of many sizes get none each.

    Blurring, with a separable filter and no factor, has a size that changes while training.
    """
    factors = up[0], down[0]
    if dtype == torch.float64 or up[0] != up[1] or down[0] != down[1]:
        return False
    if factors not in ((1, 1), (2, 1), (1, 2)) or (len(taps) == 1 and factors == (1, 1)):
        return False
    return taps[0] == taps[-1] <= MAX_TAPS[len(taps)]


@lru_cache(maxsize=1024)
def _tiled(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: torch.dtype,
    f_shape: tuple[int, ...],
    up: int,
    down: int,
    padding: tuple[int, int, int, int],
    flip_filter: bool,
    gain: float,
) -> Plan:
    (n, c, in_h, in_w), taps, (x0, x1, y0, y1) = shape, f_shape[0], padding
    out_w = (in_w * up + x0 + x1 - taps) // down + 1
    out_h = (in_h * up + y0 + y1 - taps) // down + 1
    x = torch.empty_strided(shape, strides, device="meta")
    y = torch.empty([n, c, out_h, out_w], device="meta", memory_format=output_format(x))
    is_last, is_separable = _is_channels_last(y), len(f_shape) == 1
    tile = _tile(up, down, taps, is_separable, is_last, out_w <= 16 and out_h <= 16)
    # Tiles start where the window of an output starts at an input.
    first_x, first_y = -(-x0 % up), -(-y0 % up)
    tiles_x, tiles_y = -(-(out_w - first_x) // tile[0]), -(-(out_h - first_y) // tile[1])
    args = Tiled(
        *(gain, flip_filter, n * c, c, in_w, in_h, out_w, out_h, x0, y0),
        *(first_x, first_y, tiles_x, tiles_y, *strides, *y.stride()),
    )
    parameters = [NAMES[dtype], _index_type(x, y), up, down, taps, is_separable, *tile, is_last]
    name = f"upfirdn2d<{', '.join(map(str, parameters)).lower()}>"
    grid = (tiles_x * tiles_y * -(-n * c // tile[2]), 1, 1)
    return Plan(name, grid, tuple(y.shape), dtype, output_format(y), args)


def _tile(
    up: int, down: int, taps: int, is_separable: bool, is_last: bool, is_small: bool
) -> tuple[int, int, int]:
    """Width, height and planes of the outputs of a block."""
    tiles = CHANNELS_LAST_TILES if is_last else SMALL_IMAGE_TILES if is_small else TILES
    for tile in tiles:
        width, height, planes = tile
        in_w, in_h = (((size - 1) * down + taps - 1) // up + 1 for size in (width, height))
        num_floats = taps**2 + in_h * in_w * planes + is_separable * in_h * width * planes
        if 4 * num_floats + 16 * planes <= MAX_SHARED_BYTES:
            return tile
    raise AssertionError(f"no tile for up {up}, down {down}, {taps} taps")


@lru_cache(maxsize=1024)
def _general(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: torch.dtype,
    f_shape: tuple[int, int],
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
    gain: float,
    out_dtype: torch.dtype,
) -> Plan:
    (n, c, in_h, in_w), (fh, fw), (x0, x1, y0, y1) = shape, f_shape, padding
    out_w = (in_w * up[0] + x0 + x1 - fw) // down[0] + 1
    out_h = (in_h * up[1] + y0 + y1 - fh) // down[1] + 1
    x = torch.empty_strided(shape, strides, device="meta")
    y = torch.empty([n, c, out_h, out_w], device="meta", memory_format=output_format(x))
    args = General(
        *(gain, flip_filter, _is_channels_last(y), c, in_w, in_h, out_w, out_h),
        *(*up, *down, x0, y0, fw, fh, y.numel(), *strides),
    )
    number = torch.float64 if torch.float64 in (dtype, out_dtype) else torch.float32
    types = [NAMES[dtype], NAMES[out_dtype], NAMES[number], _index_type(x, y)]
    name = f"upfirdn2d_general<{', '.join(types)}>"
    grid = (-(-y.numel() // BLOCK[0]), 1, 1)
    return Plan(name, grid, tuple(y.shape), out_dtype, output_format(y), args)


def _is_channels_last(y: Tensor) -> bool:
    return not y.is_contiguous()


def _index_type(*tensors: Tensor) -> str:
    """The type that holds all offsets into the tensors."""
    is_large = any(
        sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True)) >= 2**31
        for t in tensors
    )
    return "long long" if is_large else "int"
