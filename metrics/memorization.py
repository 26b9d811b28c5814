"""Whether generated images repeat training images.

Alaa et al. 2022, "How Faithful is your Synthetic Data? Sample-level Metrics for Evaluating and
Auditing Generative Models", on authenticity. Yoon et al. 2023, "Diffusion Probabilistic Models
Generalize when They Fail to Memorize", on copies.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dnnlib.errors import InputError
from metrics import detectors, lockstep, memorization_sheet, metric_utils, nearest
from metrics.dataset import open_dataset
from metrics.memorization_sheet import Pair
from metrics.metric_utils import MetricOptions
from metrics.nearest import Nearest, Training

MAX_COPY_RATIO = 1 / 3  # of the distances to the nearest two training images (Yoon et al. 2023)
NUM_PAIRS = 20  # in the record, and on the sheet
QUANTILES = (0.01, 0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Memorization:
    """Generated images beside their nearest training images.

    Attributes:
        training: The training images.
        nearest: The nearest training image of each generated image.
        ratios: Distance to it, as a share of its own distance to the nearest other one, `[N]`.
    """

    training: Training
    nearest: Nearest
    ratios: Tensor

    @property
    def authentic_percent(self) -> float:
        """AuthPct (Alaa et al. 2022): images further away than the training images are."""
        return 100 * float((self.ratios > 1).double().mean())

    @property
    def copies_percent(self) -> float:
        """Images much closer to one training image than to all others (Yoon et al. 2023)."""
        is_copy = self.nearest.distance < MAX_COPY_RATIO * self.nearest.second
        return 100 * float(is_copy.double().mean())

    def closest(self, count: int) -> list[Pair]:
        """The pairs of the smallest ratios, in their order."""
        order = self.ratios.argsort(stable=True)[:count].tolist()
        return [
            Pair(
                idx,
                int(self.nearest.idx[idx]),
                is_mirrored=bool(self.nearest.view[idx]),
                ratio=float(self.ratios[idx]),
            )
            for idx in order
        ]


def compute_memo(
    opts: MetricOptions,
    max_real: int,
    num_gen: int,
    row_batch_size: int,
    col_batch_size: int,
    detector: str = "vgg16",
    detector_kwargs: Mapping[str, Any] = metric_utils.FEATURES,
) -> tuple[float, float]:
    """Authentic images and copies among generated images, in percent; NaN except on rank 0.

    If the dataset adds mirrored images, a training image is as near as the nearer one of itself and
    its mirrored copy. At most `row_batch_size` times `col_batch_size` distances (twice as many with
    mirrored images) are in memory at a time. The processes share the rows. The details of the
    record tell the closest pairs, and `opts.memo_sheet` shows them.

    Args:
        opts: Options of the metric.
        max_real: Largest number of training images; mirrored copies do not count.
        num_gen: Number of generated images.
        row_batch_size: Images that are compared at a time.
        col_batch_size: Training images that they are compared with at a time.
        detector: Name of the feature network.
        detector_kwargs: How the feature network is called.
    """
    if opts.memo_sheet is not None and opts.seed is None:
        raise InputError("a sheet of the closest pairs needs a `seed`, to make the images again")
    is_mirrored = bool(opts.dataset_kwargs.get("xflip"))
    real, gen = metric_utils.compute_both_feature_stats(
        opts,
        detectors.URLS[detector],
        None if is_mirrored else max_real,
        num_gen,
        detector_kwargs,
        capture_all=True,
    )
    views = real.get_all_torch().chunk(2 if is_mirrored else 1)  # mirrored images come last
    views = tuple(view[:max_real] for view in views)
    opts.details["num_real"] = len(views[0])  # copies do not count
    found = compare_features(
        opts,
        views,
        gen.get_all_torch(),
        row_batch_size,
        col_batch_size,
    )
    with lockstep.in_step(opts.worker):
        if opts.rank == 0:
            _report(opts, found, num_gen)
    if opts.rank != 0:
        return float("nan"), float("nan")
    return found.authentic_percent, found.copies_percent


def compare_features(
    opts: MetricOptions,
    views: Sequence[Tensor],
    gen: Tensor,
    row_batch_size: int,
    col_batch_size: int,
) -> Memorization:
    """Compare the same features `[N, num_features]` in all processes.

    Equal training images count once. The first of them is the nearest, and no training image is its
    own nearest other one by a copy: otherwise any image beside two equal ones would be authentic.

    Args:
        opts: Their processes and device.
        views: Features of training images, on the CPU, and of their mirrored copies.
        gen: Features of generated images, on the CPU.
        row_batch_size, col_batch_size: See `compute_memo`.

    Raises:
        ValueError: If there are no two different training images.
    """
    training = nearest.compare_training(opts.worker, views, row_batch_size, col_batch_size)
    found = nearest.find_nearest(opts.worker, gen, training, row_batch_size, col_batch_size)
    return Memorization(training, found, found.distance / training.own[found.idx])


def _report(opts: MetricOptions, found: Memorization, num_gen: int) -> None:
    """Add details to the record, say what is left out, draw the sheet."""
    dataset = open_dataset(opts)
    num_used, num_views = len(found.training.own), len(found.training.views)
    if num_used * num_views < len(dataset):
        warnings.warn(
            f"memo compares with the first {num_used} of {len(dataset) // num_views} training "
            "images: copies of the others are not found",
            stacklevel=2,
        )
    if num_repeats := int(found.training.is_repeat.sum()):
        warnings.warn(
            f"{num_repeats} of {num_used} training images are equal to an earlier one, and memo "
            "leaves them out",
            stacklevel=2,
        )
    pairs = found.closest(NUM_PAIRS)
    quantiles = found.ratios.double().quantile(torch.tensor(QUANTILES, dtype=torch.float64))
    names = [f"{level:.0%}" for level in QUANTILES]
    generated = memorization_sheet.name_generated(opts, [pair.generated for pair in pairs])
    opts.details.update(
        equal_training_images=num_repeats,
        ratios=dict(zip(names, quantiles.tolist(), strict=True)),
        closest=[
            dict(
                generated=name,
                training=dataset.name_of(pair.training),
                mirrored=pair.is_mirrored,
                ratio=pair.ratio,
            )
            for name, pair in zip(generated, pairs, strict=True)
        ],
    )
    if opts.memo_sheet is not None:
        memorization_sheet.write(opts.memo_sheet, opts, num_gen, pairs, dataset)
    dataset.close()
