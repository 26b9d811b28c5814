"""Launches `resample.cpp`: upsample, apply a nonlinearity, downsample, in one pass."""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from torch_utils.ops.arguments import address, fields
from torch_utils.ops.calls import Operands, Padding, Pair
from torch_utils.ops.cpu import compiler
from torch_utils.ops.cpu.filters import separable_sum
from torch_utils.ops.layout import output_format

LINEAR, ACT, ACT_WRITE_MASK, READ_MASK = range(4)  # as in rows.h

# dtype of the images -> name of the kernel, dtype of the arithmetic
KERNELS = {
    torch.float32: ("float32", torch.float32),
    torch.float64: ("float64", torch.float64),
    torch.bfloat16: ("bfloat16", torch.float32),
}


class ResampleArgs(ctypes.Structure):
    """The structure in `resample.h`."""

    _fields_ = [
        *fields(ctypes.c_void_p, "x y mask scale bias saved sums products fu_x fu_y fd_x fd_y"),
        *fields(ctypes.c_int64, "n c in_h in_w tmp_h tmp_w out_h out_w"),
        *fields(ctypes.c_int64 * 3, "x_strides"),
        *fields(ctypes.c_int32, "up_x up_y down_x down_y pad_x pad_y mid_x mid_y"),
        *fields(ctypes.c_int32, "fu_w fu_h fu_rank fd_w fd_h fd_rank mode num_threads"),
        *fields(ctypes.c_double, "slope clamp"),
    ]


def is_supported(x: Tensor, *filters: Tensor) -> bool:
    """Whether the kernels can be used for images and (constant) filters."""
    return (
        x.device.type == "cpu"
        and x.dtype in KERNELS
        and not any(f.requires_grad for f in filters)
        and _has_kernels()
    )


@torch.compiler.assume_constant_result
def _has_kernels() -> bool:
    return compiler.library() is not None


def mask_shape(x: Tensor, tmp_h: int, tmp_w: int) -> list[int]:
    """Shape of what `ACT_WRITE_MASK` writes for samples `[N, C, tmp_h, tmp_w]`, in bytes.

    Two rows of bits for each row of samples: where the slope applies, where the clamp cuts.
    """
    n, c = x.shape[:2]
    return [n, c, 2, tmp_h, (tmp_w + 7) // 8]


class Resampling(NamedTuple):
    """Settings of two filters with a nonlinearity between.

    Attributes:
        up: Upsampling factors x and y.
        down: Downsampling factors x and y.
        padding: Zeros around the zero-stuffed image: x0, x1, y0, y1.
        mid_padding: Zeros around the samples between the filters, likewise.
        flip_filter: Correlate instead of convolve.
        up_gain: Gain of the first filter; it may include a positive gain of the activation.
        mode: The nonlinearity: `LINEAR`, `ACT`, `ACT_WRITE_MASK` or `READ_MASK`.
        slope: Slope of the leaky ReLU below zero.
        clamp: Limit of the absolute value after the leaky ReLU.
    """

    up: Pair
    down: Pair
    padding: Padding
    mid_padding: Padding = (0, 0, 0, 0)
    flip_filter: bool = False
    up_gain: float = 1
    mode: int = LINEAR
    slope: float = 1
    clamp: float | None = None

    def sizes(self, x: Tensor, fu: Tensor, fd: Tensor) -> tuple[Pair, Pair]:
        """Height and width of the samples between the filters, and of the output."""
        x0, x1, y0, y1 = self.padding
        tmp_w = x.shape[3] * self.up[0] + x0 + x1 - fu.shape[-1] + 1
        tmp_h = x.shape[2] * self.up[1] + y0 + y1 - fu.shape[0] + 1
        x0, x1, y0, y1 = self.mid_padding
        out_w = (tmp_w + x0 + x1 - fd.shape[-1]) // self.down[0] + 1
        out_h = (tmp_h + y0 + y1 - fd.shape[0]) // self.down[1] + 1
        return (tmp_h, tmp_w), (out_h, out_w)


def resample(
    operands: Operands,
    call: Resampling,
    row_sums: Tensor | None = None,
    row_products: Tensor | None = None,
) -> Tensor:
    """Filter images twice with a nonlinearity between, see `resample.cpp`.

    Images may have any strides; if the pixels of a row are neighbours, nothing is copied.

    Args:
        operands: The tensors; bias and scale are in the dtype of the arithmetic.
        call: Settings.
        row_sums: For `READ_MASK`: zeros `[N, C, H]` in the dtype of the arithmetic, to which the
            sums of the rows of the output are added before it is scaled.
        row_products: The same for the products with `operands.saved`.
    """
    x, fu, fd, b, scale, mask, saved = operands
    tmp_size, out_size = call.sizes(x, fu, fd)
    memory_format = output_format(x)
    y = torch.empty([*x.shape[:2], *out_size], dtype=x.dtype)
    if y.numel() > 0:
        kernel, dtype = KERNELS[x.dtype]
        fu_sum = separable_sum(fu, call.up_gain, call.flip_filter, dtype)
        fd_sum = separable_sum(fd, 1, call.flip_filter, dtype)
        x = x if x.stride(3) == 1 else x.contiguous()
        saved = None if saved is None else saved.contiguous()
        filters = fu_sum.x, fu_sum.y, fd_sum.x, fd_sum.y
        args = ResampleArgs(
            *map(address, (x, y, mask, scale, b, saved, row_sums, row_products, *filters)),
            *(*x.shape, *tmp_size, *out_size),
            (ctypes.c_int64 * 3)(*x.stride()[:3]),
            *(*call.up, *call.down),
            *(call.padding[0], call.padding[2], call.mid_padding[0], call.mid_padding[2]),
            *(fu.shape[-1], fu.shape[0], fu_sum.rank, fd.shape[-1], fd.shape[0], fd_sum.rank),
            *(call.mode, torch.get_num_threads(), call.slope),
            float("inf") if call.clamp is None else call.clamp,
        )
        compiler.kernel(f"resample_{kernel}")(ctypes.byref(args))
    return y.contiguous(memory_format=memory_format)
