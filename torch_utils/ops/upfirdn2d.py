"""Pad, upsample, filter and downsample batches of 2D images.

Coordinates are counted on the zero-stuffed image: upsampling by `up` follows every pixel with
`up - 1` zeros, padding is added to (or, if negative, cropped from) that image, and downsampling by
`down` keeps the first pixel of every group of `down`. Pairs are `(x, y)`, padding is
`(x0, x1, y0, y1)`.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from torch_utils import misc
from torch_utils.ops.calls import UpFirDn, call_of_op
from torch_utils.ops.cpu import upfirdn2d as cpu
from torch_utils.ops.cuda import upfirdn2d as cuda
from torch_utils.ops.cuda.recorder import stands_for_cuda
from torch_utils.ops.layout import output_format
from torch_utils.ops.reference import upfirdn2d as reference
from torch_utils.ops.registration import call as call_op
from torch_utils.ops.registration import register
from torch_utils.ops.selection import has_kernels, wants_reference

Factor = int | Sequence[int]
Padding = int | Sequence[int]
Impl = Literal["cuda", "ref"]

# From this many taps on, two passes along the axes are faster than the 2D filter.
MIN_SEPARABLE_TAPS = 8

INTEGERS = (int, Integral)  # of Python and NumPy; `int` alone is found sooner


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: Factor = 1,
    down: Factor = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: Impl = "cuda",
) -> Tensor:
    """Pad, upsample, filter and downsample a batch of images; differentiable to any order.

    Args:
        x: Images `[N, C, H, W]` of any floating-point type.
        f: Float32 filter `[fh, fw]`, or `[taps]` for a separable filter; `None` is the identity.
        up: Upsampling factor, an integer or `[x, y]`.
        down: Downsampling factor, an integer or `[x, y]`.
        padding: Pixels of the upsampled image to add: an integer, `[x, y]` or `[x0, x1, y0, y1]`.
            Negative values crop.
        flip_filter: False convolves, True correlates.
        gain: Total gain of the 2D operation.
        impl: `"cuda"` stands for the best kernel that exists, `"ref"` for the reference.

    Returns:
        Images `[N, C, H', W']` in the dtype of `x`, with
        `W' = (W * up + x0 + x1 - fw) // down + 1`.

    Raises:
        ValueError: If an argument has the wrong rank, type or range, or the output is empty.
    """
    is_reference = wants_reference("upfirdn2d", impl)
    if x.ndim != 4:
        raise ValueError(f"upfirdn2d: `x` must be [N, C, H, W], got {tuple(x.shape)}")
    up, down, padding = parse_factor("up", up), parse_factor("down", down), parse_padding(padding)
    if f is None:
        f = torch.ones([1, 1], device=x.device)
    check_filter("f", f)
    if gain < 0 and f.ndim == 1:  # each axis has the square root of the gain
        raise ValueError(
            f"upfirdn2d: `gain` of a separable filter must not be negative, got {gain}"
        )
    out_w, out_h = output_size(x, f, up, down, padding)
    if out_w < 1 or out_h < 1:
        raise ValueError(
            f"upfirdn2d: filter {tuple(f.shape)} and padding {padding} leave nothing of an image "
            f"of {x.shape[3]}x{x.shape[2]} upsampled by {up}"
        )
    call = UpFirDn(up, down, padding, bool(flip_filter), float(gain))
    if is_reference or not has_kernels(x, (f,)):
        return reference.upfirdn2d(x, f, call)
    return call_op(_upfirdn2d, x, f, *call)


def _upfirdn2d_cpu(x: Tensor, f: Tensor, *call: Any) -> Tensor:
    return cpu.upfirdn2d(x, f, call_of_op(UpFirDn, call))


def _upfirdn2d_cuda(x: Tensor, f: Tensor, *call: Any) -> Tensor:
    return cuda.upfirdn2d(x, f, call_of_op(UpFirDn, call))


def _upfirdn2d_fake(x: Tensor, f: Tensor, *call: Any) -> Tensor:
    if stands_for_cuda(x.device):
        return _upfirdn2d_cuda(x, f, *call)
    out_w, out_h = output_size(x, f, *call[:3])
    return x.new_empty([*x.shape[:2], out_h, out_w]).contiguous(memory_format=output_format(x))


def _setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, f, *ctx.settings = inputs
    ctx.in_size = x.shape[3], x.shape[2]
    ctx.save_for_backward(f)


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    (f,) = ctx.saved_tensors
    up, down, padding, flip_filter, gain = ctx.settings
    # The adjoint swaps the roles of the factors and mirrors the filter.
    (in_w, in_h), (*_, out_h, out_w), (fw, fh) = ctx.in_size, dy.shape, taps_of(f)
    x0, _, y0, _ = padding
    adjoint_padding = [
        *(fw - 1 - x0, (in_w - 1) * up[0] + 1 + x0 - out_w * down[0]),
        *(fh - 1 - y0, (in_h - 1) * up[1] + 1 + y0 - out_h * down[1]),
    ]
    dx = call_op(_upfirdn2d, dy, f, down, up, adjoint_padding, not flip_filter, gain)
    return dx, None


_upfirdn2d = register(
    "upfirdn2d",
    "(Tensor x, Tensor f, SymInt[] up, SymInt[] down, SymInt[] padding, "
    "bool flip_filter, float gain) -> Tensor",
    cpu=_upfirdn2d_cpu,
    cuda=_upfirdn2d_cuda,
    fake=_upfirdn2d_fake,
    setup_context=_setup_context,
    backward=_backward,
)


def setup_filter(
    f: Tensor | np.ndarray | Sequence | float | None,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> Tensor:
    """Make a filter for the other functions of this module.

    Args:
        f: Taps: `[fh, fw]`, `[taps]`, a scalar (one tap) or `None` (the identity).
        device: Device of the result.
        normalize: Divide by the sum of the taps.
        flip_filter: Reverse the filter.
        gain: Gain of the 2D operation: a separable result carries its square root per axis.
        separable: Keep a 1D filter 1D; by default if it has at least 8 taps. A 1D filter that is
            not separable becomes its outer product with itself.

    Returns:
        Float32 filter, `[taps]` if separable, else `[fh, fw]`.

    Raises:
        ValueError: If `f` has more than two dimensions or no taps.
    """
    f = torch.as_tensor(1 if f is None else f, dtype=torch.float32, device=device)
    if f.ndim > 2 or f.numel() == 0:
        raise ValueError(f"setup_filter: `f` must have one or two dimensions, got {tuple(f.shape)}")
    f = f.reshape(1) if f.ndim == 0 else f
    if separable is None:
        separable = f.ndim == 1 and f.numel() >= MIN_SEPARABLE_TAPS
    if f.ndim == 1 and not separable:
        f = torch.outer(f, f)
    if f.ndim != (1 if separable else 2):
        raise ValueError("setup_filter: a 2D filter cannot be made separable")
    if normalize:
        f = f / f.sum()
    if flip_filter:
        f = f.flip(list(range(f.ndim)))
    return f * gain ** (f.ndim / 2)


def filter2d(
    x: Tensor,
    f: Tensor | None,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: Impl = "cuda",
) -> Tensor:
    """Filter images `[N, C, H, W]`; with `padding` 0, they keep their size."""
    fw, fh = filter_size(f)
    own = (fw // 2, (fw - 1) // 2, fh // 2, (fh - 1) // 2)
    return upfirdn2d(
        x, f, padding=_add(own, padding), flip_filter=flip_filter, gain=gain, impl=impl
    )


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: Factor = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: Impl = "cuda",
) -> Tensor:
    """Upsample images `[N, C, H, W]` by `up`, aligned with the input and of unchanged brightness.

    `padding` is added to the padding that aligns them, in pixels of the output.
    """
    ux, uy = parse_factor("up", up)
    fw, fh = filter_size(f)
    own = ((fw + ux - 1) // 2, (fw - ux) // 2, (fh + uy - 1) // 2, (fh - uy) // 2)
    return upfirdn2d(
        x,
        f,
        up,
        padding=_add(own, padding),
        flip_filter=flip_filter,
        gain=gain * ux * uy,
        impl=impl,
    )


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: Factor = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: Impl = "cuda",
) -> Tensor:
    """Downsample images `[N, C, H, W]` by `down`, aligned with the input.

    `padding` is added to the padding that aligns them, in pixels of the input.
    """
    dx, dy = parse_factor("down", down)
    fw, fh = filter_size(f)
    own = ((fw - dx + 1) // 2, (fw - dx) // 2, (fh - dy + 1) // 2, (fh - dy) // 2)
    return upfirdn2d(
        x, f, down=down, padding=_add(own, padding), flip_filter=flip_filter, gain=gain, impl=impl
    )


def parse_factor(name: str, factor: Factor) -> tuple[int, int]:
    """Turn an integer or `[x, y]` into `(x, y)`; both must be at least 1."""
    if type(factor) is int and factor >= 1:
        return factor, factor
    pair = _as_sequence(factor)
    if len(pair) != 2 or not all(isinstance(v, INTEGERS) and int(v) >= 1 for v in pair):
        raise ValueError(f"`{name}` must be a positive integer or a pair of them, got {factor!r}")
    return int(pair[0]), int(pair[1])


def parse_padding(padding: Padding) -> tuple[int, int, int, int]:
    """Turn an integer, `[x, y]` or `[x0, x1, y0, y1]` into `(x0, x1, y0, y1)`."""
    if type(padding) is int:
        return padding, padding, padding, padding
    values = _as_sequence(padding)
    if len(values) == 2:
        values = (values[0], values[0], values[1], values[1])
    if len(values) != 4:
        raise ValueError(f"`padding` must be one, two or four integers, got {padding!r}")
    x0, x1, y0, y1 = values
    if type(x0) is type(x1) is type(y0) is type(y1) is int:
        return x0, x1, y0, y1
    if not all(isinstance(v, INTEGERS) for v in values):
        raise ValueError(f"`padding` must be one, two or four integers, got {padding!r}")
    return int(x0), int(x1), int(y0), int(y1)


def filter_size(f: Tensor | None) -> tuple[int, int]:
    """Width and height of a filter; `None` is a single tap."""
    if f is None:
        return 1, 1
    check_filter("f", f)
    return taps_of(f)


def taps_of(f: Tensor) -> tuple[int, int]:
    """Width and height of a filter that has been checked."""
    shape = f.shape
    return _untraced(shape[-1]), _untraced(shape[0])


def output_size(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> tuple[int, int]:
    """Width and height of the output of `upfirdn2d` for these (normalised) arguments."""
    x0, x1, y0, y1 = padding
    fw, fh = taps_of(f)
    return (
        (x.shape[3] * up[0] + x0 + x1 - fw) // down[0] + 1,
        (x.shape[2] * up[1] + y0 + y1 - fh) // down[1] + 1,
    )


def check_filter(name: str, f: Tensor) -> None:
    """Refuse filters that are not floating-point tensors `[taps]` or `[fh, fw]`, or are empty.

    Taps are float32, unless they belong to a network that was converted (`G.double()`).
    """
    if f.ndim not in (1, 2) or f.numel() == 0 or not f.is_floating_point():
        raise ValueError(
            f"`{name}` must be a floating-point filter [taps] or [fh, fw], "
            f"got {f.dtype} {tuple(f.shape)}"
        )


def _as_sequence(value: Any) -> tuple[Any, ...]:
    """`(value, value)` for an integer; otherwise the elements of a sequence."""
    if type(value) is list or type(value) is tuple:
        return tuple([v if type(v) is int else _untraced(v) for v in value])
    value = _untraced(value)
    return (value, value) if isinstance(value, INTEGERS) else tuple(map(_untraced, value))


def _untraced(value: Any) -> Any:
    """Turn an integer that `torch.jit.trace` has made a tensor, as part of a shape, back."""
    if (
        type(value) is int
        or not isinstance(value, Tensor)
        or value.ndim > 0
        or value.is_floating_point()
    ):
        return value
    with misc.suppress_tracer_warnings():
        return int(value)


def _add(own: tuple[int, int, int, int], padding: Padding) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(own, parse_padding(padding), strict=True))
