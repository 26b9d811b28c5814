"""Definition of `filtered_lrelu`."""

from torch import Tensor

from torch_utils.ops.reference.bias_act import bias_act
from torch_utils.ops.reference.upfirdn2d import upfirdn2d


def filtered_lrelu(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    up: int,
    down: int,
    padding: tuple[int, int, int, int],
    gain: float,
    slope: float,
    clamp: float | None,
    flip_filter: bool,
    scale: Tensor | None = None,
) -> Tensor:
    """Scale, bias, upsample, leaky ReLU, downsample; arguments as in the public function."""
    if scale is not None:
        x = x * scale.to(x.dtype)[:, :, None, None]
    x = bias_act(x, b, dim=1, act="linear", alpha=0.0, gain=1.0, clamp=None)
    x = upfirdn2d(x, fu, (up, up), (1, 1), padding, flip_filter, gain=up**2)
    x = bias_act(x, None, dim=1, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
    return upfirdn2d(x, fd, (1, 1), (down, down), (0, 0, 0, 0), flip_filter, gain=1)
