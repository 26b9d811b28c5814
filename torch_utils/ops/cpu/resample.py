"""Launches `resample.cpp`: upsample, apply a nonlinearity, downsample, in one pass."""

import ctypes

import torch
from torch import Tensor

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


def _fields(ctype: type, names: str) -> list[tuple[str, type]]:
    return [(name, ctype) for name in names.split()]


class ResampleArgs(ctypes.Structure):
    """The structure in `resample.h`."""

    _fields_ = [
        *_fields(ctypes.c_void_p, "x y mask scale bias fu_x fu_y fd_x fd_y"),
        *_fields(ctypes.c_int64, "n c in_h in_w tmp_h tmp_w out_h out_w"),
        *_fields(ctypes.c_int64 * 3, "x_strides"),
        *_fields(ctypes.c_int32, "up_x up_y down_x down_y pad_x pad_y mid_x mid_y"),
        *_fields(ctypes.c_int32, "fu_w fu_h fu_rank fd_w fd_h fd_rank mode num_threads"),
        *_fields(ctypes.c_double, "slope clamp"),
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


def resample(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    mid_padding: tuple[int, int, int, int],
    flip_filter: bool,
    up_gain: float = 1,
    mode: int = LINEAR,
    scale: Tensor | None = None,
    b: Tensor | None = None,
    slope: float = 1,
    clamp: float | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Filter `x` `[N, C, H, W]` twice with a nonlinearity between, see `resample.cpp`.

    Args:
        x: Images of any strides; rows of neighbouring pixels are read as they are.
        fu: Filter of the upsampling, `[taps]` or `[fh, fw]`.
        fd: Filter of the downsampling, likewise.
        up: Factors x and y.
        down: Factors x and y.
        padding: Zeros around the stuffed image: x0, x1, y0, y1.
        mid_padding: Zeros around the samples between the filters, likewise.
        flip_filter: Correlate instead of convolve.
        up_gain: Gain of the first filter; the activation's gain can be part of it, if positive.
        mode: What happens between the filters.
        scale: Factors of the input `[N, C]`.
        b: Bias `[C]` added to that.
        slope: Of the leaky ReLU.
        clamp: Of the leaky ReLU.
        mask: Bits to write or to read.
    """
    n, c, in_h, in_w = x.shape
    (up_x, up_y), (down_x, down_y) = up, down
    kernel, dtype = KERNELS[x.dtype]
    fu_w, fu_h, fd_w, fd_h = fu.shape[-1], fu.shape[0], fd.shape[-1], fd.shape[0]
    fu_sum = separable_sum(fu, up_gain, flip_filter, dtype)
    fd_sum = separable_sum(fd, 1, flip_filter, dtype)
    tmp_w = in_w * up_x + padding[0] + padding[1] - fu_w + 1
    tmp_h = in_h * up_y + padding[2] + padding[3] - fu_h + 1
    out_w = (tmp_w + mid_padding[0] + mid_padding[1] - fd_w) // down_x + 1
    out_h = (tmp_h + mid_padding[2] + mid_padding[3] - fd_h) // down_y + 1
    memory_format = output_format(x)
    y = torch.empty([n, c, out_h, out_w], dtype=x.dtype)
    if y.numel() > 0:
        x = x if x.stride(3) == 1 else x.contiguous()
        scale = None if scale is None else scale.to(dtype).contiguous()
        b = None if b is None else b.to(dtype).contiguous()
        tensors = (x, y, mask, scale, b, fu_sum.x, fu_sum.y, fd_sum.x, fd_sum.y)
        args = ResampleArgs(
            *(None if t is None else t.data_ptr() for t in tensors),
            *(n, c, in_h, in_w, tmp_h, tmp_w, out_h, out_w),
            (ctypes.c_int64 * 3)(*x.stride()[:3]),
            *(up_x, up_y, down_x, down_y),
            *(padding[0], padding[2], mid_padding[0], mid_padding[2]),
            *(fu_w, fu_h, fu_sum.rank, fd_w, fd_h, fd_sum.rank),
            *(mode, torch.get_num_threads(), slope, float("inf") if clamp is None else clamp),
        )
        getattr(compiler.library(), f"resample_{kernel}")(ctypes.byref(args))
    return y.contiguous(memory_format=memory_format)
