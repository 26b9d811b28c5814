"""Fréchet Inception Distance (Heusel et al. 2017, "GANs trained by a two time-scale update rule

converge to a local Nash equilibrium").
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.linalg

from metrics import detectors, extrapolation, metric_utils
from metrics.feature_stats import FeatureStats
from metrics.metric_utils import MetricOptions


def compute_fid(
    opts: MetricOptions,
    max_real: int | None,
    num_gen: int,
    detector: str = "inception",
    detector_kwargs: Mapping[str, Any] = metric_utils.FEATURES,
) -> float:
    """Distance between Gaussians fitted to features; NaN except on rank 0.

    If the options say so, it brings along its extrapolation, see `extrapolation.to_infinity`.

    Args:
        opts: Options of the metric.
        max_real: Largest number of real images.
        num_gen: Number of generated images.
        detector: Name of the feature network.
        detector_kwargs: How the feature network is called.
    """
    real, gen = metric_utils.compute_both_feature_stats(
        opts,
        detectors.URLS[detector],
        max_real,
        num_gen,
        detector_kwargs,
        more_of_generated=dict(capture_all=True) if opts.extrapolate else {},
        capture_mean_cov=True,
    )
    if opts.rank != 0:
        return float("nan")
    real_moments = real.get_mean_cov()

    def distance_of(gen: FeatureStats) -> float:
        return frechet_distance(*real_moments, *gen.get_mean_cov())

    value = distance_of(gen)
    return extrapolation.to_infinity(opts, value, gen, distance_of) if opts.extrapolate else value


def frechet_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    """Squared Fréchet distance of two Gaussians (Dowson & Landau 1982), in float64.

    |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)). With cov_a = r r^T, the product
    cov_a cov_b has the eigenvalues of the symmetric r^T cov_b r, which are real and not negative.
    The sum of their roots is the trace of the matrix root.
    """
    root = _factor(cov_a)
    product = root.T @ cov_b @ root
    eigenvalues = scipy.linalg.eigvalsh((product + product.T) / 2)
    trace_of_root = np.sqrt(eigenvalues.clip(min=0)).sum()
    distance = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b) - 2 * trace_of_root
    return float(distance)


def _factor(cov: np.ndarray) -> np.ndarray:
    """A matrix r with cov = r r^T."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:  # singular: fewer samples than features
        eigenvalues, vectors = scipy.linalg.eigh(cov, driver="evd")
        return vectors * np.sqrt(eigenvalues.clip(min=0))
