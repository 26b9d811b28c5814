"""An augmentation pipeline with the calls of the published one."""

import numpy as np
import scipy.signal
import torch

from torch_utils import misc, persistence
from torch_utils.ops import conv2d_gradfix, grid_sample_gradfix, upfirdn2d


def shears(slope):
    """Matrices `[N, 2, 3]` of a shear along x."""
    one = misc.constant(1, shape=slope.shape, device=slope.device)
    zero = misc.constant(0.0, shape=[slope.shape[0]], device=slope.device)
    rows = [torch.stack([one, slope, zero], dim=1), torch.stack([zero, one, zero], dim=1)]
    return torch.stack(rows, dim=1)


@persistence.persistent_class
class Distortion(torch.nn.Module):
    """Random shears, tints and changes of three frequency bands."""

    def __init__(self, strength=0.3, taps=(1, 4, 6, 4, 1), num_bands=3):
        super().__init__()
        self.strength = strength
        self.register_buffer("p", torch.ones([]))
        self.register_buffer("Hz_geom", upfirdn2d.setup_filter(taps))
        edges = np.linspace(0, 1, num_bands + 1)[1:-1]
        low = [scipy.signal.firwin(7, edge) for edge in edges]
        low = np.stack([np.zeros(7), *low, np.eye(7)[3]])
        self.register_buffer("Hz_fbank", torch.as_tensor(np.diff(low, axis=0).astype(np.float32)))

    def forward(self, images):
        num, channels, height, width = images.shape
        device = images.device
        dtype = images.dtype

        # Shear, on a finer grid with a margin, whose filter takes a part of it away again.
        margin = (self.Hz_geom.shape[-1] - 1) // 2
        x = torch.nn.functional.pad(images, [margin] * 4, mode="reflect")
        x = upfirdn2d.upsample2d(x=x, f=self.Hz_geom, up=2)
        slope = torch.randn([num], device=device) * self.strength * self.p
        size = [num, channels, (height + 2 * margin) * 2, (width + 2 * margin) * 2]
        grid = torch.nn.functional.affine_grid(shears(slope), size, align_corners=False)
        x = grid_sample_gradfix.grid_sample(x, grid.to(dtype))
        x = upfirdn2d.downsample2d(
            x=x, f=self.Hz_geom, down=2, padding=-margin * 2, flip_filter=True
        )
        x = torch.nn.functional.pad(x, [(width - x.shape[3]) // 2] * 4, mode="reflect")

        # Tint: towards the mean colour.
        luma = misc.constant(np.full([1, channels], 1 / np.sqrt(channels)), device=device)
        tint = torch.randn([num, channels], device=device) * self.strength * luma
        x = x + tint.to(dtype)[:, :, None, None]

        # A gain for each band of each image.
        gains = 1 + torch.randn([num, self.Hz_fbank.shape[0]], device=device) * self.strength
        kernels = (gains @ self.Hz_fbank).to(dtype)[:, None].repeat(1, channels, 1).flatten(0, 1)
        x = torch.nn.functional.pad(x, [3] * 4, mode="reflect").flatten(0, 1)[None]
        w = kernels[:, None]
        x = conv2d_gradfix.conv2d(input=x, weight=w[:, :, None, :], groups=num * channels)
        x = conv2d_gradfix.conv2d(input=x, weight=w[:, :, :, None], groups=num * channels)
        return x.reshape(num, channels, height, width)
