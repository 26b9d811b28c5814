"""Definition of `filtered_lrelu`."""

from torch import Tensor

from torch_utils.ops.calls import BiasAct, FilteredLrelu, UpFirDn
from torch_utils.ops.reference.bias_act import bias_act
from torch_utils.ops.reference.upfirdn2d import upfirdn2d


def filtered_lrelu(
    x: Tensor, fu: Tensor, fd: Tensor, b: Tensor | None, scale: Tensor | None, call: FilteredLrelu
) -> Tensor:
    """Scale, bias, upsample, leaky ReLU, downsample; arguments as in the public function."""
    up, down, padding, gain, slope, clamp, flip_filter = call
    x = bias_act(x, BiasAct(b, scale))
    x = upfirdn2d(x, fu, UpFirDn((up, up), (1, 1), padding, flip_filter, gain=up**2))
    x = bias_act(x, BiasAct(act="lrelu", alpha=slope, gain=gain, clamp=clamp))
    return upfirdn2d(x, fd, UpFirDn(down=(down, down), flip_filter=flip_filter))
