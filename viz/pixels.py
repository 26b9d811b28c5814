"""From the output of a network to pixels: scaling, spectra, and undoing a transformation."""

import math

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from generation import spectra
from torch_utils import image_transforms, images
from viz.color_maps import GREY, SPECTRUM_COLORS, colors
from viz.view import View

MIN_WINDOW = 1e-6  # smallest distance of black and white


def to_pixels(x: Tensor, view: View) -> Tensor:
    """Channels `[C, H, W]` as 8 bits, one channel as `[1, H, W]` or, in colours, `[3, H, W]`.

    Raises:
        ValueError: If the level or the window is not finite, or the colour map does not exist.
    """
    if view.normalize:
        x = x / x.abs().amax().clamp(min=1e-8)
    if view.gain_db != 0:
        x = x * 10 ** (view.gain_db / 20)
    if len(x) > 1:
        return images.to_uint8(x)
    if not math.isfinite(view.level) or not math.isfinite(view.window):
        raise InputError(f"level and window must be finite, got {view.level} and {view.window}")
    x = images.to_uint8((x - view.level) * (2 / max(view.window, MIN_WINDOW)))
    return x if view.color_map == GREY else _colored(x[0], view.color_map)


def untransform(x: Tensor, inverse: np.ndarray) -> tuple[Tensor, Tensor]:
    """Undo a transformation of `[C, H, W]`; also returns a mask, 1 where the content is known."""
    out, mask = image_transforms.apply_affine_transformation(x[None].float(), inverse, amax=6)
    return out[0], mask[0]


def spectrum(x: Tensor, view: View) -> Tensor:
    """Power spectrum of `[C, H, W]`, averaged over channels, in colours: `[3, H, W]`."""
    x = x.float()
    x = x - x.mean((1, 2), keepdim=True)
    power = spectra.power_spectrum(x, view.fft_beta).mean(0)
    power = torch.fft.fftshift(spectra.both_halves(power, x.shape[2]))
    power_db = 10 * power.clamp(min=1e-20).log10()
    low, high = view.fft_range_db
    t = ((power_db - low) / max(high - low, 1e-3)).clamp(0, 1)
    if view.color_map != GREY:
        return _colored((t * 255).round().to(torch.uint8), view.color_map)
    t = t * (len(SPECTRUM_COLORS) - 1)
    table = torch.tensor(SPECTRUM_COLORS, dtype=torch.float32, device=x.device)
    below = t.long().clamp(max=len(SPECTRUM_COLORS) - 2)
    rgb = torch.lerp(table[below], table[below + 1], (t - below)[..., None])
    return rgb.round().to(torch.uint8).permute(2, 0, 1)


def _colored(levels: Tensor, color_map: str) -> Tensor:
    """Levels, uint8 `[H, W]`, in colours: `[3, H, W]`."""
    table = torch.tensor(colors(color_map), device=levels.device)
    return table[levels.long()].permute(2, 0, 1)
