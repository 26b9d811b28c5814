"""How sure the mean of many values is: bootstrap intervals (Efron 1979, "Bootstrap methods")."""

import numpy as np

from metrics.value import Value

NUM_RESAMPLES = 1000
SHARE = 0.95  # of the resampled means that an interval holds


def with_interval(value: float, per_image: np.ndarray, seed: int | None) -> Value:
    """Give a value that is the mean of numbers of images its interval: the fact `intervals`.

    Args:
        value: The mean.
        per_image: The numbers `[N]`, of which few are distinct.
        seed: Seed of the resamples; `None` for other ones each time.
    """
    return Value(value, intervals=interval_of_mean(per_image, np.random.default_rng(seed)))


def interval_of_mean(values: np.ndarray, rng: np.random.Generator) -> list[float]:
    """The bounds between which the mean of values `[N]` lies in 95% of resamples.

    To draw N of N values with replacement is to draw how often each distinct value occurs, from a
    multinomial distribution.
    """
    distinct, counts = np.unique(values, return_counts=True)
    drawn = rng.multinomial(len(values), counts / len(values), size=NUM_RESAMPLES)
    means = drawn @ distinct.astype(np.float64) / len(values)
    return np.quantile(means, [(1 - SHARE) / 2, (1 + SHARE) / 2]).tolist()
