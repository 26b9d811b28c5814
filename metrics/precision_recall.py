"""Precision and recall (Kynkäänniemi et al. 2019, "Improved precision and recall metric for

assessing generative models").
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from metrics import detectors, metric_utils, parallel
from metrics.metric_utils import MetricOptions


def compute_pr(
    opts: MetricOptions,
    max_real: int | None,
    num_gen: int,
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
) -> tuple[float, float]:
    """Share of generated images that look real, and of real ones that could be generated.

    No more than `row_batch_size` times `col_batch_size` distances exist at a time. The processes
    share the rows. NaN except on rank 0.

    Args:
        opts: Options of the metric.
        max_real: Use so many real images at most.
        num_gen: Number of generated images.
        nhood_size: An image's neighbourhood reaches to its so many-th neighbour (k).
        row_batch_size: Images to compare at a time
        col_batch_size: with so many others.
    """
    features = dict(
        opts=opts,
        detector_url=detectors.URLS["vgg16"],
        detector_kwargs=dict(return_features=True),
        capture_all=True,
    )
    real = metric_utils.compute_feature_stats_for_dataset(
        rel_lo=0, rel_hi=0, max_items=max_real, **features
    )
    gen = metric_utils.compute_feature_stats_for_generator(
        rel_lo=0, rel_hi=1, max_items=num_gen, **features
    )
    real, gen = (stats.get_all_torch().to(torch.float16) for stats in (real, gen))
    precision, recall = (
        _share_inside(opts, manifold, probes, nhood_size, row_batch_size, col_batch_size)
        for manifold, probes in ((real, gen), (gen, real))
    )
    return (precision, recall) if opts.rank == 0 else (float("nan"), float("nan"))


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
    chunks = [chunk for _, chunk in _distance_chunks(row_features, col_features, col_batch_size)]
    return torch.cat(chunks, dim=1)


def _share_inside(
    opts: MetricOptions,
    manifold: Tensor,
    probes: Tensor,
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
) -> float:
    """Share of the probes within the neighbourhood of any point of the manifold (Eq. 2)."""

    def radii_of(idx: int) -> Tensor:
        rows = manifold[idx * row_batch_size :][:row_batch_size].to(opts.device)
        nearest = torch.zeros([len(rows), 0], device=opts.device)
        for _, distances in _distance_chunks(rows, manifold, col_batch_size):
            nearest = torch.cat([nearest, distances.to(torch.float32)], dim=1)
            count = min(nhood_size + 1, nearest.shape[1])  # a point is its own first neighbour
            nearest = nearest.topk(count, dim=1, largest=False).values
        return nearest[:, -1:]

    num_batches = math.ceil(len(manifold) / row_batch_size)
    radii = torch.cat(list(parallel.run_batches(opts.worker, num_batches, radii_of)))
    radii = radii.to(torch.float16).squeeze(1).to(opts.device)

    def is_inside(idx: int) -> Tensor:
        rows = probes[idx * row_batch_size :][:row_batch_size].to(opts.device)
        inside = torch.zeros([len(rows)], dtype=torch.bool, device=opts.device)
        for columns, distances in _distance_chunks(rows, manifold, col_batch_size):
            inside |= (distances <= radii[columns]).any(dim=1)
        return inside[:, None].to(torch.float32)

    num_batches = math.ceil(len(probes) / row_batch_size)
    return float(torch.cat(list(parallel.run_batches(opts.worker, num_batches, is_inside))).mean())


def _distance_chunks(
    rows: Tensor, columns: Tensor, col_batch_size: int
) -> Iterator[tuple[slice, Tensor]]:
    """Distances of some rows to all columns, in parts: which columns, and `[rows, part]`."""
    rows = rows.to(torch.float32)
    for start in range(0, len(columns), col_batch_size):
        part = slice(start, start + col_batch_size)
        chunk = columns[part].to(rows.device).to(torch.float32)
        yield part, torch.cdist(rows, chunk).to(torch.float16)
