"""The least arithmetic and memory traffic of an op, by formula.

**Arithmetic.** A multiplication and an addition count two, any other operation on a number one.
Filtering is polyphase: an output of a filter of `t` taps behind an upsampling by `up` takes
`ceil(t / up)` multiplications and additions along that axis, since the others meet inserted zeros;
samples that downsampling drops are not computed. Filters that are products of a row and a column
run along the axes in turn, in the cheaper order; those that are not (config R downsamples with
radial ones) take all their `fh * fw` taps for every output. An implementation that uses a symmetry
of the taps needs less, and so reaches a higher share of the peak than its instructions say.

`filtered_lrelu`, whose nonlinearity acts on `[N, C, th, tw]` samples, counts, in the order of
`torch_utils/ops/cpu/stages.h`: for every input scale and bias (1 each, if there are any), the
upsampling filter, for every sample of the nonlinearity the leaky ReLU (2: a product and a choice)
and the clamp (2), the downsampling filter. Gains are free, as part of the taps. Its backward pass
counts both filters with the roles of up and down swapped, and 2 for every sample in between.

**Memory.** Every input and output once, in its own type. With gradients, `filtered_lrelu` keeps 2
bits for each sample of the nonlinearity, written forward and read backward; the backward pass reads
the gradient of the output and writes that of the input. `bias_act` keeps one tensor, where the
activation or the gradient of a scale needs it. Intermediate tensors of an implementation are
overhead, not work, and tensors as small as a bias are not counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.calls import Layout
from torch_utils.ops import upfirdn2d

MASK_BITS = 2  # of one sample of the nonlinearity
ACTIVATION_FLOP = {"linear": 0, "relu": 1, "lrelu": 2}

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and bytes read and written."""

    flop: int
    byte: int

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flop + other.flop, self.byte + other.byte)

    def __mul__(self, times: int) -> "Work":
        return Work(self.flop * times, self.byte * times)


def work_of(op: str, arguments: dict[str, Any], with_grad: bool) -> Work:
    """Work of one call.

    Args:
        op: `"filtered_lrelu"`, `"upfirdn2d"` or `"bias_act"`.
        arguments: All arguments of the public function by name, a `Layout` for `x`.
        with_grad: Include the backward pass.
    """
    formulas: dict[str, Callable[[dict[str, Any], bool], Work]] = dict(
        filtered_lrelu=_filtered_lrelu, upfirdn2d=_upfirdn2d, bias_act=_bias_act
    )
    return formulas[op](arguments, with_grad)


