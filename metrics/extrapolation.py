"""Fréchet distance to infinitely many generated images, from distances of subsets.

Chong & Forsyth 2020, "Effectively unbiased FID and Inception Score and where to find them": the
distance of N images is biased by about b / N, so a line through distances of several sizes over
1 / N has the value without bias at 0.
"""

import warnings
from collections.abc import Callable

import numpy as np
import scipy.stats
import torch

from metrics.feature_stats import FeatureStats
from metrics.metric_utils import MetricOptions
from metrics.value import Value

NUM_SIZES = 15
SMALLEST_SHARE = 0.5  # of the images, in the smallest subset; see `to_infinity`
MIN_PER_FEATURE = 4  # generated images; with fewer, the distances do not lie on a line
BLOCK = 4096  # vectors that moments are accumulated of at a time


def to_infinity(
    opts: MetricOptions,
    value: float,
    gen: FeatureStats,
    distance_of: Callable[[FeatureStats], float],
) -> Value:
    """Add the extrapolated distance to a distance, as the fact `extrapolated`.

    The fact `extrapolation` holds the standard error of the line's value at 0, the sizes, and the
    distance of each size. The sizes lie evenly between half of the images and all of them. Each
    subset is drawn for itself. Subsets that grow by further images would cost less, but their
    errors are alike and do not average out: the value scatters up to twice as much.

    Smaller sizes would bend the line. If the covariances of d features are the same multiple of the
    identity, the bias of N images grows like 1 - F(1/2, -1/2; 2; d / N), by the moments of the law
    of Marchenko and Pastur (1967), where F is the hypergeometric function; this begins with
    d / 8N (1 + d / 8N). The line then takes away too much: 8% of the bias for `MIN_PER_FEATURE`, 1%
    for 24 images per feature. If the sizes began at a tenth of the images, it would be 9% for 24.
    Features with few strong directions have less bias, and less of it is wrong.

    The standard error covers the choice of the subsets. Other generated images would change the
    value about as much again, or more, and nothing is extrapolated for the real images.

    Args:
        opts: Their seed draws the subsets; their device accumulates moments.
        value: The distance of all images.
        gen: All features of generated images.
        distance_of: Takes moments of generated images, and returns their distance.

    Returns:
        The same value. If there are too few images, a warning says so, and the facts are missing.
    """
    num, num_features = gen.num_items, gen.num_features
    assert num_features is not None
    if num < MIN_PER_FEATURE * num_features:
        warnings.warn(
            f"no extrapolation: {num} generated images are too few for {num_features} features, "
            f"{MIN_PER_FEATURE * num_features} would be enough",
            stacklevel=2,
        )
        return Value(value)
    features, rng = gen.get_all_torch(), np.random.default_rng(opts.seed)
    sizes = [round(size) for size in np.linspace(SMALLEST_SHARE * num, num, NUM_SIZES)]
    distances = []
    for size in sizes[:-1]:
        subset = FeatureStats(capture_mean_cov=True)
        for part in torch.from_numpy(rng.permutation(num)[:size]).split(BLOCK):
            subset.append(features[part].to(opts.device))
        distances.append(distance_of(subset))
    distances.append(value)
    line = scipy.stats.linregress(1 / np.array(sizes), distances)
    return Value(
        value,
        extrapolated=float(line.intercept),
        extrapolation=dict(
            standard_error=float(line.intercept_stderr), sizes=sizes, distances=distances
        ),
    )
