"""Metrics of one call share passes over images, and have the values of separate calls."""

import warnings

import pytest
import torch

from metrics import feature_cache, metric_main, metric_utils, samples
from metrics.inception import InceptionV3
from metrics.shared_passes import SharedPasses
from tests.metrics import stand_ins
from torch_utils.distributed import Worker

NAMES = ["fid50k_full", "kid50k_full", "pr50k3_full", "is50k", "dc50k5_full", "fid50k", "kid50k"]
NUM, NUM_REAL, BATCH = 40, 100, 16


@pytest.fixture
def options(detector_files, dataset_zip):
    data = dict(class_name="training.dataset.ImageFolderDataset", path=str(dataset_zip))
    return dict(
        G=stand_ins.build_generator(),
        dataset_kwargs=data,
        worker=Worker(),
        num=NUM,
        detectors={name: str(path) for name, path in detector_files.items()},
        allow_untrusted=True,  # TorchScript
    )


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    """Start with an empty cache; give a function that does so again."""
    counts = iter(range(9))

    def empty() -> None:
        monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / f"cache{next(counts)}"))

    empty()
    return empty


@pytest.fixture
def counts(monkeypatch):
    """Generated images, and batches that feature networks have seen."""
    found = dict(images=0, batches=0)
    latents, detect = samples.latents, metric_utils.detect

    def draw(seed, start, stop, z_dim):
        found["images"] += stop - start
        return latents(seed, start, stop, z_dim)

    def look(*args):
        found["batches"] += 1
        return detect(*args)

    monkeypatch.setattr(samples, "latents", draw)
    monkeypatch.setattr(metric_utils, "detect", look)
    return found


def separately(names: list[str], options: dict) -> dict[str, float]:
    values = {}
    for name in names:
        values |= metric_main.calc_metric(name, **options).results
    return values


def together(names: list[str], options: dict) -> dict[str, float]:
    return separately(names, options | dict(passes=metric_main.plan(names, **options)))


