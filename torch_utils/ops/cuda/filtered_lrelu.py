"""Launches `filtered_lrelu.cu`, or `filtered_lrelu_general.cu`, on CUDA devices."""

import contextlib
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from torch_utils.ops.arguments import address, as_operand
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
    y, *_ = _launch(full_call, operands)
    return y


def filtered_mask(operands: Operands, call: FilteredMask) -> tuple[Tensor, Tensor, Tensor]:
    """The masked, linear form of the op: output, sums, and sums of products."""
    up, down, padding, mid_padding, gain, slope, flip_filter, needs_sums = call
    x, fu, fd, *_ = operands
    layout = x.dtype, x.shape, x.stride(), fu.shape, fd.shape
    full_call = Call(
        READ_MASK, *layout, up, down, padding, mid_padding, gain, slope, 0.0, flip_filter
    )
    y, sums, products = _launch(full_call, operands, needs_sums)
    dtype = arithmetic_dtype(x.dtype)
    if y.numel() == 0:
        sums, products = (x.new_zeros(shape, dtype=dtype) for shape in call.shapes(operands))
    if sums is None:
        sums = x.new_empty(0, dtype=dtype)
    if products is None:
        products = x.new_empty(0, dtype=dtype)
    return y, sums, products


def _launch(
    call: Call, operands: Operands, needs_sums: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The output and, if they are needed, its sums and those of its products.

    Bias and scale have the type of the arithmetic.
    """
    x, fu, fd, b, scale, mask, saved = operands
    plan = make_plan(call)
    y = torch.empty(plan.shape, dtype=call.dtype, device=x.device, memory_format=plan.memory_format)
    if y.numel() == 0:
        return y, None, None
    dtype = arithmetic_dtype(call.dtype)
    fu, fd = as_operand(fu, dtype), as_operand(fd, dtype)
    # All three ways read and write the same masks.
    if plan.name is not None and plan.args is not None:
        # Each block sums up its tile.
        shape = *plan.shape[:2], plan.grid[1] * plan.grid[2]
        sums = torch.empty(shape, dtype=dtype, device=x.device) if needs_sums else None
        products = None
        if saved is not None:
            products = torch.empty(shape, dtype=dtype, device=x.device)
            saved = saved.contiguous(memory_format=plan.memory_format)
        args = Arguments.from_buffer_copy(plan.args)
        args.x, args.y, args.fu, args.fd = map(address, (x, y, fu, fd))
        args.b, args.scale, args.mask = map(address, (b, scale, mask))
        args.saved, args.sums, args.products = map(address, (saved, sums, products))
        with contextlib.suppress(BuildError):
            launcher.launch(SOURCE, plan.name, x.device, plan.grid, plan.block, [args])
            sums = None if sums is None else sums.sum([0, 2])
            return y, sums, None if products is None else products.sum(2)
    operands = operands._replace(fu=fu, fd=fd)
    try:
        _upsample_and_downsample(call, operands, y)
    except BuildError:
        y = fallback.filtered_lrelu(call, operands)
    if call.mode == READ_MASK:
        return fallback.scale_and_sum(y, operands, needs_sums)
    return y, None, None


def _upsample_and_downsample(call: Call, operands: Operands, y: Tensor) -> None:
    """Run the general kernels, without scale and sums in the masked form.

    The samples between the kernels are stored.
    """
    x, fu, fd, b, scale, mask, _ = operands
    scale = None if call.mode == READ_MASK else scale
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
