"""Metrics of features that lie close together, or far from zero, where float32 loses its digits."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel

from metrics import (
    distances,
    frechet_inception_distance,
    kernel_inception_distance,
    metric_utils,
    precision_recall,
)
from metrics.metric_utils import FeatureStats, MetricOptions
from torch_utils.distributed import Worker

NUM, NHOOD = 300, 3


def options() -> MetricOptions:
    return MetricOptions(worker=Worker())


def exact_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Float64, from differences, row by row."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.stack([np.sqrt(np.square(row - y).sum(axis=1)) for row in x])


def exact_share(manifold: np.ndarray, probes: np.ndarray) -> float:
    radii = np.sort(exact_distances(manifold, manifold).astype(np.float16), axis=1)[:, NHOOD]
    return (exact_distances(probes, manifold).astype(np.float16) <= radii).any(axis=1).mean()


def cloud(center: float, spread: float, dim: int, seed: int) -> np.ndarray:
    return center + spread * np.random.RandomState(seed).randn(NUM, dim)


def clusters(num: int, far: float, spread: float, dim: int, seed: int) -> np.ndarray:
    centers = far * np.random.RandomState(99).randn(num, dim)
    rng = np.random.RandomState(seed)
    return centers[rng.randint(num, size=NUM)] + spread * rng.randn(NUM, dim)


def repeated(seed: int) -> np.ndarray:
    rng = np.random.RandomState(seed)
    return np.tile(100 + np.random.RandomState(7).randn(NUM // 4, 24), (4, 1)) + 0.05 * (
        rng.rand(NUM, 1) < 0.5
    ) * rng.randn(NUM, 24)


SETS = {
    "around zero": (cloud(0, 1, 64, 0), cloud(0, 0.9, 64, 1)),
    "far from zero": (cloud(100, 0.5, 64, 0), cloud(100, 0.45, 64, 1)),
    "further": (cloud(1000, 2, 8, 0), cloud(1000.2, 1.8, 8, 1)),
    "tiny": (cloud(0.01, 1e-4, 16, 0), cloud(0.01, 0.9e-4, 16, 1)),
    "flat": (cloud(30, 0.1, 16, 0), cloud(30.01, 0.09, 16, 1)),
    "two clusters": (clusters(2, 200, 0.2, 16, 0), clusters(2, 200, 0.19, 16, 1)),
    "eight clusters": (clusters(8, 300, 1, 64, 0), clusters(8, 300, 0.95, 64, 1)),
    "many clusters": (clusters(70, 500, 0.5, 16, 0), clusters(70, 500, 0.5, 16, 1)),
    "duplicates": (repeated(0), repeated(1)),
    "one image": (np.full((NUM, 8), 3.3), cloud(3.3, 0.1, 8, 1)),
    "large": (cloud(20000, 300, 12, 0), cloud(20000, 270, 12, 1)),
}


@pytest.fixture
def give(monkeypatch):
    """Let metrics have these features of real and of generated images."""

    def give(real: np.ndarray, gen: np.ndarray) -> None:
        for kind, features in (("dataset", real), ("generator", gen)):
            stats = FeatureStats(capture_all=True, capture_mean_cov=True)
            stats.append(features)
            name = f"compute_feature_stats_for_{kind}"
            monkeypatch.setattr(metric_utils, name, lambda stats=stats, **_: stats)

    return give


@pytest.mark.filterwarnings("ignore:precision and recall are not reliable")
@pytest.mark.parametrize("blocks", [(10000, 10000), (64, 77)], ids=["whole", "in blocks"])
@pytest.mark.parametrize("name", SETS)
def test_precision_and_recall_are_exact(name, blocks, give):
    real, gen = (x.astype(np.float32) for x in SETS[name])
    give(real, gen)
    got = precision_recall.compute_pr(options(), None, NUM, NHOOD, *blocks)
    half = real.astype(np.float16), gen.astype(np.float16)
    # A distance at the edge of two float16 numbers may fall on either side: one image at most.
    expected = exact_share(*half), exact_share(*reversed(half))
    assert got == pytest.approx(expected, abs=1.5 / NUM)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("is_self", [False, True], ids=["two sets", "one set"])
def test_distances_are_exact_to_what_float16_can_tell(name, is_self):
    x, y = (values.astype(np.float16) for values in SETS[name])
    y = x if is_self else y
    x32, y32 = (torch.from_numpy(values.astype(np.float32)) for values in (x, y))
    got = distances.pairwise(x32, y32, distances.middle(torch.from_numpy(y))).numpy()
    expected = exact_distances(x, y)
    np.testing.assert_allclose(got, expected, rtol=2**-12)
    assert (got[expected == 0] == 0).all()
    if is_self:
        assert (np.diag(got) == 0).all()


def test_distances_to_what_is_not_finite_are_not_finite():
    x, y = torch.randn(5, 4), torch.randn(6, 4)
    y[2, 1] = float("nan")
    got = distances.pairwise(x, y, torch.zeros(4))
    assert got[:, 2].isnan().all() and got[:, [0, 1, 3, 4, 5]].isfinite().all()


def test_collapsed_generator_has_a_precision_and_no_recall(give):
    real = cloud(100, 0.5, 32, 0)
    give(real, np.repeat(real[:1], NUM, axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # equal features are equal, not rounded to be
        precision, recall = precision_recall.compute_pr(options(), None, NUM, NHOOD, 64, 64)
    assert (precision, recall) == (1, pytest.approx(1 / NUM))


@pytest.mark.parametrize(
    ("center", "spread", "is_coarse"),
    [(1, 1, False), (100, 0.5, False), (1000, 0.1, True), (1000, 0.01, True)],
)
def test_features_that_float16_cannot_tell_apart_are_reported(center, spread, is_coarse, give):
    give(cloud(center, spread, 16, 0), cloud(center, spread, 16, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        precision_recall.compute_pr(options(), None, NUM, NHOOD, 64, 64)
    assert [
        "precision and recall are not reliable: rounding features to float16" in str(w.message)
        for w in caught
    ] == [True] * (2 * is_coarse)


@pytest.mark.parametrize(
    ("real", "gen", "message"),
    [
        (cloud(0, 1, 8, 0) * 1e5, cloud(0, 1, 8, 1), "too large for float16"),
        (cloud(0, 1, 400, 0) * 1.2e4, cloud(0, 1, 400, 1), "further apart than float16 can tell"),
        (cloud(0, 1, 8, 0)[:3], cloud(0, 1, 8, 1), "3 real images are too few"),
        (cloud(0, 1, 8, 0), cloud(0, 1, 8, 1)[:2], "2 generated images are too few"),
    ],
)
def test_what_has_no_precision_is_refused(real, gen, message, give):
    give(real, gen)
    with pytest.raises(ValueError, match=message):
        precision_recall.compute_pr(options(), None, len(gen), NHOOD, 64, 64)


@pytest.mark.parametrize(("center", "spread"), [(0.4, 0.3), (10, 0.3), (100, 1), (1000, 1)])
def test_kid_keeps_its_digits_far_from_zero(center, spread):
    x, y = (cloud(center, spread, 128, seed).astype(np.float32) for seed in (0, 1))
    y = (center + 1.1 * (y - center)).astype(np.float32)
    # The difference of large numbers, in extended precision.
    kernels = [
        (np.einsum("id,jd->ij", *[v.astype(np.longdouble) for v in pair]) / 128 + 1) ** 3
        for pair in ((x, x), (y, y), (x, y))
    ]
    within = [(k.sum() - np.trace(k)) / (NUM * (NUM - 1)) for k in kernels[:2]]
    expected = float(sum(within) - 2 * kernels[2].mean())
    got = kernel_inception_distance.kernel_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert got == pytest.approx(expected, rel=1e-5)
    if center < 100:
        kernel = polynomial_kernel(x.astype(float), y.astype(float), degree=3, gamma=1 / 128)
        np.testing.assert_allclose(kernel, kernels[2].astype(float), rtol=1e-9)


@pytest.mark.parametrize(("center", "spread"), [(0.4, 0.3), (100, 0.3), (1000, 0.1), (10000, 0.1)])
def test_fid_keeps_its_digits_far_from_zero(center, spread, give):
    real = cloud(center, spread, 48, 0).astype(np.float32)
    gen = (center + 1.2 * (cloud(center, spread, 48, 1) - center)).astype(np.float32)
    give(real, gen)
    got = frechet_inception_distance.compute_fid(options(), None, NUM)
    moments = []
    for x in (real.astype(np.float64), gen.astype(np.float64)):
        moments += [x.mean(axis=0), np.cov(x, rowvar=False, bias=True)]
    expected = frechet_inception_distance.frechet_distance(*moments)
    assert got == pytest.approx(expected, rel=1e-4)
