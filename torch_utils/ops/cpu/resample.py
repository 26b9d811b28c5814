"""Launches `resample.cpp`: upsample, apply a nonlinearity, downsample, in one pass."""

import ctypes

import torch
from torch import Tensor

from torch_utils.ops.cpu import compiler
from torch_utils.ops.layout import output_format

LINEAR, ACT, ACT_WRITE_MASK, READ_MASK = range(4)  # as in stages.h

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
        *_fields(ctypes.c_void_p, "x y mask scale bias fu fd"),
        *_fields(ctypes.c_int64, "n c in_h in_w tmp_h tmp_w out_h out_w"),
        *_fields(ctypes.c_int64 * 4, "x_strides y_strides"),
        *_fields(ctypes.c_int32, "up_x up_y down_x down_y pad_x pad_y mid_x mid_y"),
        *_fields(ctypes.c_int32, "fu_w fu_h fd_w fd_h fu_is_2d fd_is_2d mode num_threads"),
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
    """Shape of the signs that `ACT_WRITE_MASK` writes for samples `[N, C, tmp_h, tmp_w]`."""
    n, c = x.shape[:2]
    name = str(KERNELS[x.dtype][1]).removeprefix("torch.")
    lib = compiler.library()
    lanes = getattr(lib, f"lanes_{name}")()
    return [n, -(-c // lanes), tmp_h, tmp_w, getattr(lib, f"signs_bytes_{name}")()]


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
        x: Images of any strides.
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
        mask: Signs to write or to read.
    """
    n, c, in_h, in_w = x.shape
    (up_x, up_y), (down_x, down_y) = up, down
    kernel, dtype = KERNELS[x.dtype]
    fu_is_2d, fu_w, fu_h, fu = _taps(fu, up_gain, flip_filter, dtype)
    fd_is_2d, fd_w, fd_h, fd = _taps(fd, 1, flip_filter, dtype)
    tmp_w = in_w * up_x + padding[0] + padding[1] - fu_w + 1
    tmp_h = in_h * up_y + padding[2] + padding[3] - fu_h + 1
    out_w = (tmp_w + mid_padding[0] + mid_padding[1] - fd_w) // down_x + 1
    out_h = (tmp_h + mid_padding[2] + mid_padding[3] - fd_h) // down_y + 1
    y = torch.empty([n, c, out_h, out_w], dtype=x.dtype, memory_format=output_format(x))
    if y.numel() == 0:
        return y
    scale = None if scale is None else scale.to(dtype).contiguous()
    b = None if b is None else b.to(dtype).contiguous()
    x_strides, y_strides = x.stride(), y.stride()
    if mode == LINEAR and x.is_contiguous() and y.is_contiguous():
        # All planes are alike: let them fill the vectors, whatever the number of channels.
        n, c = 1, n * c
    args = ResampleArgs(
        *(None if t is None else t.data_ptr() for t in (x, y, mask, scale, b, fu, fd)),
        *(n, c, in_h, in_w, tmp_h, tmp_w, out_h, out_w),
        *((ctypes.c_int64 * 4)(*strides) for strides in (x_strides, y_strides)),
        *(up_x, up_y, down_x, down_y),
        *(padding[0], padding[2], mid_padding[0], mid_padding[2]),
        *(fu_w, fu_h, fd_w, fd_h, fu_is_2d, fd_is_2d, mode, torch.get_num_threads()),
        *(slope, float("inf") if clamp is None else clamp),
    )
    getattr(compiler.library(), f"resample_{kernel}")(ctypes.byref(args))
    return y


def _taps(
    f: Tensor, gain: float, flip_filter: bool, dtype: torch.dtype
) -> tuple[bool, int, int, Tensor]:
    """Whether a filter is 2D, its size, and its taps as `ResampleArgs` has them."""
    f = f.to(torch.float64)
    f = f if flip_filter else f.flip(list(range(f.ndim)))  # the kernel correlates
    width, height = f.shape[-1], f.shape[0]
    if f.ndim == 2 and (separated := _separate(f, dtype)) is not None:
        f = torch.cat([separated[0] * gain, separated[1]])
        return False, width, height, f.to(dtype)
    if f.ndim == 1:
        return False, width, height, torch.cat([f * gain, f]).to(dtype)
    return True, width, height, (f * gain).to(dtype).contiguous()


def _separate(f: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
    """Taps along x and y whose outer product is `f`, if `f` is one to the precision of `dtype`."""
    pivot = int(f.abs().argmax())
    row, column = f[pivot // f.shape[1]], f[:, pivot % f.shape[1]]
    peak = f.flatten()[pivot]
    if peak != 0:
        row = row / peak
    error = (torch.outer(column, row) - f).abs().max()
    return (row, column) if error <= torch.finfo(dtype).eps * peak.abs() else None
