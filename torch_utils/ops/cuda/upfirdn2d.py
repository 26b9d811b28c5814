"""Launches `upfirdn2d.cu`: pad, upsample, filter and downsample on CUDA devices."""

from ctypes import c_double, c_float, c_int32, c_int64, c_void_p
from functools import lru_cache

import torch
from torch import Tensor

from torch_utils.ops.cuda import compiler
from torch_utils.ops.layout import output_format

SOURCE = "upfirdn2d.cu"
THREADS = 256
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
    gain = gain ** (f.ndim / 2)
    if x.dtype == torch.float64:
        # Filter and gain meet in the type of the filter, by definition.
        f, gain = (f * gain).to(torch.float64), 1.0
    f = f.to(_arithmetic(x.dtype)).contiguous()
    if _is_specialised(x.dtype, f, tuple(up), tuple(down)):
        return _launch_specialised(x, f, up[0], down[0], padding, flip_filter, gain)
    settings = [*up, *down, *padding]
    if f.ndim == 2:
        return _launch_general(x, f, *settings, flip_filter, gain, x.dtype)
    up_x, up_y, down_x, down_y, x0, x1, y0, y1 = settings
    along_x = (x, f[None, :], up_x, 1, down_x, 1, x0, x1, 0, 0)
    between = _launch_general(*along_x, flip_filter, gain, f.dtype)
    along_y = (between, f[:, None], 1, up_y, 1, down_y, 0, 0, y0, y1)
    return _launch_general(*along_y, flip_filter, gain, x.dtype)


def _arithmetic(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _is_specialised(
    dtype: torch.dtype, f: Tensor, up: tuple[int, ...], down: tuple[int, ...]
) -> bool:
    """Whether a kernel is compiled for factors and taps; filters of many sizes get none each.

    Blurring, with a separable filter and no factor, has a size that changes while training.
    """
    factors = up[0], down[0]
    if dtype == torch.float64 or up[0] != up[1] or down[0] != down[1]:
        return False
    if factors not in ((1, 1), (2, 1), (1, 2)) or (f.ndim == 1 and factors == (1, 1)):
        return False
    return f.shape[0] == f.shape[-1] <= MAX_TAPS[f.ndim]


def _launch_specialised(
    x: Tensor, f: Tensor, up: int, down: int, padding: list[int], flip_filter: bool, gain: float
) -> Tensor:
    (n, c, in_h, in_w), taps, (x0, x1, y0, y1) = x.shape, f.shape[0], padding
    out_w = (in_w * up + x0 + x1 - taps) // down + 1
    out_h = (in_h * up + y0 + y1 - taps) // down + 1
    y = _empty(x, out_h, out_w, x.dtype)
    if y.numel() == 0:
        return y
    is_last = _is_channels_last(y)
    is_small = out_w <= 16 and out_h <= 16
    tile = _tile(up, down, taps, f.ndim == 1, is_last, is_small)
    specialisation = _name(x.dtype, _index_type(x, y), up, down, taps, f.ndim == 1, tile, is_last)
    # Tiles start where the window of an output starts at an input.
    first_x, first_y = -(-x0 % up), -(-y0 % up)
    tiles_x, tiles_y = -(-(out_w - first_x) // tile[0]), -(-(out_h - first_y) // tile[1])
    args = [
        *map(c_void_p, (x.data_ptr(), y.data_ptr(), f.data_ptr())),
        *(c_float(gain), c_int32(flip_filter)),
        *map(
            c_int32,
            (n * c, c, in_w, in_h, out_w, out_h, x0, y0, first_x, first_y, tiles_x, tiles_y),
        ),
        *map(c_int64, (*x.stride(), *y.stride())),
    ]
    grid = (tiles_x * tiles_y * -(-n * c // tile[2]), 1, 1)
    compiler.launch(SOURCE, specialisation, x.device, grid, (THREADS, 1, 1), args)
    return y


@lru_cache(maxsize=1024)
def _name(dtype, index, up, down, taps, is_separable, tile, is_last) -> str:
    flags = [str(flag).lower() for flag in (is_separable, is_last)]
    tile_w, tile_h, tile_c = tile
    return (
        f"upfirdn2d<{NAMES[dtype]}, {index}, {up}, {down}, {taps}, {flags[0]}, "
        f"{tile_w}, {tile_h}, {tile_c}, {flags[1]}>"
    )


@lru_cache(maxsize=1024)
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


def _launch_general(
    x: Tensor,
    f: Tensor,
    up_x: int,
    up_y: int,
    down_x: int,
    down_y: int,
    x0: int,
    x1: int,
    y0: int,
    y1: int,
    flip_filter: bool,
    gain: float,
    dtype: torch.dtype,
) -> Tensor:
    c, in_h, in_w = x.shape[1:]
    fh, fw = f.shape
    out_w = (in_w * up_x + x0 + x1 - fw) // down_x + 1
    out_h = (in_h * up_y + y0 + y1 - fh) // down_y + 1
    y = _empty(x, out_h, out_w, dtype)
    if y.numel() == 0:
        return y
    types = NAMES[x.dtype], NAMES[dtype], NAMES[f.dtype], _index_type(x, y)
    number = c_double if f.dtype == torch.float64 else c_float
    args = [
        *map(c_void_p, (x.data_ptr(), y.data_ptr(), f.data_ptr())),
        *(number(gain), c_int32(flip_filter), c_int32(_is_channels_last(y)), c_int64(y.numel())),
        *map(c_int32, (c, in_w, in_h, out_w, out_h, up_x, up_y, down_x, down_y, x0, y0, fw, fh)),
        *map(c_int64, x.stride()),
    ]
    grid = (-(-y.numel() // THREADS), 1, 1)
    name = f"upfirdn2d_general<{', '.join(types)}>"
    compiler.launch(SOURCE, name, x.device, grid, (THREADS, 1, 1), args)
    return y


def _empty(x: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    shape = [*x.shape[:2], height, width]
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=output_format(x))


def _is_channels_last(y: Tensor) -> bool:
    return not y.is_contiguous()


def _index_type(*tensors: Tensor) -> str:
    """The type that holds all offsets into the tensors."""
    is_large = any(
        sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True)) >= 2**31
        for t in tensors
    )
    return "long long" if is_large else "int"
