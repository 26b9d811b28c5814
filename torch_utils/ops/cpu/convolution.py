"""Launches `convolution.cpp`: 3x3 convolutions and their gradients."""

import ctypes
import functools

import torch
from torch import Tensor

from torch_utils.ops.arguments import fields
from torch_utils.ops.calls import Convolution
from torch_utils.ops.cpu import compiler

OUTPUT, INPUT, KERNEL = ROLES = range(3)  # what is computed: `y`, `x` or `k`

KERNELS = {torch.float32: ("float32", 1), torch.bfloat16: ("bfloat16", 2)}  # name, bit of support


class ConvolutionArgs(ctypes.Structure):
    """The structure in `convolution.h`."""

    _fields_ = [
        *fields(ctypes.c_void_p, "x k y"),
        *fields(ctypes.c_int64, "n c h w o out_h out_w kh kw"),
        *fields(ctypes.c_int64 * 4, "k_strides"),
        *fields(ctypes.c_int64, "stride pad_y pad_x num_threads"),
    ]


@functools.cache
def is_supported(dtype: torch.dtype) -> bool:
    """Whether this processor has the instructions for which the kernels are written."""
    return dtype in KERNELS and compiler.library() is not None and bool(_bits() & KERNELS[dtype][1])


def is_fast(
    role: int, n: int, k_channels: tuple[int, int], call: Convolution, dtype: torch.dtype
) -> bool:
    """Whether the kernel is faster than PyTorch's operation (`benchmarks.convolutions`).

    Args:
        role: What is computed: `OUTPUT`, `INPUT` or `KERNEL`.
        n: Samples.
        k_channels: Channels of the output and of the input.
        call: Sizes.
        dtype: Type of the tensors.
    """
    most, pixels = max(k_channels), call.out_size[0] * call.out_size[1]
    if dtype == torch.bfloat16:
        return n * pixels >= most  # else the time goes into the layout of the kernels
    if role == KERNEL:
        return most <= 32 or pixels >= 1024
    if call.stride == 1:  # PyTorch's kernels fill whole vectors of 16 channels only
        return most <= 32 and any(channels % 16 for channels in k_channels)
    if most <= 32:
        return True
    return most <= 128 if role == INPUT else min(k_channels) <= 32


def output(x: Tensor, k: Tensor, call: Convolution) -> Tensor:
    """The correlation of images `x` with kernels `k`."""
    x = x.contiguous()
    y = torch.empty([x.shape[0], k.shape[0], *call.out_size], dtype=x.dtype)
    _launch("output", x, k, y, call)
    return y


def input_gradient(k: Tensor, dy: Tensor, call: Convolution) -> Tensor:
    """The gradient of `x`: the transposed convolution of `dy`."""
    dy = dy.contiguous()
    dx = torch.empty([dy.shape[0], k.shape[1], *call.in_size], dtype=dy.dtype)
    _launch("input", dx, k, dy, call)
    return dx


def kernel_gradient(x: Tensor, dy: Tensor, call: Convolution) -> Tensor:
    """The gradient of `k`."""
    x, dy = x.contiguous(), dy.contiguous()
    dk = torch.empty([dy.shape[1], x.shape[1], *call.kernel_size], dtype=x.dtype)
    _launch("kernel", x, dk, dy, call)
    return dk


def _launch(name: str, x: Tensor, k: Tensor, y: Tensor, call: Convolution) -> None:
    args = ConvolutionArgs(
        *(x.data_ptr(), k.data_ptr(), y.data_ptr()),
        *(*x.shape, *y.shape[1:], *k.shape[2:]),
        k.stride(),
        *(call.stride, *call.padding, torch.get_num_threads()),
    )
    compiler.kernel(f"convolution_{name}_{KERNELS[x.dtype][0]}")(ctypes.byref(args))


@functools.cache
def _bits() -> int:
    bits = ctypes.c_int32()
    compiler.kernel("convolution_support")(ctypes.byref(bits))
    return bits.value
