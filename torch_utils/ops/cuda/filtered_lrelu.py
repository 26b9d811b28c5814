"""Launches `filtered_lrelu.cu`, or `filtered_lrelu_general.cu`, on CUDA devices."""

import contextlib
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from torch_utils.ops.cuda import compiler, fallback
from torch_utils.ops.cuda.filtered_lrelu_plan import (
    ACT,
    READ_MASK,
    TYPES,
    WRITE_MASK,
    Arguments,
    Call,
    make_plan,
)

SOURCE = "filtered_lrelu.cu"
GENERAL_SOURCE = "filtered_lrelu_general.cu"
GENERAL_THREADS = 128
MAX_GRID = (1 << 31) - 1


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
    """The op; `gain` is positive. Bits for the derivative go to `mask`, if any.

    `scale` `[N, C]` multiplies `x` before the bias.
    """
    call = Call(
        ACT if mask is None else WRITE_MASK,
        *_layout(x, fu, fd),
        *(up, down, tuple(padding), (0, 0, 0, 0)),
        *(up**2 * gain, slope, float("inf") if clamp is None else clamp, flip_filter),
    )
    return _launch(call, x, fu, fd, b, scale, mask)


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
    call = Call(
        READ_MASK,
        *_layout(x, fu, fd),
        *(up, down, tuple(padding), tuple(mid_padding)),
        *(gain, slope, 0.0, flip_filter),
    )
    return _launch(call, x, fu, fd, None, None, mask)


def _layout(x: Tensor, fu: Tensor, fd: Tensor) -> tuple:
    return x.dtype, x.shape, x.stride(), fu.shape, fd.shape


def _launch(
    call: Call,
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    plan = make_plan(call)
    y = torch.empty(plan.shape, dtype=call.dtype, device=x.device, memory_format=plan.memory_format)
    if y.numel() == 0:
        return y
    dtype = torch.float64 if call.dtype == torch.float64 else torch.float32
    scale = None if scale is None else scale.to(dtype).contiguous()
    b = None if b is None else b.to(call.dtype).contiguous()
    fu, fd = fu.to(dtype).contiguous(), fd.to(dtype).contiguous()
    # All three ways read and write the same masks.
    if plan.name is not None:
        args = Arguments.from_buffer_copy(plan.args)
        args.x, args.y, args.fu, args.fd = map(_address, (x, y, fu, fd))
        args.b, args.scale, args.mask = map(_address, (b, scale, mask))
        with contextlib.suppress(compiler.BuildError):
            compiler.launch(SOURCE, plan.name, x.device, plan.grid, plan.block, [args])
            return y
    with contextlib.suppress(compiler.BuildError):
        _upsample_and_downsample(call, x, y, fu, fd, b, scale, mask)
        return y
    return fallback.filtered_lrelu(call, x, fu, fd, b, scale, mask)


def _upsample_and_downsample(
    call: Call,
    x: Tensor,
    y: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    mask: Tensor | None,
) -> None:
    """The general kernels; all samples between them are stored."""
    (n, c, in_h, in_w), (tmp_h, tmp_w) = call.shape, call.tmp_size()
    dtype = torch.float64 if call.dtype == torch.float64 else torch.float32
    number = c_double if dtype == torch.float64 else c_float
    fu, fd = fu.to(dtype), fd.to(dtype)
    types = f"{TYPES[call.dtype]}, {TYPES[dtype]}"
    samples = torch.empty([n, c, tmp_h, tmp_w], dtype=dtype, device=x.device)
    args = [
        *(c_void_p(_address(t)) for t in (x, samples, mask, scale, b, fu)),
        *map(c_int32, (fu.ndim == 2, fu.shape[-1], fu.shape[0], call.flip_filter)),
        *map(number, (call.gain, call.slope, call.clamp)),
        *map(c_int32, (call.up, c, in_h, in_w, tmp_h, tmp_w)),
        *map(c_int64, call.strides),
        *map(c_int32, (call.padding[0], call.padding[2])),
        c_int64(n * c),
    ]
    num_threads = n * c * tmp_h * -(-tmp_w // 16)
    _launch_general(f"upsample<{types}, {call.mode}>", x.device, num_threads, args)
    args = [
        *(c_void_p(_address(t)) for t in (samples, y, fd)),
        *map(c_int32, (fd.ndim == 2, fd.shape[-1], fd.shape[0], call.flip_filter)),
        *map(c_int32, (call.down, c, tmp_h, tmp_w, *y.shape[2:])),
        *map(c_int64, y.stride()),
        *map(c_int32, (call.mid_padding[0], call.mid_padding[2])),
        c_int64(n * c),
    ]
    _launch_general(f"downsample<{types}>", x.device, y.numel(), args)


def _launch_general(name: str, device: torch.device, num_threads: int, args: list) -> None:
    grid = (min(-(-num_threads // GENERAL_THREADS), MAX_GRID), 1, 1)
    compiler.launch(GENERAL_SOURCE, name, device, grid, (GENERAL_THREADS, 1, 1), args)


def _address(t: Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()
