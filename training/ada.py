"""Adaptive augmentation strength (Karras et al. 2020, "Training GANs with Limited Data")."""

import numpy as np

from torch_utils import training_stats
from training.augment import AugmentPipe


class AdaptiveAugment:
    """Moves the strength of an augmentation pipe so that `E[sign(D(real))]` stays at a target.

    Args:
        augment_pipe: The pipe, with its strength in the buffer `p`.
        target: Target value of the heuristic r_t.
        interval: Batches from one adjustment to the next.
        kimg: Thousands of images that it takes to change the strength by one.
        max_p: Largest strength; `None` for no limit, as published.
    """

    def __init__(
        self,
        augment_pipe: AugmentPipe,
        target: float,
        interval: int,
        kimg: float,
        max_p: float | None = None,
    ) -> None:
        self.augment_pipe = augment_pipe
        self.target = target
        self.interval = interval
        self.kimg = kimg
        self.max_p = max_p
        self.signs = training_stats.Collector(regex="Loss/signs/real")

    def after_batch(self, batch_idx: int, batch_size: int) -> None:
        """Adjust the strength if `batch_idx` (counted from 1) is due; all processes take part."""
        if batch_idx % self.interval != 0:
            return
        self.signs.update()
        step = ada_step(
            self.signs["Loss/signs/real"], self.target, batch_size * self.interval, self.kimg
        )
        p = self.augment_pipe.p
        p.copy_((p + step).clamp(min=0, max=self.max_p))


def ada_step(mean_sign_real: float, target: float, num_images: int, ada_kimg: float) -> float:
    """Change of the strength after `num_images` images with this mean of `sign(D(real))`."""
    if not np.isfinite(mean_sign_real):
        return 0.0  # the logits are NaN or infinite: keep the strength
    return float(np.sign(mean_sign_real - target)) * num_images / (ada_kimg * 1000)
