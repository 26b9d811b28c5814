"""Launches `filtered_lrelu.cu`, or `filtered_lrelu_general.cu`, on CUDA devices."""

import functools
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_utils.ops.cuda import compiler
from torch_utils.ops.layout import output_format

SOURCE = "filtered_lrelu.cu"
GENERAL_SOURCE = "filtered_lrelu_general.cu"
ACT, WRITE_MASK, READ_MASK = "kAct", "kWriteMask", "kReadMask"  # as in both sources
TYPES = {
    torch.float16: "half",
    torch.bfloat16: "__nv_bfloat16",
    torch.float32: "float",
    torch.float64: "double",
}
FACTORS = (1, 2, 4)
MAX_TAPS = 32
MAX_STRIDE = 1 << 23  # elements; offsets inside a tile have 32 bits
MAX_SIZE = 1 << 17  # width and height at the nonlinearity; there are at most 65535 tiles along y
MAX_GRID = (1 << 31) - 1
GENERAL_THREADS = 128


def mask_shape(x: Tensor, tmp_h: int, tmp_w: int) -> list[int]:
    """Shape of the mask for samples `[N, C, tmp_h, tmp_w]`, in bytes (see `filtered_lrelu.cu`)."""
    return [*x.shape[:2], -(-tmp_w // 16), tmp_h, 4]


def filtered_lrelu(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    up: int,
    down: int,
    padding: list[int],
    gain: float,
    slope: float,
    clamp: float | None,
    flip_filter: bool,
    mask: Tensor | None,
) -> Tensor:
    """The op; `gain` is positive. Signs go to `mask` unless that is `None`.

    `scale` `[N, C]` multiplies `x` before the bias.
    """
    mode = ACT if mask is None else WRITE_MASK
    clamp = float("inf") if clamp is None else clamp
    call = _Call(up, down, tuple(padding), (0, 0, 0, 0), up**2 * gain, slope, clamp, flip_filter)
    return _launch(call, mode, x, fu, fd, b, scale, mask)


def filtered_mask(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    mask: Tensor,
    up: int,
    down: int,
    padding: list[int],
    mid_padding: list[int],
    gain: float,
    slope: float,
    flip_filter: bool,
) -> Tensor:
    """Upsample, multiply by the derivative of the nonlinearity, pad, downsample."""
    call = _Call(up, down, tuple(padding), tuple(mid_padding), gain, slope, 0.0, flip_filter)
    return _launch(call, READ_MASK, x, fu, fd, None, None, mask)


@dataclass(frozen=True)
class Tile:
    """Largest tile of a block, and its threads; see `Tile` in `filtered_lrelu.cu`."""

    width: int
    rows: int
    channels: int
    threads: int

    def max_height(self, down: int, fd_taps: int) -> int:
        """Rows of outputs: a multiple of the 8 that a thread computes."""
        return ((self.rows - fd_taps) // down + 1) // 8 * 8


@functools.cache
def choose_tile(
    up: int,
    down: int,
    fu_taps: int,
    fd_taps: int,
    fu_is_2d: bool,
    fd_is_2d: bool,
    is_channels_last: bool,
) -> Tile | None:
    """The tile that computes the fewest samples more than once, of those that fit.

    Up to 40 KiB of shared memory let two blocks share a multiprocessor of any GPU but the oldest
    (sm_75), and four or more those of data centres. Images in channels-last layout need several
    channels per block, and get 48 KiB.
    """
    is_2d = fu_is_2d or fd_is_2d
    best, best_cost = None, float("inf")
    for channels in (4, 2, 1) if is_channels_last and not is_2d else (1,):
        for rows in (64,) if fd_is_2d else (128, 96, 64, 48):
            for width in (40,) if fd_is_2d else (40, 32, 24, 16, 8):
                tile = Tile(width, rows, channels, 96 if fd_is_2d else rows * channels)
                height = tile.max_height(down, fd_taps)
                cols = (width - 1) * down + fd_taps
                num_bytes = _shared_bytes(tile, up, down, fu_taps, fd_taps, fu_is_2d, fd_is_2d)
                is_aligned = width * down % _stride(down, fd_taps, fd_is_2d) == 0
                limit = (48 if channels > 1 else 40) * 1024
                if height < 1 or not is_aligned or num_bytes > limit:
                    continue
                # A thread per row wants long rows, but not fewer than two warps.
                cost = rows * cols / (height * width)
                if cost < best_cost:
                    best, best_cost = tile, cost
        if best is not None:
            return best
    return best


def specialisation(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    up: int,
    down: int,
    padding: tuple[int, ...],
    mid_padding: tuple[int, ...],
    slope: float,
    mode: str,
) -> tuple[str, Tile] | None:
    """C++ name of the kernel for a call and its tile; `None` if that needs the general kernels.

    Args:
        x: The input; only its type, shape and strides matter.
        fu: Filter of the upsampling; only its shape matters.
        fd: Filter of the downsampling, likewise.
        up: Factor of the upsampling.
        down: Factor of the downsampling.
        padding: Of the stuffed image, `[x0, x1, y0, y1]`.
        mid_padding: Of the samples, likewise.
        slope: Of the leaky ReLU.
        mode: `ACT`, `WRITE_MASK` or `READ_MASK`.
    """
    if x.dtype == torch.float64 or up not in FACTORS or down not in FACTORS:
        return None
    if slope > 1 or max(x.stride()[2:]) >= MAX_STRIDE:
        return None
    if any(len(set(f.shape)) > 1 or f.shape[0] > MAX_TAPS for f in (fu, fd)):
        return None
    sizes = [x.shape[3 - k] * up + sum(padding[2 * k : 2 * k + 2]) for k in (0, 1)]
    if max(sizes) >= MAX_SIZE or x.shape[0] * x.shape[1] > MAX_GRID:
        return None
    fu_is_2d, fd_is_2d = (f.ndim == 2 and f.shape[0] > 1 for f in (fu, fd))
    if fu_is_2d and fd_is_2d:
        return None
    filters = (up, down, fu.shape[0], fd.shape[0], fu_is_2d, fd_is_2d)
    is_channels_last = output_format(x) == torch.channels_last
    tile = choose_tile(*filters, is_channels_last)
    if tile is None:
        return None
    # The first sample of a tile is a multiple of `up`; its distance to an input, see `Polyphase`.
    phases = [-(padding[2 * axis] + mid_padding[2 * axis]) % up for axis in (0, 1)]
    return _name(x.dtype, filters, tile, mode, *phases), tile


@functools.cache
def _name(dtype, filters, tile: Tile, mode: str, phase_x: int, phase_y: int) -> str:
    filters = ", ".join(str(value).lower() for value in filters)
    size = f"{tile.width}, {tile.rows}, {tile.channels}, {tile.threads}"
    return (
        f"filtered_lrelu<{TYPES[dtype]}, Filters<{filters}>, Tile<{size}>, "
        f"{mode}, {phase_x}, {phase_y}>"
    )


@dataclass(frozen=True)
class _Call:
    """What the kernels do, apart from tensors."""

    up: int
    down: int
    padding: tuple[int, ...]
    mid_padding: tuple[int, ...]
    gain: float
    slope: float
    clamp: float
    flip_filter: bool


def _launch(
    call: _Call,
    mode: str,
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    n, c, in_h, in_w = x.shape
    (x0, x1, y0, y1), (mid_x0, mid_x1, mid_y0, mid_y1) = call.padding, call.mid_padding
    tmp_w = in_w * call.up + x0 + x1 - fu.shape[-1] + 1
    tmp_h = in_h * call.up + y0 + y1 - fu.shape[0] + 1
    out_w = (tmp_w + mid_x0 + mid_x1 - fd.shape[-1]) // call.down + 1
    out_h = (tmp_h + mid_y0 + mid_y1 - fd.shape[0]) // call.down + 1
    y = torch.empty(
        [n, c, out_h, out_w], dtype=x.dtype, device=x.device, memory_format=output_format(x)
    )
    if y.numel() == 0:
        return y
    scale = None if scale is None else scale.to(torch.float32).contiguous()
    b = None if b is None else b.to(x.dtype).contiguous()
    fu, fd = fu.to(torch.float32).contiguous(), fd.to(torch.float32).contiguous()
    special = specialisation(
        x, fu, fd, call.up, call.down, call.padding, call.mid_padding, call.slope, mode
    )
    tensors = x, y, mask, scale, b
    if special is None:
        _launch_general(call, mode, tensors, fu, fd, tmp_w, tmp_h)
    else:
        _launch_special(call, *special, tensors, fu, fd, tmp_w, tmp_h)
    return y


def _launch_special(call: _Call, name: str, tile: Tile, tensors, fu, fd, tmp_w, tmp_h) -> None:
    x, y = tensors[:2]
    (n, c, in_h, in_w), (out_h, out_w) = x.shape, y.shape[2:]
    stride = _stride(call.down, fd.shape[0], fd.ndim == 2) // call.down
    tile_w = _even_tile(out_w, tile.width, stride)
    tile_h = _even_tile(out_h, tile.max_height(call.down, fd.shape[0]), 4)
    grid = n * -(-c // tile.channels), -(-out_w // tile_w), -(-out_h // tile_h)
    threads = tile.threads
    if tile.threads == tile.rows * tile.channels:
        rows = (tile_h - 1) * call.down + fd.shape[0]
        threads = tile.channels * _round_up(rows, 32 if tile.channels == 1 else 16)
    once = [f.ndim == 2 and f.numel() == 1 for f in (fu, fd)]
    x_pad, _, y_pad, _ = map(sum, zip(call.padding, call.mid_padding, strict=True))
    args = [
        *map(_pointer, (*tensors, fu, fd)),
        *map(c_int32, (*once, call.flip_filter)),
        *map(c_float, (call.gain, call.slope, call.clamp)),
        *map(c_int32, (c, in_h, in_w, tmp_h, tmp_w, out_h, out_w)),
        *map(c_int64, (*x.stride(), *y.stride())),
        *map(c_int32, (x_pad, y_pad, call.mid_padding[0], call.mid_padding[2], tile_w, tile_h)),
    ]
    compiler.launch(SOURCE, name, x.device, grid, (threads, 1, 1), args)


def _launch_general(call: _Call, mode: str, tensors, fu, fd, tmp_w, tmp_h) -> None:
    x, y, mask, scale, b = tensors
    (n, c, in_h, in_w), (out_h, out_w) = x.shape, y.shape[2:]
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    number = c_double if dtype == torch.float64 else c_float
    fu, fd = fu.to(dtype), fd.to(dtype)
    samples = torch.empty([n, c, tmp_h, tmp_w], dtype=dtype, device=x.device)
    args = [
        *map(_pointer, (x, samples, mask, scale, b, fu)),
        *map(c_int32, (fu.ndim == 2, fu.shape[-1], fu.shape[0], call.flip_filter)),
        *map(number, (call.gain, call.slope, call.clamp)),
        *map(c_int32, (call.up, c, in_h, in_w, tmp_h, tmp_w)),
        *map(c_int64, x.stride()),
        *map(c_int32, (call.padding[0], call.padding[2])),
        c_int64(n * c),
    ]
    name = f"{TYPES[x.dtype]}, {TYPES[dtype]}"
    grid = _general_grid(n * c * tmp_h * -(-tmp_w // 16))
    block = (GENERAL_THREADS, 1, 1)
    compiler.launch(GENERAL_SOURCE, f"upsample<{name}, {mode}>", x.device, grid, block, args)
    args = [
        *map(_pointer, (samples, y, fd)),
        *map(c_int32, (fd.ndim == 2, fd.shape[-1], fd.shape[0], call.flip_filter)),
        *map(c_int32, (call.down, c, tmp_h, tmp_w, out_h, out_w)),
        *map(c_int64, y.stride()),
        *map(c_int32, (call.mid_padding[0], call.mid_padding[2])),
        c_int64(n * c),
    ]
    grid = _general_grid(y.numel())
    compiler.launch(GENERAL_SOURCE, f"downsample<{name}>", x.device, grid, block, args)


def _general_grid(num_threads: int) -> tuple[int, int, int]:
    return min(-(-num_threads // GENERAL_THREADS), MAX_GRID), 1, 1


def _pointer(t: Tensor | None) -> c_void_p:
    return c_void_p(None if t is None else t.data_ptr())


def _even_tile(size: int, largest: int, multiple: int) -> int:
    """Size of tiles that share an axis evenly."""
    num_tiles = -(-size // largest)
    return min(largest, _round_up(-(-size // num_tiles), multiple))


def _round_up(a: int, b: int) -> int:
    return -(-a // b) * b


def _stride(down: int, fd_taps: int, fd_is_2d: bool) -> int:
    """`Sizes::kStride` of the kernel: samples along a row after which registers repeat."""
    if fd_is_2d:
        return 16
    outputs = max(8, 1 << (-(-fd_taps // down) - 1).bit_length())
    return max(16, down * outputs)


def _shared_bytes(
    tile: Tile, up: int, down: int, fu_taps: int, fd_taps: int, fu_is_2d: bool, fd_is_2d: bool
) -> int:
    """Shared memory of the kernel (`Sizes`), for the worst phase."""
    num_inputs = lambda count: -(-(up - 1 + count - 1) // up) + -(-fu_taps // up)  # noqa: E731
    plane = lambda size: size if tile.channels == 1 else _round_up(size, 32) + 32 // tile.channels  # noqa: E731
    cols = _round_up((tile.width - 1) * down + fd_taps, _stride(down, fd_taps, fd_is_2d))
    first = plane((num_inputs(tile.rows) if fu_is_2d else tile.rows) * (num_inputs(cols) | 1))
    second = plane(tile.rows * (tile.width | 1))
    if fd_is_2d:
        second = plane(tile.rows * down * (_round_up(cols // down, 8) + 2))
    elif up <= down and not fu_is_2d:
        second = 0
    taps = _round_up(fu_taps, up) if fu_is_2d else fd_taps if fd_is_2d else 1
    return 4 * (tile.channels * (first + second) + taps * _round_up(taps, 4))
