"""Maximum mean discrepancy of CLIP embeddings, CMMD (Jayasumana et al. 2024, "Rethinking FID")."""

import torch
from torch import Tensor

from metrics import detectors, metric_utils
from metrics.metric_utils import MetricOptions

SIGMA = 10.0  # width of the kernel
SCALE = 1000.0  # brings values of usual networks to about 1
BLOCK_SIZE = 4096  # images of each kind that are compared at once, 128 MiB per matrix


def compute_cmmd(opts: MetricOptions, max_real: int | None, num_gen: int) -> float:
    """Distance of the distributions of CLIP's embeddings; NaN except on rank 0.

    Args:
        opts: Options of the metric.
        max_real: Largest number of real images.
        num_gen: Number of generated images.
    """
    real_stats, gen_stats = metric_utils.compute_both_feature_stats(
        opts, detectors.URLS["clip"], max_real, num_gen, {}, capture_all=True
    )
    real, gen = real_stats.get_all_torch(), gen_stats.get_all_torch()
    if opts.rank != 0:
        return float("nan")
    if opts.device.type != "mps":  # Apple GPUs have no float64
        real, gen = real.to(opts.device), gen.to(opts.device)
    return SCALE * squared_mmd(real, gen)


def squared_mmd(x: Tensor, y: Tensor, sigma: float = SIGMA) -> float:
    """Squared MMD of vectors `[N, d]` and `[M, d]` with a Gaussian kernel, in float64.

    This is the biased estimate (Gretton et al. 2012, Eq. 5), as in the program of the paper: all
    pairs count, also those of an image with itself. It is 0 if both sets are the same.

    The kernel exp(-|x - y|^2 / (2 sigma^2)) of embeddings of length 1 is between 0.98 and 1. So the
    means are taken of its difference from 1, which `expm1` gives with all its digits.
    """
    return 2 * _mean_loss(x, y, sigma) - _mean_loss(x, x, sigma) - _mean_loss(y, y, sigma)


def _mean_loss(x: Tensor, y: Tensor, sigma: float) -> float:
    """The mean of 1 - exp(-|x - y|^2 / (2 sigma^2)) over all pairs, block by block."""
    total = 0.0
    for i, rows in enumerate(x.split(BLOCK_SIZE)):
        for j, columns in enumerate(y.split(BLOCK_SIZE)):
            if x is y and j < i:
                continue  # the kernel is symmetric, so the block above the diagonal counts twice
            loss = _loss(rows.to(torch.float64), columns.to(torch.float64), sigma).sum()
            total += float(loss) * (2 if x is y and j > i else 1)
    return total / (len(x) * len(y))


def _loss(x: Tensor, y: Tensor, sigma: float) -> Tensor:
    """1 - exp(-|x - y|^2 / (2 sigma^2)), `[N, M]`."""
    lengths = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    squares = torch.addmm(lengths, x, y.T, alpha=-2).clamp_(min=0)
    return squares.mul_(-0.5 / sigma**2).expm1_().neg_()
