"""Launches `filtered_lrelu.cu`, or `filtered_lrelu_general.cu`, on CUDA devices."""

import contextlib
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from torch_utils.ops.arguments import address
from torch_utils.ops.calls import FilteredLrelu, FilteredMask, Operands
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import fallback, launcher
from torch_utils.ops.cuda.cpp_types import CPP_TYPES
from torch_utils.ops.cuda.filtered_lrelu_plan import (
    ACT,
    READ_MASK,
    WRITE_MASK,
    Arguments,
    Call,
    make_plan,
)
from torch_utils.ops.layout import arithmetic_dtype

SOURCE = "filtered_lrelu.cu"
GENERAL_SOURCE = "filtered_lrelu_general.cu"
GENERAL_THREADS = 128
MAX_GRID = (1 << 31) - 1
NO_PADDING = (0, 0, 0, 0)


def mask_shape(x: Tensor, tmp_h: int, tmp_w: int) -> list[int]:
    """Shape of the mask for samples `[N, C, tmp_h, tmp_w]`, in bytes (see `filtered_lrelu.cu`)."""
    return [*x.shape[:2], -(-tmp_w // 16), tmp_h, 4]


def filtered_lrelu(operands: Operands, call: FilteredLrelu) -> Tensor:
    """Run the op with a positive gain. The mask, if given, receives bits for the derivative."""
    up, down, padding, gain, slope, clamp, flip_filter = call
    x, fu, fd, *_ = operands
    mode = ACT if operands.mask is None else WRITE_MASK
    clamp = float("inf") if clamp is None else clamp
    layout = x.dtype, x.shape, x.stride(), fu.shape, fd.shape
    gain *= up**2  # the zeros between the samples take this factor
    full_call = Call(mode, *layout, up, down, padding, NO_PADDING, gain, slope, clamp, flip_filter)
    return _launch(full_call, operands)


def filtered_mask(operands: Operands, call: FilteredMask) -> Tensor:
    """The masked, linear form of the op."""
    up, down, padding, mid_padding, gain, slope, flip_filter = call
    x, fu, fd, *_ = operands
    layout = x.dtype, x.shape, x.stride(), fu.shape, fd.shape
    full_call = Call(
        READ_MASK, *layout, up, down, padding, mid_padding, gain, slope, 0.0, flip_filter
    )
    return _launch(full_call, operands)


def _launch(call: Call, operands: Operands) -> Tensor:
    x, fu, fd, b, scale, mask = operands
    plan = make_plan(call)
    y = torch.empty(plan.shape, dtype=call.dtype, device=x.device, memory_format=plan.memory_format)
    if y.numel() == 0:
        return y
    dtype = arithmetic_dtype(call.dtype)
    scale = None if scale is None else scale.to(dtype).contiguous()
    b = None if b is None else b.to(call.dtype).contiguous()
    fu, fd = fu.to(dtype).contiguous(), fd.to(dtype).contiguous()
    # All three ways read and write the same masks.
    if plan.name is not None and plan.args is not None:
        args = Arguments.from_buffer_copy(plan.args)
        args.x, args.y, args.fu, args.fd = map(address, (x, y, fu, fd))
        args.b, args.scale, args.mask = map(address, (b, scale, mask))
        with contextlib.suppress(BuildError):
            launcher.launch(SOURCE, plan.name, x.device, plan.grid, plan.block, [args])
            return y
    operands = Operands(x, fu, fd, b, scale, mask)
    with contextlib.suppress(BuildError):
        _upsample_and_downsample(call, operands, y)
        return y
    return fallback.filtered_lrelu(call, operands)


def _upsample_and_downsample(call: Call, operands: Operands, y: Tensor) -> None:
    """Run the general kernels; the samples between them are stored."""
    x, fu, fd, b, scale, mask = operands
    (n, c, in_h, in_w), (tmp_h, tmp_w) = call.shape, call.tmp_size()
    dtype = arithmetic_dtype(call.dtype)
    number = c_double if dtype == torch.float64 else c_float
    types = f"{CPP_TYPES[call.dtype]}, {CPP_TYPES[dtype]}"
    samples = torch.empty([n, c, tmp_h, tmp_w], dtype=dtype, device=x.device)
    args = [
        *(c_void_p(address(t)) for t in (x, samples, mask, scale, b, fu)),
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
        *(c_void_p(address(t)) for t in (samples, y, fd)),
        *map(c_int32, (fd.ndim == 2, fd.shape[-1], fd.shape[0], call.flip_filter)),
        *map(c_int32, (call.down, c, tmp_h, tmp_w, *y.shape[2:])),
        *map(c_int64, y.stride()),
        *map(c_int32, (call.mid_padding[0], call.mid_padding[2])),
        c_int64(n * c),
    ]
    _launch_general(f"downsample<{types}>", x.device, y.numel(), args)


def _launch_general(name: str, device: torch.device, num_threads: int, args: list) -> None:
    grid = (min(-(-num_threads // GENERAL_THREADS), MAX_GRID), 1, 1)
    launcher.launch(GENERAL_SOURCE, name, device, grid, (GENERAL_THREADS, 1, 1), args)
