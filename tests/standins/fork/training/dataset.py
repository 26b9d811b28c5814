"""Targets of projections."""

import numpy as np
import PIL.Image
import torch


def load_target(path, resolution, num_channels):
    """An image in [0, 255], `[1, C, resolution, resolution]`."""
    image = PIL.Image.open(path).convert("RGB" if num_channels == 3 else "L")
    image = image.resize((resolution, resolution), PIL.Image.LANCZOS)
    pixels = np.array(image, dtype=np.uint8).reshape(resolution, resolution, num_channels)
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))[None]
