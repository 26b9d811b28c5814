"""Plans a launch of `filtered_lrelu.cu`: its specialisation, tiles, grid and arguments."""

import functools
from collections.abc import Iterable
from ctypes import Structure, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from typing import NamedTuple

import torch

from dnnlib import moved
from torch_utils.ops.calls import Padding
from torch_utils.ops.cuda.cpp_types import CPP_TYPES
from torch_utils.ops.layout import output_format

ACT, WRITE_MASK, READ_MASK = "kAct", "kWriteMask", "kReadMask"  # as in the sources
FACTORS = (1, 2, 4)
MAX_TAPS = 32  # per axis; at most the threads of the smallest block
MAX_SIZE = 1 << 17  # width and height at the nonlinearity: a grid has at most 65535 tiles along y
MAX_PLANES = (1 << 31) - 1

__getattr__ = moved.names_of(__name__)


class Call(NamedTuple):
    """Settings of a call, and the layouts of its tensors; no data.

    Attributes:
        mode: `ACT`, `WRITE_MASK` or `READ_MASK`.
        dtype: Type of the input.
        shape: Shape of the input, `[N, C, H, W]`.
        strides: Strides of the input.
        fu: Shape of the upsampling filter.
        fd: Shape of the downsampling filter.
        up: Upsampling factor.
        down: Downsampling factor.
        padding: Zeros around the zero-stuffed image, x0, x1, y0, y1.
        mid_padding: Zeros around the samples at the nonlinearity, likewise.
        gain: Gain of the upsampling, times that of the nonlinearity.
        slope: Slope of the leaky ReLU below zero.
        clamp: Limit of the absolute value, infinity for none.
        flip_filter: Correlate instead of convolve.
    """

    mode: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    fu: tuple[int, ...]
    fd: tuple[int, ...]
    up: int
    down: int
    padding: Padding
    mid_padding: Padding
    gain: float
    slope: float
    clamp: float
    flip_filter: bool

    def tmp_size(self) -> tuple[int, int]:
        """Height and width at the nonlinearity."""
        x0, x1, y0, y1 = self.padding
        return (
            self.shape[2] * self.up + y0 + y1 - self.fu[0] + 1,
            self.shape[3] * self.up + x0 + x1 - self.fu[-1] + 1,
        )

    def out_size(self) -> tuple[int, int]:
        """Height and width of the output."""
        (tmp_h, tmp_w), (x0, x1, y0, y1) = self.tmp_size(), self.mid_padding
        return (
            (tmp_h + y0 + y1 - self.fd[0]) // self.down + 1,
            (tmp_w + x0 + x1 - self.fd[-1]) // self.down + 1,
        )

    def memory_format(self) -> torch.memory_format:
        """Memory format of the output."""
        return output_format(torch.empty_strided(self.shape, self.strides, device="meta"))


