"""Pictures to send."""

import numpy as np


def sample(seed: int, width: int, height: int, channels: int = 3) -> np.ndarray:
    """Blocks of colours and some noise, uint8 `[H, W, C]`."""
    random = np.random.RandomState(seed)
    blocks = random.randint(0, 256, [-(-height // 16), -(-width // 16), channels])
    smooth = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    noise = random.randint(-20, 21, smooth.shape)
    image = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    if channels == 4:
        image[..., 3] = 255
    return image