def test_values_are_those_of_separate_calls(options, fresh_cache, counts):
    expected = separately(NAMES, options)
    assert counts["images"] == len(NAMES) * NUM
    fresh_cache()
    counts.update(images=0, batches=0)
    assert together(NAMES, options) == expected
    assert counts["images"] == NUM
    num_real, num_gen = (-(-num // BATCH) for num in (NUM_REAL, NUM))
    # Real images: two feature networks, and one again for the first 40. Generated images: features
    # of two networks, and probabilities.
    assert counts["batches"] == 2 * num_real + num_gen + 3 * num_gen
    for order in (NAMES[::-1], NAMES[3:] + NAMES[:3]):
        assert together(order, options) == expected


def test_features_are_dropped_when_they_are_taken(options):
    passes = metric_main.plan(NAMES, **options)
    num_kept = []
    for name in NAMES:
        metric_main.calc_metric(name, passes=passes, **options)
        num_kept.append(len(passes._ready))
    # Moments are for two metrics, all features for two each, probabilities for one.
    assert num_kept == [4, 4, 4, 3, 2, 1, 0]
    assert not passes._waiting.total()


def test_other_images_are_not_shared(options, counts):
    """Metrics of older papers look at mirrored images, whose labels count for the samples."""
    options["G"] = stand_ins.build_generator(c_dim=6)
    options["dataset_kwargs"] |= dict(use_labels=True, xflip=True)
    names = ["fid50k_full", "fid50k", "is50k"]
    expected = separately(names, options)
    counts["images"] = 0
    assert together(names, options) == expected
    assert counts["images"] == 2 * NUM
    assert expected["fid50k"] != expected["fid50k_full"]


def test_nothing_is_shared_without_a_seed(options):
    options["seed"] = None
    passes = metric_main.plan(["fid50k_full", "is50k"], **options)
    assert not passes._waiting


def test_metrics_that_do_not_share_are_not_called_by_the_plan(options, monkeypatch):
    monkeypatch.setattr(metric_main, "_metrics", dict(metric_main._metrics))
    called = []
    metric_main.register_metric(own := lambda opts: called.append(opts))
    passes = metric_main.plan([own.__name__, "ppl2_wend", "eqr50k"], **options)
    assert not called and not passes._waiting
    options["num"] = 3
    passes = metric_main.plan(["is50k"], **options)  # refused, but not yet
    assert not passes._waiting
    with pytest.raises(ValueError, match="needs 10 samples"):
        metric_main.calc_metric("is50k", passes=passes, **options)


def test_missing_network_of_another_metric_is_not_in_the_way(options, tmp_path, fresh_cache):
    names = ["fid50k_full", "pr50k3_full", "is50k"]
    expected = separately(["fid50k_full", "is50k"], options)
    fresh_cache()
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04")
    options["detectors"]["vgg16"] = str(tmp_path / "cut.pt")
    passes = metric_main.plan(names, **options)
    with pytest.warns(UserWarning, match=r"cannot share their images \(.*cut\.pt.*\); each makes"):
        fid = metric_main.calc_metric("fid50k_full", passes=passes, **options)
    with pytest.raises(ValueError, match=r"cut\.pt holds no feature network"):
        metric_main.calc_metric("pr50k3_full", passes=passes, **options)
    score = metric_main.calc_metric("is50k", passes=passes, **options)
    assert fid.results | score.results == expected


def test_bad_features_of_another_metric_are_not_in_the_way(options, fresh_cache):
    expected = separately(["fid50k_full"], options)
    fresh_cache()

    class Overflowing(torch.nn.Module):
        def forward(self, img, return_features: bool = False):
            return img.flatten(1)[:, :8] / torch.zeros([])

    torch.jit.script(Overflowing()).save(path := options["detectors"]["inception"] + ".vgg")
    options["detectors"]["vgg16"] = path
    passes = metric_main.plan(["fid50k_full", "pr50k3_full"], **options)
    assert metric_main.calc_metric("fid50k_full", passes=passes, **options).results == expected
    with pytest.raises(ValueError, match="real images hold NaN or infinite"):
        metric_main.calc_metric("pr50k3_full", passes=passes, **options)


def test_real_features_for_others_stay_in_the_cache_only(options, fresh_cache):
    passes = metric_main.plan(["fid50k_full", "kid50k_full", "pr50k3_full"], **options)
    metric_main.calc_metric("fid50k_full", passes=passes, **options)
    assert len(list(feature_cache.cache_file("x").parent.iterdir())) == 3
    assert all(request.images.startswith("generated") for request in passes._ready)


def test_cache_that_cannot_be_written_costs_no_more_than_before(options, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "file"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = together(["fid50k_full", "kid50k_full"], options)
        assert separately(["fid50k_full", "kid50k_full"], options) == values


def test_inception_looks_once_for_features_and_probabilities(monkeypatch):
    torch.manual_seed(0)
    network, counts = InceptionV3().prepare(), []
    network.Mixed_7c.register_forward_hook(lambda *_: counts.append(1))
    img = torch.randint(256, [2, 3, 16, 16], dtype=torch.uint8)
    calls = [dict(return_features=True), dict(no_output_bias=True), {}]
    with torch.no_grad():
        expected = [metric_utils.detect(network, img, call) for call in calls]
        counts.clear()
        found = metric_utils.detect_all(network, img, calls)
    assert len(counts) == 1
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_passes_of_no_plan_keep_nothing(options):
    passes = SharedPasses()
    metric_main.calc_metric("is50k", passes=passes, **options)
    assert not passes._ready and not passes._waiting


def test_images_of_a_folder_are_looked_at_once(options, fresh_cache, counts):
    options |= dict(G=None, images_kwargs=options["dataset_kwargs"] | dict(max_size=NUM))
    expected = separately(NAMES, options)
    fresh_cache()
    counts.update(batches=0)
    assert together(NAMES, options) == expected
    assert counts["images"] == 0  # no latents
    num_real, num_images = (-(-num // BATCH) for num in (NUM_REAL, NUM))
    # As for a generator: see above.
    assert counts["batches"] == 2 * num_real + num_images + 3 * num_images
