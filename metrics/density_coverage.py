"""Density and coverage of the features of generated images.

Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", Sec. 3.2.
"""

import math

import torch
from torch import Tensor

from dnnlib.errors import InputError
from metrics import detectors, distances, lockstep, metric_utils, neighbours
from metrics.metric_utils import MetricOptions


def compute_dc(
    opts: MetricOptions,
    max_real: int | None,
    num_gen: int,
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
) -> tuple[float, float]:
    """Density and coverage of VGG16 features; NaN except on rank 0.

    At most `row_batch_size` times `col_batch_size` distances are in memory at a time. The processes
    share the rows.

    Args:
        opts: Options of the metric.
        max_real: Largest number of real images.
        num_gen: Number of generated images.
        nhood_size: Neighbours (k) in the neighbourhood of a real image.
        row_batch_size: Real images that are compared at a time.
        col_batch_size: Images on the other side of the comparison at a time.
    """
    real, gen = metric_utils.compute_both_feature_stats(
        opts, detectors.URLS["vgg16"], max_real, num_gen, capture_all=True
    )
    density, coverage = compute_dc_of_features(
        opts,
        real.get_all_torch(),
        gen.get_all_torch(),
        nhood_size,
        row_batch_size,
        col_batch_size,
    )
    return (density, coverage) if opts.rank == 0 else (float("nan"), float("nan"))


def compute_dc_of_features(
    opts: MetricOptions,
    real: Tensor,
    gen: Tensor,
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
) -> tuple[float, float]:
    """Density and coverage of the same features `[N, num_features]` in all processes.

    As in the authors' program, images exactly on the border of a neighbourhood are outside.

    Args:
        opts: Their processes and device.
        real: Features of real images, on the CPU.
        gen: Features of generated images, on the CPU.
        nhood_size, row_batch_size, col_batch_size: See `compute_dc`.

    Raises:
        ValueError: If there are no more real images than neighbours.
    """
    if len(real) <= nhood_size:
        raise InputError(
            f"density and coverage compare {nhood_size} neighbours of each real image: "
            f"{len(real)} real images are too few"
        )
    radii = neighbours.radii(opts.worker, real, nhood_size, row_batch_size, col_batch_size)
    center = distances.middle(real)

    def count_inside(idx: int) -> Tensor:
        part = slice(idx * row_batch_size, (idx + 1) * row_batch_size)
        rows = real[part].to(opts.device)
        counts = torch.zeros([len(rows)], dtype=torch.int64, device=opts.device)
        for _, chunk in neighbours.chunks(rows, gen, col_batch_size, center):
            counts += (chunk < radii[part, None]).sum(dim=1)
        return counts[:, None]

    num_batches = math.ceil(len(real) / row_batch_size)
    batches = lockstep.run_batches(opts.worker, num_batches, count_inside, torch.int64)
    counts = torch.cat(list(batches))  # generated images in the neighbourhood of each real image
    density = int(counts.sum()) / (nhood_size * len(gen))  # Eq. 3
    coverage = int((counts > 0).sum()) / len(real)  # Eq. 4
    return density, coverage
