"""Density and coverage of the features of generated images.

Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", Sec. 3.2.
"""

import math

import torch
from torch import Tensor

from dnnlib.errors import InputError
from metrics import bootstrap, distances, lockstep, neighbours
from metrics.metric_utils import MetricOptions
from metrics.value import Value


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
    share the rows. The facts `intervals` hold the neighbourhoods fixed.

    Args:
        opts: Options of the metric.
        max_real: Largest number of real images.
        num_gen: Number of generated images.
        nhood_size: Neighbours (k) in the neighbourhood of a real image.
        row_batch_size: Real images that are compared at a time.
        col_batch_size: Images on the other side of the comparison at a time.
    """

    def compare(real: Tensor, gen: Tensor) -> tuple[float, float]:
        sizes = nhood_size, row_batch_size, col_batch_size
        return compute_dc_of_features(opts, real, gen, *sizes)

    return neighbours.compare(opts, max_real, num_gen, compare)


def compute_dc_of_features(
    opts: MetricOptions,
    real: Tensor,
    gen: Tensor,
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
) -> tuple[Value, Value]:
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

    def find_inside(idx: int) -> Tensor:
        """Of these real images: how many of their neighbourhoods hold each generated image; then,
        for each real image, whether its neighbourhood holds any."""
        part = slice(idx * row_batch_size, (idx + 1) * row_batch_size)
        rows = real[part].to(opts.device)
        counts = torch.zeros([len(gen)], dtype=torch.int64, device=opts.device)
        is_covered = torch.zeros([len(rows)], dtype=torch.bool, device=opts.device)
        for columns, chunk in neighbours.chunks(rows, gen, col_batch_size, center):
            is_inside = chunk < radii[part, None]
            counts[columns] = is_inside.sum(dim=0)
            is_covered |= is_inside.any(dim=1)
        return torch.cat([counts, is_covered])[:, None]

    num_batches = math.ceil(len(real) / row_batch_size)
    counts = torch.zeros([len(gen)], dtype=torch.int64)  # neighbourhoods around a generated image
    covered = []
    for found in lockstep.run_batches(opts.worker, num_batches, find_inside, torch.int64):
        counts += found[: len(gen), 0].cpu()
        covered.append(found[len(gen) :, 0].cpu())
    is_covered = torch.cat(covered)
    density = int(counts.sum()) / (nhood_size * len(gen))  # Eq. 3
    coverage = int(is_covered.sum()) / len(real)  # Eq. 4
    return (
        bootstrap.with_interval(density, counts.numpy() / nhood_size, opts.seed),
        bootstrap.with_interval(coverage, is_covered.numpy(), opts.seed),
    )
