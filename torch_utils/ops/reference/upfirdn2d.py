"""Definition of `upfirdn2d`."""

import torch.nn.functional as F
from torch import Tensor

from torch_utils.ops.calls import Padding, Pair, UpFirDn


def upfirdn2d(x: Tensor, f: Tensor, call: UpFirDn) -> Tensor:
    """Zero-stuff, pad, filter and decimate `x` `[N, C, H, W]`; arguments as in the public function.

    Inserting zeros and convolving is a transposed convolution, decimating a strided one, so that
    the zeros are never multiplied and the dropped samples never computed.
    """
    up, down, padding, flip_filter, gain = call
    # Filter and gain meet in float32, whatever the type of the image.
    f = (f * gain ** (f.ndim / 2)).to(x.dtype)
    if f.numel() == 1 and up == down == (1, 1) and not any(padding):
        return x * (f if f.ndim == 2 else f.square())
    if f.ndim == 2:
        return _upfirdn(x, f, up, down, padding, flip_filter)
    x0, x1, y0, y1 = padding
    x = _upfirdn(x, f[None, :], (up[0], 1), (down[0], 1), (x0, x1, 0, 0), flip_filter)
    return _upfirdn(x, f[:, None], (1, up[1]), (1, down[1]), (0, 0, y0, y1), flip_filter)


def _upfirdn(
    x: Tensor, f: Tensor, up: Pair, down: Pair, padding: Padding, flip_filter: bool
) -> Tensor:
    num_channels = x.shape[1]
    (fh, fw), (x0, x1, y0, y1) = f.shape, padding
    (up_x, up_y), (down_x, down_y) = up, down
    if up == (1, 1):
        weight = f if flip_filter else f.flip([0, 1])  # conv2d correlates
        x = _pad(x, padding)
        return F.conv2d(
            x, _per_channel(weight, num_channels), stride=(down_y, down_x), groups=num_channels
        )
    weight = f.flip([0, 1]) if flip_filter else f  # its transpose convolves
    x = F.conv_transpose2d(
        x, _per_channel(weight, num_channels), stride=(up_y, up_x), groups=num_channels
    )
    # The transposed convolution reaches `taps - 1` pixels past either end of the zero-stuffed
    # image, less the `up - 1` zeros behind its last pixel.
    x = _pad(x, (x0 - (fw - 1), x1 - (fw - up_x), y0 - (fh - 1), y1 - (fh - up_y)))
    return x[:, :, ::down_y, ::down_x]


def _pad(x: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Add zeros, then crop: a crop at one end may reach into the zeros that the other end adds."""
    added, cropped = [max(p, 0) for p in padding], [min(p, 0) for p in padding]
    x = F.pad(x, added) if any(added) else x
    return F.pad(x, cropped) if any(cropped) else x


def _per_channel(f: Tensor, num_channels: int) -> Tensor:
    return f.expand(num_channels, 1, *f.shape)
