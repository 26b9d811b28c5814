"""Inception score (Salimans et al. 2016, "Improved techniques for training GANs", Sec. 4)."""

import itertools

import numpy as np
import scipy.special

from dnnlib.errors import InputError
from metrics import detectors, metric_utils
from metrics.metric_utils import MetricOptions


def compute_is(opts: MetricOptions, num_gen: int, num_splits: int) -> tuple[float, float]:
    """Mean and standard deviation of the score over parts; NaN except on rank 0.

    Args:
        opts: Options of the metric.
        num_gen: Number of generated images.
        num_splits: Number of parts.
    """
    if num_gen < num_splits:
        raise InputError(f"the inception score needs {num_splits} samples, one in each part")
    probs = metric_utils.compute_feature_stats_for_generator(
        opts=opts,
        detector_url=detectors.URLS["inception"],
        detector_kwargs=dict(no_output_bias=True),
        capture_all=True,
        max_items=num_gen,
    ).get_all()
    opts.details["num"] = num_gen  # the score depends on it
    if opts.rank != 0:
        return float("nan"), float("nan")
    bounds = [idx * num_gen // num_splits for idx in range(num_splits + 1)]
    scores = [score(probs[start:stop]) for start, stop in itertools.pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def score(probs: np.ndarray) -> float:
    """exp(E[KL(p(y|x) || p(y))]) of class probabilities `[N, classes]`, where 0 log 0 is 0."""
    probs = probs.astype(np.float64)
    divergence = scipy.special.rel_entr(probs, probs.mean(axis=0)).sum(axis=1)
    return float(np.exp(divergence.mean()))
