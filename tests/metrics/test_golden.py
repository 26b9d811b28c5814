"""Metrics of given features, against the reference."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metrics import (
    frechet_inception_distance,
    inception_score,
    kernel_inception_distance,
    metric_utils,
    perceptual_path_length,
    precision_recall,
)
from metrics.metric_utils import FeatureStats, MetricOptions
from tests import golden
from torch_utils.distributed import Worker

FILE = "metrics_features.npz"
CASES = golden.load(FILE)


def cases(prefix: str):
    return pytest.mark.parametrize("name", golden.case_names(FILE, prefix))


def options(**kwargs) -> MetricOptions:
    return MetricOptions(worker=Worker(), **kwargs)


@pytest.fixture
def give_features(monkeypatch):
    """Let metrics have these features of real and of generated images."""

    def give(real: np.ndarray | None, gen: np.ndarray) -> None:
        def compute(features):
            def compute(
                opts, detector_url, detector_kwargs, rel_lo=0, rel_hi=1, max_items=None, **kwargs
            ):
                stats = FeatureStats(max_items=max_items, **kwargs)
                stats.append(features)
                return stats

            return compute

        for kind, features in (("dataset", real), ("generator", gen)):
            name = f"compute_feature_stats_for_{kind}"
            monkeypatch.setattr(metric_utils, name, compute(features))

    return give


@cases("stats_")
@pytest.mark.parametrize("as_tensor", [False, True])
def test_feature_stats_match_reference(name, as_tensor, tmp_path):
    case = CASES[name]
    stats = FeatureStats(**case.meta["init"])
    bounds = [0, *np.cumsum(case.arrays["batches"])]
    for i, (start, stop) in enumerate(itertools.pairwise(bounds)):
        x = case.arrays["x"][start:stop]
        stats.append(torch.from_numpy(x) if as_tensor else x)
        assert stats.is_full() == case.arrays["is_full_after"][i]
        assert stats.num_items == case.arrays["num_items_after"][i]
    stats.save(tmp_path / "stats.pkl")
    for got in (stats, FeatureStats.load(tmp_path / "stats.pkl")):
        check_stats(got, case)


def check_stats(stats: FeatureStats, case: SimpleNamespace) -> None:
    arrays, meta = case.arrays, case.meta
    assert (stats.num_items, stats.num_features) == (meta["num_items"], meta["num_features"])
    assert [list(c.shape) for c in stats.all_features] == meta["all_features_chunks"]
    assert set(stats.state_dict()) == set(meta["saved_fields"])
    for key, kind in meta["saved_fields"].items():
        if kind.startswith("ndarray"):
            value = stats.state_dict()[key]
            assert f"ndarray {value.dtype} {list(value.shape)}" == kind
        else:
            assert kind.startswith(type(stats.state_dict()[key]).__name__)
    assert stats.raw_mean.any() == meta["raw_mean_nonzero"]
    if "mean" in arrays:
        mean, cov = stats.get_mean_cov()
        for got, key in ((stats.raw_mean, "raw_mean"), (stats.raw_cov, "raw_cov")):
            np.testing.assert_allclose(got, arrays[key], rtol=1e-9)
        np.testing.assert_allclose(mean, arrays["mean"], rtol=1e-9)
        np.testing.assert_allclose(cov, arrays["cov"], rtol=1e-9, atol=1e-12)
    if "all" in arrays:
        np.testing.assert_array_equal(stats.get_all(), arrays["all"])
        np.testing.assert_array_equal(stats.get_all_torch().numpy(), arrays["all"])


@cases("fid_")
def test_fid_matches_reference(name, give_features):
    case = CASES[name]
    give_features(case.arrays["real"], case.arrays["gen"])
    fid = frechet_inception_distance.compute_fid(
        options(), max_real=None, num_gen=case.meta["num_gen"]
    )
    atol = 1e-5 if "rankdef" in name else 1e-9 if name == "fid_same" else 1e-7
    assert fid == pytest.approx(case.meta["fid"], rel=0, abs=atol)


@cases("kid_")
def test_kid_matches_reference(name, give_features):
    case = CASES[name]
    give_features(case.arrays["real"], case.arrays["gen"])
    sizes = {key: case.meta[key] for key in ("num_gen", "num_subsets", "max_subset_size")}
    np.random.seed(case.meta["np_seed"])
    kid = kernel_inception_distance.compute_kid(options(), max_real=1000000, **sizes)
    assert kid == pytest.approx(case.meta["kid"], rel=1e-4)
    assert kid == pytest.approx(case.meta["kid_float64"], rel=1e-6)


@cases("pr_")
def test_precision_and_recall_match_reference(name, give_features):
    case = CASES[name]
    give_features(case.arrays["real"], case.arrays["gen"])
    sizes = ("num_gen", "nhood_size", "row_batch_size", "col_batch_size")
    result = precision_recall.compute_pr(
        options(), max_real=None, **{key: case.meta[key] for key in sizes}
    )
    expected = case.meta["precision"], case.meta["recall"]
    assert result == pytest.approx(expected, abs=0.02 if name == "pr_cluster" else 1e-6)


@cases("pr_")
def test_distances_match_reference(name):
    case = CASES[name]
    real, gen = (torch.from_numpy(case.arrays[key]).half() for key in ("real", "gen"))
    distances = precision_recall.compute_distances(real, gen, 1, 0, case.meta["col_batch_size"])
    assert distances.dtype == torch.float16
    expected = torch.from_numpy(case.arrays["dist_real_rows_gen_cols"])
    atol = 0.02 if name == "pr_cluster" else 0
    torch.testing.assert_close(distances, expected, rtol=0, atol=atol)


@cases("is_")
def test_inception_score_matches_reference(name, give_features):
    case = CASES[name]
    give_features(None, case.arrays["probs"])
    result = inception_score.compute_is(
        options(), num_gen=case.meta["num_gen"], num_splits=case.meta["num_splits"]
    )
    assert result == pytest.approx((case.meta["mean"], case.meta["std"]), rel=1e-5)


class GivenDistances(torch.nn.Module):
    """In place of `PPLSampler`: distances, one batch after the other."""

    def __init__(self, dist: torch.Tensor) -> None:
        super().__init__()
        self.dist, self.start = dist, 0

    def forward(self, c):
        self.start += len(c)
        return self.dist[self.start - len(c) : self.start]


@cases("ppl_agg_")
def test_path_length_is_aggregated_as_in_the_reference(name, monkeypatch):
    case = CASES[name]
    sampler = GivenDistances(torch.from_numpy(case.arrays["dist"]))
    monkeypatch.setattr(perceptual_path_length, "PPLSampler", lambda *args, **kwargs: sampler)
    monkeypatch.setattr(metric_utils, "get_feature_detector", lambda *args, **kwargs: None)
    G = torch.nn.Module()
    G.c_dim = 0
    ppl = perceptual_path_length.compute_ppl(
        options(G=G),
        num_samples=case.meta["num_samples"],
        epsilon=1e-4,
        space="w",
        sampling="end",
        crop=False,
        batch_size=case.meta["batch_size"],
    )
    assert ppl == pytest.approx(case.meta["ppl"], rel=1e-6)
    assert sampler.start == case.meta["sampler_calls"] * case.meta["batch_size"]


@cases("slerp_")
def test_slerp_matches_reference(name):
    case = CASES[name]
    a, b, t = (golden.tensor(case, key) for key in ("a", "b", "t"))
    got = perceptual_path_length.slerp(a, b, t)
    atol = 1e-4 if name == "slerp_near" else 1e-6
    np.testing.assert_allclose(got.numpy(), case.arrays["out"], rtol=0, atol=atol)


class Noise(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("noise_const", torch.zeros([4, 4]))


class StubSynthesis(torch.nn.Module):
    def __init__(self, case: SimpleNamespace) -> None:
        super().__init__()
        self.A = golden.tensor(case, "A")
        self.resolution = case.meta["img_resolution"]
        self.channels = case.meta["img_channels"]
        self.layers = torch.nn.ModuleList(Noise() for _ in range(case.meta["num_noise_buffers"]))

    def forward(self, ws, noise_mode, force_fp32):
        assert noise_mode == "const" and force_fp32
        img = (ws.mean(dim=1) @ self.A).reshape(len(ws), self.channels, 8, 8)
        factor = self.resolution // 8
        img = img.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
        for layer in self.layers:
            tiled = layer.noise_const.tile([self.resolution // 4] * 2)
            img = img + 0.01 * tiled * ws.mean(dim=(1, 2))[:, None, None, None]
        return img


class StubGenerator(torch.nn.Module):
    def __init__(self, case: SimpleNamespace) -> None:
        super().__init__()
        self.z_dim, self.c_dim = case.meta["z_dim"], 0
        self.img_resolution = case.meta["img_resolution"]
        self.img_channels = case.meta["img_channels"]
        self.num_ws, self.M = case.meta["num_ws"], golden.tensor(case, "M")
        self.synthesis = StubSynthesis(case)

    def mapping(self, z, c):
        return torch.tanh(z @ self.M)[:, None].repeat([1, self.num_ws, 1])


@cases("pplsampler_")
def test_path_length_sampler_matches_reference(name):
    case = CASES[name]
    shapes = []

    class Vgg(torch.nn.Module):
        def forward(self, img, resize_images, return_lpips):
            assert not resize_images and return_lpips
            shapes.append(list(img.shape))
            return F.adaptive_avg_pool2d(img, 16).flatten(1) / 100

    G = StubGenerator(case)
    arguments = [case.meta[key] for key in ("epsilon", "space", "sampling", "crop")]
    sampler = perceptual_path_length.PPLSampler(
        G, {"noise_mode": "const", "force_fp32": True}, *arguments, Vgg()
    )
    torch.manual_seed(case.meta["torch_seed"])
    for key in ("dist1", "dist2"):
        dist = sampler(torch.zeros([case.meta["batch"], 0]))
        np.testing.assert_allclose(dist.numpy(), case.arrays[key], rtol=2e-3)
    assert shapes == [case.meta["vgg_input_shape"]] * 2
    assert not any(buffer.any() for buffer in G.buffers())  # only the copy was changed
