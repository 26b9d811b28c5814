"""Kernel Inception Distance (Binkowski et al. 2018, "Demystifying MMD GANs")."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from metrics import detectors, metric_utils
from metrics.metric_utils import MetricOptions
from metrics.value import Value


def compute_kid(
    opts: MetricOptions,
    max_real: int | None,
    num_gen: int,
    num_subsets: int,
    max_subset_size: int,
    detector: str = "inception",
    detector_kwargs: Mapping[str, Any] = metric_utils.FEATURES,
) -> float:
    """Squared maximum mean discrepancy of features; NaN except on rank 0.

    Args:
        opts: Options of the metric.
        max_real: Largest number of real images.
        num_gen: Number of generated images.
        num_subsets: Number of random subsets to average over.
        max_subset_size: Images of each kind in a subset.
        detector: Name of the feature network.
        detector_kwargs: How the feature network is called.
    """
    real_stats, gen_stats = metric_utils.compute_both_feature_stats(
        opts, detectors.URLS[detector], max_real, num_gen, detector_kwargs, capture_all=True
    )
    real, gen = real_stats.get_all_torch(), gen_stats.get_all_torch()
    if opts.rank != 0:
        return float("nan")
    return compute_kid_of_features(opts, real, gen, num_subsets, max_subset_size)


def compute_kid_of_features(
    opts: MetricOptions, real: Tensor, gen: Tensor, num_subsets: int, max_subset_size: int
) -> float:
    """Squared maximum mean discrepancy of features `[N, num_features]` on the CPU.

    The fact `standard_errors` is the standard error of the mean of the subsets. It is missing if
    all subsets are the same images.

    Args:
        opts: Their seed draws the subsets, on their device.
        real: Features of real images.
        gen: Features of generated images.
        num_subsets, max_subset_size: See `compute_kid`.

    Raises:
        ValueError: If there are fewer than two images of a kind.
    """
    rng = np.random if opts.seed is None else np.random.RandomState(opts.seed)
    size = min(len(real), len(gen), max_subset_size)
    if size < 2:
        raise InputError("KID needs two images of each kind")
    values, total = [], 0.0
    for _ in range(num_subsets):
        x = gen[rng.choice(len(gen), size, replace=False)]
        y = real[rng.choice(len(real), size, replace=False)]
        values.append(kernel_distance(x.to(opts.device), y.to(opts.device)))
        total += values[-1]
    mean = total / num_subsets
    if num_subsets == 1 or size == len(real) == len(gen):
        return mean
    return Value(mean, standard_errors=float(np.std(values, ddof=1)) / math.sqrt(num_subsets))


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Unbiased squared MMD of equally many features `[m, d]` (Gretton et al. 2012, Eq. 4).

    Computed in float64 where the device has it: the sums nearly cancel, the more the further the
    features are from zero.
    """
    m = len(x)
    if x.device.type != "mps":
        x, y = x.to(torch.float64), y.to(torch.float64)
    k_xx, k_yy, k_xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    within = _sum(k_xx) - _sum(k_xx.diag()) + _sum(k_yy) - _sum(k_yy.diag())
    return within / (m * (m - 1)) - 2 * _sum(k_xy) / m**2


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """The cubic polynomial kernel (x·y / d + 1)^3 (Sec. 4)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _sum(k: Tensor) -> float:
    return float((k.cpu() if k.device.type == "mps" else k).sum(dtype=torch.float64))
