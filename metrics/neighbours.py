"""Distances of the nearest neighbours of many features, in blocks and shared by processes."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from metrics import distances, lockstep
from torch_utils.distributed import Worker


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
        dtype: Type that distances are rounded to.
    """
    center = distances.middle(features)

    def radii_of(idx: int) -> Tensor:
        rows = features[idx * row_batch_size :][:row_batch_size].to(worker.device)
        nearest = torch.zeros([len(rows), 0], device=worker.device)
        for _, chunk in chunks(rows, features, col_batch_size, center, dtype):
            nearest = torch.cat([nearest, chunk.to(torch.float32)], dim=1)
            count = min(nhood_size + 1, nearest.shape[1])  # a point is its own first neighbour
            nearest = nearest.topk(count, dim=1, largest=False).values
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

    Args:
        rows: Vectors `[N, num_features]` on the device that computes.
        columns: Vectors `[M, num_features]` on any device.
        col_batch_size: Columns in a part.
        center: See `distances.middle`.
        dtype: Type that distances are rounded to.
    """
    rows, center = rows.to(torch.float32), center.to(rows.device)
    for start in range(0, len(columns), col_batch_size):
        part = slice(start, start + col_batch_size)
        chunk = columns[part].to(rows.device).to(torch.float32)
        yield part, distances.pairwise(rows, chunk, center).to(dtype)
