"""Precision and recall (Kynkäänniemi et al. 2019, "Improved precision and recall metric for

assessing generative models").
"""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from dnnlib.errors import InputError
from metrics import bootstrap, distances, lockstep, neighbours
from metrics.metric_utils import MetricOptions
from metrics.value import Value

MAX_ROUNDING = 0.1  # share of the distance of neighbours; it changes distances by 1%


def compute_pr(
    opts: MetricOptions,
    max_real: int | None,
    num_gen: int,
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
) -> tuple[float, float]:
    """Share of generated images that look real, and of real images that the network covers.

    At most `row_batch_size` times `col_batch_size` distances are in memory at a time. The processes
    share the rows. NaN except on rank 0. The facts `intervals` hold the neighbourhoods fixed.

    Args:
        opts: Options of the metric.
        max_real: Largest number of real images.
        num_gen: Number of generated images.
        nhood_size: Neighbours (k) in the neighbourhood of an image.
        row_batch_size: Images that are compared at a time.
        col_batch_size: Images on the other side of the comparison at a time.
    """

    def compare(real: Tensor, gen: Tensor) -> tuple[float, float]:
        sizes = nhood_size, row_batch_size, col_batch_size
        return compute_pr_of_features(opts, real, gen, *sizes)

    return neighbours.compare(opts, max_real, num_gen, compare)


def compute_pr_of_features(
    opts: MetricOptions,
    real: Tensor,
    gen: Tensor,
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
) -> tuple[Value, Value]:
    """Precision and recall of the same features `[N, num_features]` in all processes.

    Args:
        opts: Their processes and device.
        real: Features of real images, on the CPU.
        gen: Features of generated images, on the CPU.
        nhood_size, row_batch_size, col_batch_size: See `compute_pr`.
    """
    for kind, features in (("real", real), ("generated", gen)):
        if len(features) <= nhood_size:
            raise InputError(
                f"precision and recall compare {nhood_size} neighbours of each image: "
                f"{len(features)} {kind} images are too few"
            )
    roundings = _rounding(real), _rounding(gen)
    precision, recall = (
        _share_inside(opts, *sets, rounding, nhood_size, row_batch_size, col_batch_size)
        for sets, rounding in zip(((real, gen), (gen, real)), roundings, strict=True)
    )
    return precision, recall


def compute_distances(
    row_features: Tensor,
    col_features: Tensor,
    num_gpus: int = 1,
    rank: int = 0,
    col_batch_size: int = 10000,
) -> Tensor | None:
    """Euclidean distances `[rows, columns]` in float16, all at once; `None` except on rank 0."""
    if rank != 0:
        return None
    center = distances.middle(col_features)
    chunks = neighbours.chunks(row_features, col_features, col_batch_size, center, torch.float16)
    return torch.cat([chunk for _, chunk in chunks], dim=1)


def _share_inside(
    opts: MetricOptions,
    manifold: Tensor,
    probes: Tensor,
    rounding: "_Rounding",
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
) -> Value:
    """Share of the probes within the neighbourhood of any point of the manifold (Eq. 2).

    Both are compared in float16, as published; `rounding` is what this does to the manifold.
    """
    center = distances.middle(manifold)

    radii = neighbours.radii(
        opts.worker, manifold, nhood_size, row_batch_size, col_batch_size, torch.float16
    ).to(torch.float16)
    if not radii.isfinite().all():
        raise InputError(
            "precision and recall: the features of neighbours are further apart than float16 can "
            "tell (65504)"
        )
    radius = float(radii.to(torch.float32).median())
    # Neighbours at distance 0 may be equal images rather than a result of rounding.
    is_coarse = rounding.error > MAX_ROUNDING * radius
    if opts.rank == 0 and is_coarse and (radius > 0 or rounding.is_merging):
        warnings.warn(
            "precision and recall are not reliable: rounding features to float16, as published, "
            f"moves them by {rounding.error:.2g}, and their neighbours are only "
            f"{radius:.2g} away",
            stacklevel=2,
        )

    def is_inside(idx: int) -> Tensor:
        rows = probes[idx * row_batch_size :][:row_batch_size].to(opts.device)
        inside = torch.zeros([len(rows)], dtype=torch.bool, device=opts.device)
        for columns, chunk in neighbours.chunks(
            rows, manifold, col_batch_size, center, torch.float16
        ):
            inside |= (chunk <= radii[columns]).any(dim=1)
        return inside[:, None].to(torch.float32)

    num_batches = math.ceil(len(probes) / row_batch_size)
    inside = torch.cat(list(lockstep.run_batches(opts.worker, num_batches, is_inside))).cpu()
    return bootstrap.with_interval(float(inside.mean()), inside.numpy(), opts.seed)


@dataclass(frozen=True)
class _Rounding:
    """What float16 does to features.

    Attributes:
        error: Median distance by which rounding has moved a vector.
        is_merging: Whether rounding has made different vectors equal.
    """

    error: float
    is_merging: bool


def _rounding(features: Tensor) -> _Rounding:
    """See what float16 does to features `[N, num_features]`.

    Raises:
        ValueError: If they are too large for float16.
    """
    direction = torch.rand(features.shape[1], generator=torch.Generator().manual_seed(0)) + 0.5
    errors, shadows = [], []  # products with a random vector distinguish different features
    for x in features.split(1024):
        rounded = x.to(torch.float16).to(torch.float32)
        if not rounded.isfinite().all():
            raise InputError(
                f"precision and recall: features of up to {x.abs().max():g} are too large for "
                "float16 (65504)"
            )
        errors.append((x - rounded).norm(dim=1))
        shadows.append(torch.stack([x, rounded]).to(torch.float64) @ direction.to(torch.float64))
    before, after = (len(values.unique()) for values in torch.cat(shadows, dim=1))
    return _Rounding(float(torch.cat(errors).median()), is_merging=after < before)
