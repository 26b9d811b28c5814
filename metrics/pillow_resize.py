"""Resize as Pillow does with its bicubic filter and antialiasing, on any device.

Pillow widens the filter when an image shrinks, so that no pixel is left out; Parmar et al. 2022,
"On Aliased Resizing and Surprising Subtleties in GAN Evaluation", show what FID measures otherwise.
"""

import functools

import numpy as np
import torch
from torch import Tensor

SHARPNESS = -0.5  # a in Keys 1981, "Cubic convolution interpolation for digital image processing"
REACH = 2  # half the width of the filter, in pixels of the coarser image


def resize(img: Tensor, size: int) -> Tensor:
    """Resize uint8 images `[N, C, H, W]` to float32 `[N, C, size, size]`.

    The result is that of Pillow for each channel as a picture of mode F: it is not rounded, and
    near edges it exceeds the range from 0 to 255.
    """
    height, width = img.shape[2:]
    rows = torch.from_numpy(weights(height, size)).to(img.device)
    columns = torch.from_numpy(weights(width, size)).to(img.device)
    return rows @ (img.to(torch.float32) @ columns.T)


@functools.lru_cache(maxsize=16)
def weights(old: int, new: int) -> np.ndarray:
    """Shares of `old` pixels in each of `new` pixels, float32 `[new, old]`; rows add up to 1."""
    scale = old / new
    widening = max(scale, 1.0)
    centers = (np.arange(new) + 0.5)[:, None] * scale
    pixels = np.arange(old) + 0.5
    shares = _bicubic((pixels - centers) / widening)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _bicubic(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel (Keys 1981, Eq. 4)."""
    a, x = SHARPNESS, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < REACH, far, 0))