class Filters(NamedTuple):
    """`Filters` in `filtered_lrelu_tile.cuh`."""

    up: int
    down: int
    fu_taps: int
    fd_taps: int
    fu_is_2d: bool
    fd_is_2d: bool

    def stride(self) -> int:
        """`Sizes::kStride`: samples along a row after which registers repeat their roles."""
        if self.fd_is_2d:
            return 16
        outputs = max(8, 1 << (-(-self.fd_taps // self.down) - 1).bit_length())
        return max(16, self.down * outputs)


class Tile(NamedTuple):
    """Largest tile of a block, and its threads: `Tile` in `filtered_lrelu_tile.cuh`."""

    width: int
    rows: int
    channels: int
    threads: int

    def max_height(self, filters: Filters) -> int:
        """Rows of outputs: a multiple of the 8 that a thread computes."""
        return ((self.rows - filters.fd_taps) // filters.down + 1) // 8 * 8

    def shared_bytes(self, filters: Filters) -> int:
        """Shared memory of a block: `Sizes` and `Taps` in `filtered_lrelu_tile.cuh`."""
        up, down, fu_taps, fd_taps, fu_is_2d, fd_is_2d = filters
        cols = round_up((self.width - 1) * down + fd_taps, filters.stride())
        in_rows = self._num_inputs(self.rows, filters) if fu_is_2d else self.rows
        first = self._plane(in_rows * (self._num_inputs(cols, filters) | 1))
        rows = (self.max_height(filters) - 1) * down + fd_taps
        second = self._plane(rows * (self.width | 1))
        if fd_is_2d:
            second = self._plane(rows * down * (round_up(cols // down, 8) + 2))
        elif up <= down and not fu_is_2d:
            second = 0  # written over the first
        taps = round_up(fu_taps, up) if fu_is_2d else fd_taps if fd_is_2d else 1
        taps = taps * round_up(taps, 4) + 2 * round_up(fu_taps, 4) + 2 * round_up(fd_taps, 4)
        return 4 * (self.channels * (first + second) + taps)

    @staticmethod
    def _num_inputs(num_samples: int, filters: Filters) -> int:
        up = filters.up
        return -(-(up - 1 + num_samples - 1) // up) + -(-filters.fu_taps // up)

    def _plane(self, size: int) -> int:
        return size if self.channels == 1 else round_up(size, 32) + 32 // self.channels


class Arguments(Structure):
    """`Call` in `filtered_lrelu_tile.cuh`."""

    _fields_ = [
        *((name, c_void_p) for name in ("x", "y", "mask", "scale", "b", "fu", "fd")),
        *((name, c_void_p) for name in ("saved", "sums", "products")),
        *((name, c_int64 * 4) for name in ("x_strides", "y_strides")),
        *((name, c_float) for name in ("gain", "slope", "clamp")),
        *((name, c_int32) for name in ("fu_once", "fd_once", "flip_filter", "num_channels")),
        *((name, c_int32) for name in ("in_h", "in_w", "tmp_h", "tmp_w", "out_h", "out_w")),
        *((name, c_int32) for name in ("pad_x", "pad_y", "mid_x", "mid_y", "tile_w", "tile_h")),
    ]


@dataclass(frozen=True)
class Plan:
    """The launch of a call.

    Attributes:
        shape: Shape of the output.
        memory_format: Memory format of the output.
        name: Specialisation of the kernel; `None` if the call needs the general kernels.
        grid: Number of blocks: groups of channels, tiles along x, tiles along y.
        block: Number of threads per block.
        args: Arguments of the kernel, without the pointers.
    """

    shape: tuple[int, ...]
    memory_format: torch.memory_format
    name: str | None = None
    grid: tuple[int, int, int] = (0, 0, 0)
    block: tuple[int, int, int] = (0, 0, 0)
    args: Arguments | None = None


@functools.lru_cache(maxsize=1024)
def make_plan(call: Call) -> Plan:
    """Plan a call; calls with the same settings and layouts share the plan."""
    (n, c, in_h, in_w), (out_h, out_w) = call.shape, call.out_size()
    shape, memory_format = (n, c, out_h, out_w), call.memory_format()
    special = specialisation(call)
    if special is None or 0 in shape:
        return Plan(shape, memory_format)
    name, filters, tile = special
    tile_w = _even_tile(out_w, tile.width, filters.stride() // filters.down)
    tile_h = _even_tile(out_h, tile.max_height(filters), 4)
    grid = n * -(-c // tile.channels), -(-out_w // tile_w), -(-out_h // tile_h)
    threads = tile.threads
    if not filters.fd_is_2d:  # step 2 has a thread for each row of each channel
        rows = (tile_h - 1) * filters.down + filters.fd_taps
        threads = _num_threads(rows, tile.channels)
    y = torch.empty(shape, device="meta", memory_format=memory_format)
    args = Arguments(
        *[None] * 10,
        *((c_int64 * 4)(*strides) for strides in (call.strides, y.stride())),
        *(call.gain, call.slope, call.clamp),
        *(call.fu == (1, 1), call.fd == (1, 1), call.flip_filter),
        *(c, in_h, in_w, *call.tmp_size(), out_h, out_w),
        *(call.padding[k] + call.mid_padding[k] for k in (0, 2)),
        *(call.mid_padding[k] for k in (0, 2)),
        *(tile_w, tile_h),
    )
    return Plan(shape, memory_format, name, grid, (threads, 1, 1), args)


def specialisation(call: Call) -> tuple[str, Filters, Tile] | None:
    """C++ name of the kernel for a call, with its filters and tile.

    `None` for calls that need the general kernels: factors or filters that are not compiled in,
    two 2D filters, float64, images of extreme size.
    """
    if call.dtype == torch.float64 or call.slope > 1 or {call.up, call.down} - set(FACTORS):
        return None
    if any(len(set(taps)) > 1 or taps[0] > MAX_TAPS for taps in (call.fu, call.fd)):
        return None
    if max(call.tmp_size()) >= MAX_SIZE or call.shape[0] * call.shape[1] > MAX_PLANES:
        return None
    is_2d = (len(taps) == 2 and taps[0] > 1 for taps in (call.fu, call.fd))
    filters = Filters(call.up, call.down, call.fu[0], call.fd[0], *is_2d)
    tile = choose_tile(filters, call.memory_format() == torch.channels_last)
    if tile is None:
        return None
    # Tiles start at multiples of `up`; the phase is the distance to an input, see `Polyphase`.
    phases = (-(call.padding[k] + call.mid_padding[k]) % call.up for k in (0, 2))
    parameters = [f"Filters<{_cpp(filters)}>", f"Tile<{_cpp(tile)}>", call.mode, _cpp(phases)]
    return f"filtered_lrelu<{CPP_TYPES[call.dtype]}, {', '.join(parameters)}>", filters, tile


@functools.cache
def choose_tile(filters: Filters, is_channels_last: bool) -> Tile | None:
    """Choose the tile with the fewest repeated samples among those that fit.

    With up to 40 KiB of shared memory per block, at least four blocks run on a multiprocessor of a
    data-centre GPU, and two on other GPUs, except sm_75. A 2D `fd` gets 48 KiB, and so do blocks of
    several channels, which channels-last images need.
    """
    if filters.fu_is_2d and filters.fd_is_2d:
        return None
    is_2d = filters.fu_is_2d or filters.fd_is_2d
    for channels in (4, 2, 1) if is_channels_last and not is_2d else (1,):
        tiles = [
            Tile(width, rows, channels, _num_threads(rows, channels))
            for rows in (128, 96, 64, 48)
            for width in (40, 32, 24, 16, 8)
        ]
        if filters.fd_is_2d:
            tiles = [Tile(40, 80, channels, 128)]  # a thread for each of the 8 x 16 patches
        max_bytes = (48 if channels > 1 or filters.fd_is_2d else 40) * 1024
        tiles = [
            tile
            for tile in tiles
            if tile.max_height(filters) > 0
            and tile.width * filters.down % filters.stride() == 0
            and tile.shared_bytes(filters) <= max_bytes
        ]
        if tiles:
            return min(tiles, key=lambda tile: _num_samples(tile, filters))
    return None


def round_up(a: int, b: int) -> int:
    """The smallest multiple of `b` that is at least `a`."""
    return -(-a // b) * b


def _num_threads(rows: int, channels: int) -> int:
    """Threads of whole warps: one for each row of each channel, and some that wait."""
    return channels * round_up(rows, 32 if channels == 1 else 16)


def _num_samples(tile: Tile, filters: Filters) -> float:
    """Number of samples that the largest tile computes for each output."""
    cols = (tile.width - 1) * filters.down + filters.fd_taps
    return tile.rows * cols / (tile.width * tile.max_height(filters))


def _even_tile(size: int, largest: int, multiple: int) -> int:
    """Size of a tile, so that tiles divide an axis evenly."""
    num_tiles = -(-size // largest)
    return min(largest, round_up(-(-size // num_tiles), multiple))


def _cpp(values: Iterable[object]) -> str:
    return ", ".join(str(value).lower() for value in values)
