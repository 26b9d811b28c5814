"""Fréchet distances to infinitely many images: `calc_metrics.py --extrapolate`."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from metrics import frechet_inception_distance, metric_main, metric_utils
from metrics.metric_utils import FeatureStats, MetricOptions
from tests.metrics.stand_ins import save_network
from tests.metrics.test_calc_metrics import compute, files, network, refuse, run
from tests.metrics.test_shared_passes import counts, fresh_cache, options, separately, together
from torch_utils.distributed import Worker

files, network = files, network  # the fixtures
counts, fresh_cache, options = counts, fresh_cache, options

NAMES = ["fid50k_full", "kid50k_full", "fid50k", "is50k"]
DIM, SHIFT, NUM = 256, 7, 2000


def as_stats(x: np.ndarray) -> FeatureStats:
    stats = FeatureStats(capture_all=True, capture_mean_cov=True)
    stats.append(x)
    return stats


def whitened(dim: int) -> np.ndarray:
    """Features of mean 0 and covariance 1, to the last digit."""
    x = np.random.default_rng(99).normal(size=[2 * dim, dim])
    root = np.linalg.cholesky(np.cov(x, rowvar=False, bias=True))
    return np.linalg.solve(root, (x - x.mean(axis=0)).T).T


def compute_of(real: np.ndarray, gen: np.ndarray, monkeypatch, **kwargs) -> float:
    pair = as_stats(real), as_stats(gen)
    monkeypatch.setattr(metric_utils, "compute_both_feature_stats", lambda *_, **__: pair)
    opts = MetricOptions(worker=Worker(), extrapolate=True, **kwargs)
    return frechet_inception_distance.compute_fid(opts, None, len(gen))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_known_distance_of_gaussians_is_found_with_few_images(seed, monkeypatch):
    """Within 2%, where 2000 images give a distance that is more than 10% off."""
    scale = np.linspace(0.6, 1.2, DIM)
    known = SHIFT**2 + np.square(1 - scale).sum()  # the covariances are diagonal
    rng = np.random.default_rng(seed)
    gen = rng.normal(size=[NUM, DIM]) * scale + SHIFT / np.sqrt(DIM)
    value = compute_of(whitened(DIM), gen, monkeypatch, seed=seed)
    assert value > 1.1 * known
    assert value.facts["extrapolated"] == pytest.approx(known, rel=0.02)
    assert 0 < value.facts["extrapolation"]["standard_error"] < 0.01 * known


def test_the_line_is_that_of_polyfit_through_subsets_of_the_stated_sizes(monkeypatch):
    gen = np.random.default_rng(0).normal(size=[300, 8]) + 0.5
    value = compute_of(whitened(8), gen, monkeypatch, seed=3)
    found = value.facts["extrapolation"]
    sizes, distances = np.array(found["sizes"]), found["distances"]
    assert list(sizes[[0, 1, -1]]) == [150, 161, 300] and len(sizes) == 15
    assert distances[-1] == value and len(set(distances)) == 15
    (_, at_zero), covariance = np.polyfit(1 / sizes, distances, 1, cov=True)
    assert value.facts["extrapolated"] == pytest.approx(at_zero)
    assert found["standard_error"] == pytest.approx(np.sqrt(covariance[1, 1]))
    again = compute_of(whitened(8), gen, monkeypatch, seed=3)
    assert again.facts == value.facts
    other = compute_of(whitened(8), gen, monkeypatch, seed=4)
    assert other == value and other.facts["extrapolated"] != value.facts["extrapolated"]


def test_too_few_images_are_not_extrapolated_and_a_warning_says_so(monkeypatch):
    gen = np.random.default_rng(0).normal(size=[159, 40])
    message = "159 generated images are too few for 40 features, 160 would be enough"
    with pytest.warns(UserWarning, match=message):
        value = compute_of(whitened(40), gen, monkeypatch)
    assert value > 0 and value.facts == {}


def test_what_is_taken_away_too_much_is_what_the_theory_says(monkeypatch):
    """Equal Gaussians: the distance is nothing but bias; at the bound, 8% of it too much."""
    rest = []
    for seed in range(12):
        gen = np.random.default_rng(seed).normal(size=[4 * 100, 100])
        value = compute_of(whitened(100), gen, monkeypatch, seed=seed)
        rest.append(value.facts["extrapolated"] / value)
    per_image = 1 / (4 * np.linspace(0.5, 1, 15))
    bias = 1 - scipy.special.hyp2f1(1 / 2, -1 / 2, 2, per_image)
    theory = scipy.stats.linregress(per_image, bias).intercept / bias[-1]
    assert theory == pytest.approx(-0.082, abs=0.001)
    error = scipy.stats.sem(rest)
    assert np.mean(rest) == pytest.approx(theory, abs=3 * error) and error < 0.015


def test_values_are_those_without_the_option_and_images_are_made_once(options, fresh_cache, counts):
    options["num"] = 100
    expected = separately(NAMES, options)
    fresh_cache()
    counts["images"] = 0
    options["extrapolate"] = True
    assert together(NAMES, options) == expected
    assert counts["images"] == 100
    assert separately(NAMES, options) == expected


def test_record_and_table_have_the_extrapolated_value(network, files, tmp_path, dataset_zip):
    args = ["--metrics=fid50k_full,fid50k,kid50k", "--num=100", "--extrapolate", *files]
    records, result = run(f"--network={network}", *args)
    assert result.exit_code == 0, result.output
    for record in records[:2]:
        name = record["metric"]
        assert list(record["results"]) == list(record["extrapolated"]) == [name]
        assert record["extrapolation"][name]["sizes"][-1] == 100
        assert record["extrapolated"][name] != record["results"][name]
    assert "extrapolated" not in records[2]

    other = save_network(tmp_path / "six.pkl", dataset_zip, c_dim=6)
    args = ["--metrics=fid50k_full", "--num=100", "--extrapolate", "--per-class", *files]
    records, result = run(f"--network={other}", *args)
    header, _, *rows = result.stderr.splitlines()[-8:]
    assert header.split()[-2:] == ["fid50k_full", "fid50k_full_extrapolated"]
    values = [record["extrapolated"]["fid50k_full"] for record in records]
    assert [row.split()[-1] for row in rows] == [f"{value:.5g}" for value in values]


def test_without_a_frechet_distance_the_option_is_refused(network, files):
    args = [f"--network={network}", "--metrics=kid50k,is50k", "--extrapolate", *files]
    error = refuse(*args, exit_code=2)
    assert "--extrapolate: there is nothing to extrapolate" in error and "fid50k_full or" in error
    assert compute(*args[:1], "--metrics=kid50k", "--num=20", *files)


def test_metrics_that_compute_a_frechet_distance_say_so(monkeypatch):
    class Called(Exception):
        pass

    def compute_fid(*args, **kwargs):
        raise Called

    monkeypatch.setattr(frechet_inception_distance, "compute_fid", compute_fid)
    for name in metric_main.list_valid_metrics():
        metric = metric_main.get_metric(name)
        is_distance = False
        try:
            metric.function(MetricOptions(worker=Worker()))
        except Called:
            is_distance = True
        except Exception:  # without a generator and data
            pass
        assert metric.extrapolates == is_distance, name
