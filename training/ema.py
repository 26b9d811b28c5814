"""Moving average of the generator's weights."""

import torch


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
    """Add the parameters of `G` to the moving average `G_ema`; copy the buffers."""
    for average, current in zip(G_ema.parameters(), G.parameters(), strict=True):
        average.copy_(current.lerp(average, beta))
    for copied, buffer in zip(G_ema.buffers(), G.buffers(), strict=True):
        copied.copy_(buffer)