def filter_flop(
    f: Tensor | None, in_size: Size, out_size: Size, up: Size = (1, 1), planes: int = 1
) -> int:
    """Operations of filtering planes `in_size` behind an upsampling by `up` to `out_size`."""
    if f is None:
        return 0
    (in_w, in_h), (out_w, out_h) = in_size, out_size
    fw, fh = upfirdn2d.filter_size(f)
    taps_x, taps_y = -(-fw // up[0]), -(-fh // up[1])
    if not is_separable(f):
        return 2 * planes * out_w * out_h * taps_x * taps_y
    # A single tap is a gain.
    taps_x, taps_y = (0 if taps == 1 else taps for taps in (taps_x, taps_y))
    columns_first = in_w * out_h * taps_y + out_w * out_h * taps_x
    rows_first = out_w * in_h * taps_x + out_w * out_h * taps_y
    return 2 * planes * min(columns_first, rows_first)


def is_separable(f: Tensor) -> bool:
    """Whether a filter is the product of a row and a column, to float32 precision."""
    if f.ndim == 1 or 1 in f.shape:
        return True
    largest, second = torch.linalg.svdvals(f.double().cpu())[:2].tolist()
    return second <= 1e-6 * largest


def _filtered_lrelu(arguments: dict[str, Any], with_grad: bool) -> Work:
    x: Layout = arguments["x"]
    fu, fd, up, down = (arguments[name] for name in ("fu", "fd", "up", "down"))
    has_bias, has_scale = (arguments.get(name) is not None for name in ("b", "scale"))
    n, c, in_h, in_w = x.shape
    planes, in_size = n * c, (in_w, in_h)
    x0, x1, y0, y1 = upfirdn2d.parse_padding(arguments["padding"])
    (fu_w, fu_h), (fd_w, fd_h) = upfirdn2d.filter_size(fu), upfirdn2d.filter_size(fd)
    tmp_w, tmp_h = in_w * up + x0 + x1 - fu_w + 1, in_h * up + y0 + y1 - fu_h + 1
    tmp_size = tmp_w, tmp_h
    out_size = (tmp_w - fd_w) // down + 1, (tmp_h - fd_h) // down + 1
    num_in, num_tmp, num_out = (planes * w * h for w, h in (in_size, tmp_size, out_size))

    activation = 2 * (arguments["slope"] != 1) + 2 * (arguments["clamp"] is not None)
    forward = Work(
        flop=num_in * (has_bias + has_scale)
        + filter_flop(fu, in_size, tmp_size, (up, up), planes)
        + num_tmp * activation
        + filter_flop(fd, tmp_size, out_size, planes=planes),
        byte=(num_in + num_out) * x.dtype.itemsize,
    )
    if not with_grad:
        return forward
    mask = num_tmp * MASK_BITS // 8 if activation else 0
    backward = Work(
        flop=filter_flop(fd, out_size, tmp_size, (down, down), planes)
        + num_tmp * (2 if activation else 0)
        + filter_flop(fu, tmp_size, in_size, planes=planes)
        + num_in * (has_bias + 2 * has_scale),
        byte=(num_in + num_out) * x.dtype.itemsize + 2 * mask,
    )
    return forward + backward


def _upfirdn2d(arguments: dict[str, Any], with_grad: bool) -> Work:
    x: Layout = arguments["x"]
    f = arguments["f"]
    n, c, in_h, in_w = x.shape
    (up_x, up_y), (down_x, down_y) = (
        upfirdn2d.parse_factor("", arguments[name]) for name in ("up", "down")
    )
    x0, x1, y0, y1 = upfirdn2d.parse_padding(arguments["padding"])
    fw, fh = upfirdn2d.filter_size(f)
    out_w = (in_w * up_x + x0 + x1 - fw) // down_x + 1
    out_h = (in_h * up_y + y0 + y1 - fh) // down_y + 1
    in_size, out_size, planes = (in_w, in_h), (out_w, out_h), n * c
    num_bytes = planes * (in_w * in_h + out_w * out_h) * x.dtype.itemsize
    forward = Work(filter_flop(f, in_size, out_size, (up_x, up_y), planes), num_bytes)
    if not with_grad:
        return forward
    return forward + Work(filter_flop(f, out_size, in_size, (down_x, down_y), planes), num_bytes)


def _bias_act(arguments: dict[str, Any], with_grad: bool) -> Work:
    x: Layout = arguments["x"]
    act, gain = arguments["act"], arguments["gain"]
    noise: Layout | None = arguments.get("noise")
    has_clamp, has_scale = (arguments.get(name) is not None for name in ("clamp", "scale"))
    num_operands = sum(arguments.get(name) is not None for name in ("b", "scale", "noise"))
    has_gain = gain != 1 and not (gain is None and act == "linear")
    per_sample = num_operands + ACTIVATION_FLOP[act] + has_gain + 2 * has_clamp
    num_bytes = x.numel * x.dtype.itemsize
    noise_bytes = 0 if noise is None else noise.numel * noise.dtype.itemsize
    forward = Work(x.numel * per_sample, 2 * num_bytes + noise_bytes)
    if not with_grad:
        return forward
    # The backward pass takes the slope from the output; the gradient of the scale needs the input.
    keeps_tensor = act != "linear" or has_clamp or has_scale
    is_nonlinear = act != "linear" or has_clamp
    backward_flop = has_gain + 2 * is_nonlinear + num_operands + 2 * has_scale
    return forward + Work(x.numel * backward_flop, (2 + keeps_tensor) * num_bytes + noise_bytes)
