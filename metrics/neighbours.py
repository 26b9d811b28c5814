"""Distances of the nearest neighbours of many features, in blocks and shared by processes."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from metrics import detectors, distances, lockstep, metric_utils
from metrics.metric_utils import MetricOptions
from torch_utils.distributed import Worker

MAX_DISTANCES = 2**25  # in memory at a time; several arrays of this size are needed


def compare(
    opts: MetricOptions,
    max_real: int | None,
    num_gen: int,
    compare_features: Callable[[Tensor, Tensor], tuple[float, float]],
) -> tuple[float, float]:
    """Two values that compare VGG16 features of real and of generated images; NaN except on rank 0.

    Args:
        opts: Options of the metric.
        max_real: Largest number of real images.
        num_gen: Number of generated images.
        compare_features: Takes features `[N, num_features]` of real and of generated images on the
            CPU, the same in all processes, and returns the values.
    """
    real, gen = metric_utils.compute_both_feature_stats(
        opts, detectors.URLS["vgg16"], max_real, num_gen, capture_all=True
    )
    values = compare_features(real.get_all_torch(), gen.get_all_torch())
    return values if opts.rank == 0 else (float("nan"), float("nan"))


def radii(
    worker: Worker,
    features: Tensor,
    nhood_size: int,
    row_batch_size: int,
    col_batch_size: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Distance of each vector to its `nhood_size`-th nearest other vector, float32 `[N]`.

    The processes share the rows; all processes get all distances, on the device of `worker`.

    Args:
        worker: This process.
        features: The same vectors `[N, num_features]` in all processes, more than `nhood_size`.
        nhood_size: Neighbours (k) in the neighbourhood of a vector.
        row_batch_size: Vectors that are compared at a time.
        col_batch_size: Vectors on the other side of the comparison at a time.
        dtype: Type that vectors and distances are rounded to.
    """
    center = distances.middle(features)

    def smallest(values: Tensor) -> Tensor:
        count = min(nhood_size + 1, values.shape[1])  # a point is its own first neighbour
        return values.topk(count, dim=1, largest=False).values

    def radii_of(idx: int) -> Tensor:
        rows = features[idx * row_batch_size :][:row_batch_size].to(worker.device)
        nearest = torch.zeros([len(rows), 0], device=worker.device)
        for _, chunk in chunks(rows, features, col_batch_size, center, dtype):
            # Twice, because joined with a whole chunk they would need its memory again.
            nearest = torch.cat([nearest, smallest(chunk.to(torch.float32))], dim=1)
            nearest = smallest(nearest)
        return nearest[:, -1:]

    num_batches = math.ceil(len(features) / row_batch_size)
    found = torch.cat(list(lockstep.run_batches(worker, num_batches, radii_of)))
    return found.squeeze(1).to(worker.device)


def chunks(
    rows: Tensor,
    columns: Tensor,
    col_batch_size: int,
    center: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[slice, Tensor]]:
    """Distances of some rows to all columns, in parts: the columns, and `[rows, part]`.

    A part is as large as its memory allows; `col_batch_size` only makes it smaller.

    Args:
        rows: Vectors `[N, num_features]` on the device that computes.
        columns: Vectors `[M, num_features]` on any device.
        col_batch_size: Most columns in a part.
        center: See `distances.middle`.
        dtype: Type that vectors and distances are rounded to.
    """
    rows, center = rows.to(dtype).to(torch.float32), center.to(rows.device)
    size = max(1, min(col_batch_size, MAX_DISTANCES // max(len(rows), 1)))
    for start in range(0, len(columns), size):
        part = slice(start, start + size)
        chunk = columns[part].to(dtype).to(rows.device).to(torch.float32)
        yield part, distances.pairwise(rows, chunk, center).to(dtype)
