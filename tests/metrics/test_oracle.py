"""Metrics of given features against SciPy and scikit-learn."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from metrics import (
    frechet_inception_distance,
    inception_score,
    kernel_inception_distance,
    metric_utils,
    precision_recall,
)
from metrics.metric_utils import FeatureStats, MetricOptions
from torch_utils.distributed import Worker

RTOL = 1e-4


def draw_features(num: int, dim: int, seed: int) -> np.ndarray:
    """Correlated features that are not negative, as those of a ReLU are."""
    rng = np.random.RandomState(seed)
    mix = rng.randn(dim, dim) / np.sqrt(dim)
    return np.maximum(rng.randn(num, dim) @ mix + 0.2 * rng.randn(dim), 0).astype(np.float32)


@pytest.fixture(params=[(400, 300, 64), (90, 120, 32)], ids=["many", "few"])
def features(request, monkeypatch):
    num_real, num_gen, dim = request.param
    real, gen = draw_features(num_real, dim, 0), draw_features(num_gen, dim, 1)

    def give(x: np.ndarray):
        def compute(opts, max_items=None, capture_all=False, capture_mean_cov=False, **_):
            stats = FeatureStats(capture_all, capture_mean_cov, max_items)
            for part in np.array_split(x, 7):
                stats.append(part)
            return stats

        return compute

    monkeypatch.setattr(metric_utils, "compute_feature_stats_for_dataset", give(real))
    monkeypatch.setattr(metric_utils, "compute_feature_stats_for_generator", give(gen))
    return real, gen


def options(**kwargs) -> MetricOptions:
    return MetricOptions(worker=Worker(), **kwargs)


def test_fid_is_that_of_scipys_matrix_root(features):
    real, gen = (x.astype(np.float64) for x in features)
    means = real.mean(axis=0), gen.mean(axis=0)
    covs = np.cov(real, rowvar=False, bias=True), np.cov(gen, rowvar=False, bias=True)
    root = scipy.linalg.sqrtm(covs[1] @ covs[0]).real
    expected = np.square(means[0] - means[1]).sum() + np.trace(covs[0] + covs[1] - 2 * root)
    fid = frechet_inception_distance.compute_fid(options(), None, len(gen))
    assert fid == pytest.approx(expected, rel=RTOL)
    assert fid > 0.1


@pytest.mark.parametrize("rank", [1, 40])
def test_root_of_singular_covariances(rank):
    rng = np.random.RandomState(0)
    a, b = rng.randn(2, rank, 48)
    zero = np.zeros(48)
    got = frechet_inception_distance.frechet_distance(zero, a.T @ a, zero, b.T @ b)
    # The nuclear norm of a b^T, which needs no root of a singular matrix.
    expected = np.square(a).sum() + np.square(b).sum()
    expected -= 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()
    assert got == pytest.approx(expected, rel=1e-6)


def test_kid_is_that_of_scikit_learn(features):
    real, gen = (x.astype(np.float64) for x in features)
    rng = np.random.RandomState(11)
    m, dim = 60, real.shape[1]
    values = []
    for _ in range(8):
        x = gen[rng.choice(len(gen), m, replace=False)]
        y = real[rng.choice(len(real), m, replace=False)]
        kernels = [
            polynomial_kernel(p, q, degree=3, gamma=1 / dim, coef0=1)
            for p, q in ((x, x), (y, y), (x, y))
        ]
        off_diagonal = ~np.eye(m, dtype=bool)
        within = [k[off_diagonal].mean() for k in kernels[:2]]
        values.append(sum(within) - 2 * kernels[2].mean())
    kid = kernel_inception_distance.compute_kid(options(seed=11), None, len(gen), 8, m)
    assert kid == pytest.approx(np.mean(values), rel=RTOL)


@pytest.mark.parametrize("blocks", [(10000, 10000), (37, 23)])
def test_precision_and_recall_are_those_of_scikit_learn(features, blocks):
    real, gen = features

    def share_inside(manifold: np.ndarray, probes: np.ndarray) -> float:
        manifold, probes = (x.astype(np.float16).astype(np.float64) for x in (manifold, probes))
        neighbours = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(manifold)
        radii = neighbours.kneighbors(manifold)[0][:, -1].astype(np.float16)
        distances = np.linalg.norm(probes[:, None] - manifold[None], axis=2).astype(np.float16)
        return (distances <= radii).any(axis=1).mean()

    precision, recall = precision_recall.compute_pr(options(), None, len(gen), 3, *blocks)
    assert precision == pytest.approx(share_inside(real, gen), rel=RTOL)
    assert recall == pytest.approx(share_inside(gen, real), rel=RTOL)
    assert 0 < precision < 1


def test_inception_score_is_that_of_scipy(features):
    probs = scipy.special.softmax(features[1] * 5, axis=1).astype(np.float32)
    probs[:7, 0] = 0  # which has a logarithm, but no share
    monkey = pytest.MonkeyPatch()
    stats = FeatureStats(capture_all=True)
    stats.append(probs)
    with monkey.context() as patch:
        patch.setattr(metric_utils, "compute_feature_stats_for_generator", lambda **_: stats)
        got = inception_score.compute_is(options(), len(probs), 5)
    scores = []
    for i in range(5):
        part = probs[i * len(probs) // 5 : (i + 1) * len(probs) // 5].astype(np.float64)
        mean = part.mean(axis=0)
        divergence = [(scipy.special.xlogy(p, p) - p * np.log(mean)).sum() for p in part]
        scores.append(np.exp(np.mean(divergence)))
    assert got == pytest.approx((np.mean(scores), np.std(scores)), rel=RTOL)
