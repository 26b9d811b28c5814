"""How sure values are: standard errors and intervals, against SciPy and many repetitions."""

import numpy as np
import pytest
import scipy.stats
import torch

from metrics import bootstrap, kernel_inception_distance, metric_utils
from metrics.density_coverage import compute_dc_of_features
from metrics.metric_utils import FeatureStats, MetricOptions
from metrics.precision_recall import compute_pr_of_features
from metrics.value import Value, facts_by_field
from tests.metrics.test_calc_metrics import files, network, run
from tests.metrics.test_oracle import draw_features
from torch_utils.distributed import Worker

files, network = files, network  # the fixtures

NAMES = ["kid50k_full", "kid50k", "pr50k3_full", "pr50k3", "dc50k5_full", "fid50k", "is50k"]


def options(**kwargs) -> MetricOptions:
    return MetricOptions(**{"worker": Worker(), "seed": 0, **kwargs})


def test_values_are_numbers_and_bring_their_facts_along():
    value = Value(1.5, standard_errors=0.1)
    assert value == 1.5 and isinstance(value, float) and f"{value:.2f}" == "1.50"
    results = dict(a=value, b=2.0, c=Value(3, standard_errors=0.2, intervals=[2, 4]))
    assert facts_by_field(results) == dict(
        standard_errors=dict(a=0.1, c=0.2), intervals=dict(c=[2, 4])
    )


@pytest.mark.parametrize(("num", "share"), [(50000, 0.7), (2000, 0.02), (300, 0.5)])
def test_intervals_of_shares_are_those_of_the_binomial_distribution(num, share):
    is_inside = np.arange(num) < share * num
    low, high = bootstrap.interval_of_mean(is_inside, np.random.default_rng(0))
    expected = np.array(scipy.stats.binom.interval(0.95, num, share)) / num
    width = expected[1] - expected[0]
    assert [low, high] == pytest.approx(expected, abs=0.1 * width)


def test_intervals_of_counts_are_those_of_scipys_bootstrap():
    counts = np.random.default_rng(1).negative_binomial(2, 0.3, size=800) / 5
    low, high = bootstrap.interval_of_mean(counts, np.random.default_rng(0))
    expected = scipy.stats.bootstrap(
        [counts], np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert [low, high] == pytest.approx(list(expected), abs=0.1 * (expected.high - expected.low))
    normal = counts.mean() + scipy.stats.sem(counts) * np.array([-1.96, 1.96])
    assert [low, high] == pytest.approx(normal, abs=0.1 * (normal[1] - normal[0]))


def test_intervals_depend_on_the_seed_only():
    values = np.random.default_rng(0).integers(4, size=500)
    pairs = [bootstrap.with_interval(1.0, values, seed).facts for seed in (0, 0, 1)]
    assert pairs[0] == pairs[1] != pairs[2]
    assert bootstrap.with_interval(1.0, values, None) == 1
    assert bootstrap.interval_of_mean(np.ones(9, bool), np.random.default_rng(0)) == [1, 1]


@pytest.mark.parametrize(
    ("compute", "nhood_size"), [(compute_pr_of_features, 3), (compute_dc_of_features, 5)]
)
def test_intervals_are_around_the_means_of_images(compute, nhood_size):
    real, gen = (torch.from_numpy(draw_features(n, 8, seed)) for seed, n in enumerate((400, 300)))
    values = compute(options(), real, gen, nhood_size, 64, 50)
    for value in values:
        low, high = value.facts["intervals"]
        assert low < value < high
        assert low + high == pytest.approx(2 * value, abs=0.2 * (high - low))
    first, second = (value.facts["intervals"][1] - value.facts["intervals"][0] for value in values)
    shares = (300, 400) if compute is compute_pr_of_features else (None, 400)
    for width, value, num in zip((first, second), values, shares, strict=True):
        if num is not None:  # density is no share
            expected = 2 * 1.96 * np.sqrt(value * (1 - value) / num)
            assert width == pytest.approx(expected, rel=0.15)


def test_density_has_the_interval_of_generated_images():
    """Generated images of which each is in equally many neighbourhoods leave no doubt."""
    real = torch.from_numpy(draw_features(200, 8, 0))
    density, coverage = compute_dc_of_features(options(), real, real[:1].repeat(100, 1), 5, 64, 50)
    assert density.facts["intervals"] == [density, density] and density > 0
    assert coverage.facts["intervals"][0] < coverage.facts["intervals"][1]


def give(real: np.ndarray, gen: np.ndarray, monkeypatch) -> None:
    pair = FeatureStats(capture_all=True), FeatureStats(capture_all=True)
    for stats, x in zip(pair, (real, gen), strict=True):
        stats.append(x)
    monkeypatch.setattr(metric_utils, "compute_both_feature_stats", lambda *_, **__: pair)


def test_kid_has_the_standard_error_of_its_subsets(monkeypatch):
    real, gen = draw_features(500, 16, 0), draw_features(400, 16, 1)
    give(real, gen, monkeypatch)
    value = kernel_inception_distance.compute_kid(options(), None, 400, 30, 50)
    rng = np.random.RandomState(0)
    kids = []
    for _ in range(30):
        x, y = (
            torch.from_numpy(both[rng.choice(len(both), 50, replace=False)]) for both in (gen, real)
        )
        kids.append(kernel_inception_distance.kernel_distance(x, y))
    assert value == pytest.approx(np.mean(kids), rel=1e-12)
    assert value.facts["standard_errors"] == pytest.approx(scipy.stats.sem(kids))


@pytest.mark.parametrize(("num_subsets", "size"), [(1, 50), (9, 90)])
def test_kid_of_one_subset_has_no_standard_error(num_subsets, size, monkeypatch):
    give(draw_features(90, 16, 0), draw_features(90, 16, 1), monkeypatch)
    value = kernel_inception_distance.compute_kid(options(), None, 90, num_subsets, size)
    assert not hasattr(value, "facts")


def test_standard_error_of_kid_leaves_out_the_choice_of_images(monkeypatch):
    """As docs/metrics.md says: with N images, sqrt(1 + subsets * size / (N - size)) too little."""
    size, num_subsets, num = 50, 100, 1000
    values, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        real, gen = rng.normal(size=[num, 4]), rng.normal(size=[num, 4]) * 0.5 + 1
        give(real, gen, monkeypatch)
        opts = options(seed=seed)
        values.append(kernel_inception_distance.compute_kid(opts, None, num, num_subsets, size))
        errors.append(values[-1].facts["standard_errors"])
    factor = np.sqrt(1 + num_subsets * size / (num - size))
    assert np.std(values) == pytest.approx(factor * np.mean(errors), rel=0.25)


def test_records_say_how_sure_values_are_and_of_how_many_images(network, files):
    args = [f"--network={network}", f"--metrics={','.join(NAMES)}", "--num=60", *files]
    records, result = run(*args)
    assert result.exit_code == 0, result.output
    for record in records:
        name = record["metric"]
        sure = {
            "kid": "standard_errors",
            "pr5": "intervals",
            "dc5": "intervals",
        }.get(name[:3])
        assert [field for field in ("standard_errors", "intervals") if field in record] == (
            [sure] if sure and name != "kid50k" else []  # 60 of each kind: one subset
        )
        if sure in record:
            assert record[sure].keys() == record["results"].keys()
        assert record["num"] == 60
        num_real = None if name == "is50k" else 100 if name.endswith("_full") else 60
        assert record.get("num_real") == num_real
