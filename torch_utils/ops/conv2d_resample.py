"""2D convolution with up- or downsampling, in whichever order is cheaper."""

import torch.nn.functional as F
from torch import Tensor

from torch_utils.ops import conv2d_gradfix, upfirdn2d
from torch_utils.ops.calls import Padding


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | list[int] = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    """Upsample, convolve and downsample a batch of images; differentiable to any order.

    Args:
        x: Images `[N, C, H, W]`.
        w: Weight `[out_channels, C / groups, kh, kw]`.
        f: Resampling filter from `upfirdn2d.setup_filter`, used for each of the two resamplings;
            `None` is the identity.
        up: Upsampling factor.
        down: Downsampling factor.
        padding: Pixels of the upsampled image to add: an integer, `[x, y]` or `[x0, x1, y0, y1]`.
            The padding that the resampling filter needs is added.
        groups: Groups of channels that do not mix.
        flip_weight: True correlates with `w` as `torch.nn.functional.conv2d` does, False convolves.
        flip_filter: The same for `f`, where False is the default.

    Returns:
        Images `[N, out_channels, H', W']` in the dtype of `x`; with a filter,
        `W' = ceil((W * up + x0 + x1 - (kw - 1)) / down)`.

    Raises:
        ValueError: If a factor is not a positive integer, or the shapes do not fit.
    """
    if x.ndim != 4 or w.ndim != 4 or w.shape[1] * groups != x.shape[1]:
        raise ValueError(
            f"conv2d_resample: weight {tuple(w.shape)} in {groups} groups does not fit images "
            f"{tuple(x.shape)}"
        )
    for name, factor in [("up", up), ("down", down)]:
        if not isinstance(factor, upfirdn2d.INTEGERS) or factor < 1:
            raise ValueError(
                f"conv2d_resample: `{name}` must be a positive integer, got {factor!r}"
            )
    total = _add_filter_padding(padding, f, up, down)
    if up == 1 and down == 1:
        return _conv(x, w, total, groups, flip_weight)
    if up == 1:
        return _conv_down(x, w, f, down, total, groups, flip_weight, flip_filter)
    x = _conv_up(x, w, f, up, total, groups, flip_weight, flip_filter)
    return x if down == 1 else upfirdn2d.upfirdn2d(x, f, down=down, flip_filter=flip_filter)


def _add_filter_padding(padding: int | list[int], f: Tensor | None, up: int, down: int) -> Padding:
    """Add the padding of `upsample2d` and `downsample2d`, which goes before the convolution."""
    x0, x1, y0, y1 = upfirdn2d.parse_padding(padding)
    fw, fh = upfirdn2d.filter_size(f)
    if up > 1:
        x0, x1 = x0 + (fw + up - 1) // 2, x1 + (fw - up) // 2
        y0, y1 = y0 + (fh + up - 1) // 2, y1 + (fh - up) // 2
    if down > 1:
        x0, x1 = x0 + (fw - down + 1) // 2, x1 + (fw - down) // 2
        y0, y1 = y0 + (fh - down + 1) // 2, y1 + (fh - down) // 2
    return x0, x1, y0, y1


def _conv(
    x: Tensor, w: Tensor, padding: Padding, groups: int, flip_weight: bool, stride: int = 1
) -> Tensor:
    x0, x1, y0, y1 = padding
    w = w if flip_weight else w.flip([2, 3])
    if x0 == x1 >= 0 and y0 == y1 >= 0:
        return conv2d_gradfix.conv2d(x, w, stride=stride, padding=[y0, x0], groups=groups)
    return conv2d_gradfix.conv2d(F.pad(x, padding), w, stride=stride, groups=groups)


def _conv_down(
    x: Tensor,
    w: Tensor,
    f: Tensor | None,
    down: int,
    padding: Padding,
    groups: int,
    flip_weight: bool,
    flip_filter: bool,
) -> Tensor:
    """Filter, then convolve, so that only the pixels that remain are convolved."""
    if w.shape[2:] == (1, 1):
        x = upfirdn2d.upfirdn2d(x, f, down=down, padding=padding, flip_filter=flip_filter)
        return _conv(x, w, (0, 0, 0, 0), groups, flip_weight)
    if f is None:
        return _conv(x, w, padding, groups, flip_weight, stride=down)
    x = upfirdn2d.upfirdn2d(x, f, padding=padding, flip_filter=flip_filter)
    return _conv(x, w, (0, 0, 0, 0), groups, flip_weight, stride=down)


def _conv_up(
    x: Tensor,
    w: Tensor,
    f: Tensor | None,
    up: int,
    padding: Padding,
    groups: int,
    flip_weight: bool,
    flip_filter: bool,
) -> Tensor:
    """Convolve, then filter: the zeros between the pixels are never convolved."""
    out_channels, in_channels, kh, kw = w.shape  # channels of one group in the second place
    if kh == kw == 1:
        x = _conv(x, w, (0, 0, 0, 0), groups, flip_weight)
        return upfirdn2d.upfirdn2d(
            x, f, up=up, padding=padding, flip_filter=flip_filter, gain=up**2
        )
    w = w.reshape(groups, out_channels // groups, in_channels, kh, kw).transpose(1, 2).flatten(0, 1)
    w = w.flip([2, 3]) if flip_weight else w  # a transposed convolution convolves
    # A transposed convolution starts `k - 1` pixels before the zero-stuffed image and ends `k - up`
    # behind it. These are subtracted from the padding; a negative rest crops.
    x0, x1, y0, y1 = padding
    x0, x1, y0, y1 = x0 - (kw - 1), x1 - (kw - up), y0 - (kh - 1), y1 - (kh - up)
    crop_x, crop_y = max(min(-x0, -x1), 0), max(min(-y0, -y1), 0)
    x = conv2d_gradfix.conv_transpose2d(x, w, stride=up, padding=[crop_y, crop_x], groups=groups)
    return upfirdn2d.upfirdn2d(
        x,
        f,
        padding=[x0 + crop_x, x1 + crop_x, y0 + crop_y, y1 + crop_y],
        flip_filter=flip_filter,
        gain=up**2,
    )
