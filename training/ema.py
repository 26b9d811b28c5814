"""Moving average of the generator's weights."""

import numpy as np
import torch
from torch import Tensor


def ema_beta(
    batch_size: int, cur_nimg: int, ema_kimg: float, ema_rampup: float | None = None
) -> float:
    """Fraction of the average that is kept when a batch is added to it.

    Args:
        batch_size: Images in the batch.
        cur_nimg: Images seen before this batch.
        ema_kimg: Half-life, in thousands of images.
        ema_rampup: Limit of the half-life relative to `cur_nimg`, `None` for no limit.
    """
    ema_nimg = ema_kimg * 1000
    if ema_rampup is not None:
        ema_nimg = min(ema_nimg, cur_nimg * ema_rampup)
    return 0.5 ** (batch_size / max(ema_nimg, 1e-8))


@torch.no_grad()
def update_ema(G_ema: torch.nn.Module, G: torch.nn.Module, beta: float) -> None:
    """Add the parameters of `G` to the moving average `G_ema`; copy the buffers.

    The average becomes `lerp(current, average, beta)`, with `beta` rounded to float32.
    """
    averages: list[Tensor] = list(G_ema.parameters())
    currents: list[Tensor] = list(G.parameters())
    beta = float(np.float32(beta))
    if beta > 0.5:
        # The same bits, in place: above 0.5, `lerp` starts from the average anyway, and `1 - beta`
        # is exact.
        torch._foreach_lerp_(averages, currents, 1 - beta)
    else:
        # The first iterations of a run: one by one, without a copy of all weights at once.
        for average, current in zip(averages, currents, strict=True):
            average.copy_(current.lerp(average, beta))
    if copies := list(G_ema.buffers()):  # PyTorch refuses empty lists
        torch._foreach_copy_(copies, list(G.buffers()))
