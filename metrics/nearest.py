"""The nearest training image of each image: which one it is, and how far away, in features.

Distances are computed in blocks, and processes share the rows. Training images can have several
views, such as the image itself and its mirrored copy: the nearest view counts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dnnlib.errors import InputError
from metrics import distances, lockstep, neighbours
from torch_utils.distributed import Worker

# Vectors closer than this share of the typical distance from the centre are equal: a network
# rounds the features of an image differently in batches of different sizes.
ROUNDING = 2**-13
MAX_EXACT = 2**24  # whole numbers that float32 can hold


@dataclass(frozen=True)
class Training:
    """Training images, compared with one another.

    Attributes:
        views: Features of the images, and of further views of the same images, `[N, num_features]`
            each.
        own: Distance of each image to the nearest other image that differs from it, `[N]`.
        is_repeat: Whether an earlier image is equal, bool `[N]`.
    """

    views: Sequence[Tensor]
    own: Tensor
    is_repeat: Tensor


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each of some images.

    Attributes:
        distance: `[M]`.
        second: Distance to the second nearest of the training images that differ, `[M]`.
        idx: Number of the training image, int64 `[M]`; of equal ones the first.
        view: The view that is nearest, int64 `[M]`.
    """

    distance: Tensor
    second: Tensor
    idx: Tensor
    view: Tensor


def compare_training(
    worker: Worker, views: Sequence[Tensor], row_batch_size: int, col_batch_size: int
) -> Training:
    """Find the nearest other image of each training image.

    Views of the image itself do not count, and neither do equal images.

    Args:
        worker: This process.
        views: See `Training`; the same in all processes, on any device.
        row_batch_size: Images that are compared at a time.
        col_batch_size: Images on the other side of the comparison at a time.

    Returns:
        The same in all processes, on the CPU.

    Raises:
        ValueError: If there are no two different images.
    """
    images, center = views[0], distances.middle(views[0])
    rounding = ROUNDING * _typical_length(images, center)

    def compare(idx: int) -> Tensor:
        start = idx * row_batch_size
        rows = images[start : start + row_batch_size].to(worker.device)
        numbers = torch.arange(start, start + len(rows), device=worker.device)[:, None]
        own = torch.full([len(rows)], torch.inf, device=worker.device)
        is_repeat = torch.zeros([len(rows)], dtype=torch.bool, device=worker.device)
        for part, chunk, _ in _nearest_views(rows, views, col_batch_size, center):
            others = torch.arange(part.start, part.start + chunk.shape[1], device=worker.device)
            is_equal = chunk <= rounding
            is_repeat |= (is_equal & (others < numbers)).any(dim=1)
            chunk[is_equal | (others == numbers)] = torch.inf
            own = torch.minimum(own, chunk.amin(dim=1))
        return torch.stack([own, is_repeat.to(own.dtype)], dim=1)

    found = _run(worker, len(images), row_batch_size, compare)
    training = Training(views, found[:, 0], found[:, 1] > 0)
    if not training.own.isfinite().all():
        raise InputError(
            f"the nearest training images of training images cannot be told: all {len(images)} "
            "images are equal"
            if len(images) > 1
            else "a single training image has no other one to be compared with"
        )
    return training


def find_nearest(
    worker: Worker, rows: Tensor, training: Training, row_batch_size: int, col_batch_size: int
) -> Nearest:
    """Find the nearest training image of each image.

    Args:
        worker: This process.
        rows: Features of the images `[M, num_features]`; the same in all processes, on any device.
        training: The training images.
        row_batch_size, col_batch_size: See `compare_training`.

    Returns:
        The same in all processes, on the CPU.
    """
    assert len(training.is_repeat) <= MAX_EXACT
    center = distances.middle(training.views[0])

    def find(idx: int) -> Tensor:
        part_rows = rows[idx * row_batch_size :][:row_batch_size].to(worker.device)
        first = torch.full([len(part_rows)], torch.inf, device=worker.device)
        second, number, view = first.clone(), first.clone(), first.clone()
        for part, chunk, views in _nearest_views(part_rows, training.views, col_batch_size, center):
            chunk[:, training.is_repeat[part].to(worker.device)] = torch.inf
            nearest, column = chunk.min(dim=1)
            nearest_view = views.gather(1, column[:, None]).squeeze(1)
            next_nearest = chunk.scatter_(1, column[:, None], torch.inf).amin(dim=1)
            # Of the two nearest here and the two nearest before, the two nearest stay.
            second = torch.minimum(second, next_nearest)
            second = torch.minimum(second, torch.maximum(first, nearest))
            is_nearer = nearest < first
            number = torch.where(is_nearer, (column + part.start).to(first.dtype), number)
            view = torch.where(is_nearer, nearest_view.to(first.dtype), view)
            first = torch.minimum(first, nearest)
        return torch.stack([first, second, number, view], dim=1)

    found = _run(worker, len(rows), row_batch_size, find)
    return Nearest(found[:, 0], found[:, 1], found[:, 2].long(), found[:, 3].long())


def _nearest_views(
    rows: Tensor, views: Sequence[Tensor], col_batch_size: int, center: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Distances of rows to the nearest views of images, in parts: images, `[rows, part]`, views."""
    parts = [neighbours.chunks(rows, view, col_batch_size, center) for view in views]
    for (part, nearest), *others in zip(*parts, strict=True):
        view = torch.zeros(nearest.shape, dtype=torch.uint8, device=nearest.device)
        for number, (_, chunk) in enumerate(others, start=1):
            view[chunk < nearest] = number
            nearest = torch.minimum(nearest, chunk)
        yield part, nearest, view


def _typical_length(features: Tensor, center: Tensor) -> float:
    """Median distance from the centre."""
    lengths = [(x.to(torch.float32) - center).norm(dim=1) for x in features.split(1024)]
    return float(torch.cat(lengths).median())


def _run(
    worker: Worker, num_rows: int, row_batch_size: int, function: Callable[[int], Tensor]
) -> Tensor:
    """Results `[num_rows, columns]` of all blocks of rows, on the CPU."""
    num_batches = math.ceil(num_rows / row_batch_size)
    return torch.cat(list(lockstep.run_batches(worker, num_batches, function))).cpu()
