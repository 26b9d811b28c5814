"""Latents and labels by number, features of datasets and generators, and their cache."""

import os
import pickle
import signal
import warnings
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils.data._utils import signal_handling

import dnnlib
from data.dataset import ImageFolderDataset
from metrics import detectors, feature_cache, metric_utils, samples
from metrics.feature_stats import FeatureStats
from metrics.metric_utils import MetricOptions
from tests.data.test_fingerprint import REPLACEMENTS
from tests.metrics import stand_ins
from torch_utils.distributed import Worker

CPU = torch.device("cpu")
FEATURES = dict(detector_kwargs=dict(return_features=True), capture_all=True)


@pytest.fixture
def make_options(detector_files, dataset_zip):
    def make_options(c_dim=0, **kwargs) -> MetricOptions:
        data = dict(
            class_name="training.dataset.ImageFolderDataset",
            path=str(dataset_zip),
            use_labels=c_dim > 0,
        )
        files = {name: str(path) for name, path in detector_files.items()}
        options = dict(dataset_kwargs=data, worker=Worker(), seed=0, detectors=files)
        options["allow_untrusted"] = True  # TorchScript
        return MetricOptions(**{"G": stand_ins.build_generator(c_dim), **options, **kwargs})

    return make_options


def dataset_features(opts: MetricOptions, **kwargs) -> FeatureStats:
    return metric_utils.compute_feature_stats_for_dataset(
        opts, detectors.URLS["inception"], **{**FEATURES, **kwargs}
    )


def generator_features(opts: MetricOptions, **kwargs) -> np.ndarray:
    return metric_utils.compute_feature_stats_for_generator(
        opts, detectors.URLS["inception"], **{"max_items": 37, **FEATURES, **kwargs}
    ).get_all()


def test_latents_depend_on_seed_and_number_only():
    z = samples.latents(3, 0, 6, 512)
    assert torch.equal(samples.latents(3, 4, 6, 512), z[4:])
    assert samples.latents(3, 4, 4, 512).shape == (0, 512)
    assert not torch.equal(samples.latents(4, 0, 6, 512), z)
    z = samples.latents(0, 0, 200, 512)
    assert float(z.mean()) == pytest.approx(0, abs=0.02)
    assert float(z.std()) == pytest.approx(1, abs=0.02)
    correlation = np.corrcoef(z) - np.eye(200)
    assert np.abs(correlation).max() < 0.25


def test_labels_depend_on_seed_and_number_only():
    indices = samples.label_indices(0, 0, 1000, 10)
    assert samples.label_indices(0, 500, 510, 10) == indices[500:510]
    assert set(indices) == set(range(10))
    assert samples.label_indices(1, 0, 1000, 10) != indices


def test_features_do_not_depend_on_how_work_is_split(make_options):
    opts = make_options(c_dim=6)
    expected = generator_features(opts, batch_size=16, batch_gen=4)
    assert expected.shape == (37, 24)
    np.testing.assert_array_equal(generator_features(opts, batch_size=16, batch_gen=4), expected)
    opts.G_kwargs.noise_mode = "const"  # noise is drawn by batch
    expected = generator_features(opts, batch_size=16, batch_gen=4)
    for batch_size, batch_gen in ((8, 8), (37, 5), (64, None)):
        got = generator_features(opts, batch_size=batch_size, batch_gen=batch_gen)
        np.testing.assert_allclose(got, expected, atol=2e-2)
        assert np.mean(np.abs(got - expected) > 1e-6) < 0.05  # a level of a pixel, now and then
    assert not np.allclose(generator_features(make_options(c_dim=6, seed=1)), expected, atol=0.1)


def test_images_of_one_process_are_drawn_once_each(make_options, monkeypatch):
    seen = []
    original = samples.latents
    monkeypatch.setattr(samples, "latents", lambda *args: seen.append(args[1:3]) or original(*args))
    generator_features(make_options(), batch_size=16, batch_gen=4)
    assert [range(*part) for part in seen[:2]] == [range(4), range(4, 8)]
    assert [idx for part in seen for idx in range(*part)] == list(range(37))


def test_without_a_seed_the_global_generators_are_used(make_options):
    opts = make_options(seed=None)
    torch.manual_seed(1)
    first = generator_features(opts)
    assert not np.array_equal(generator_features(opts), first)
    torch.manual_seed(1)
    np.testing.assert_array_equal(generator_features(opts), first)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_become_rgb(channels):
    img = torch.arange(channels * 4, dtype=torch.uint8).reshape(1, channels, 2, 2)
    rgb = metric_utils.to_rgb(img)
    assert rgb.shape == (1, 3, 2, 2)
    assert torch.equal(rgb, img.expand(1, 3, 2, 2) if channels == 1 else img[:, :3])


def test_dataset_features_are_those_of_its_images_in_order(make_options, monkeypatch):
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    handler = signal.getsignal(signal.SIGCHLD)
    opts = make_options(cache=False)
    dataset = dnnlib.util.construct_class_by_name(**opts.dataset_kwargs)
    img = torch.from_numpy(np.stack([dataset[idx][0] for idx in range(len(dataset))]))
    expected = stand_ins.Inception()(img, return_features=True).detach().numpy()
    for loading in (None, dict(num_workers=2, prefetch_factor=2)):
        got = dataset_features(opts, batch_size=7, data_loader_kwargs=loading)
        np.testing.assert_allclose(got.get_all(), expected, atol=1e-5)
    assert signal.getsignal(signal.SIGCHLD) is handler  # training goes on undisturbed
    np.testing.assert_allclose(
        dataset_features(opts, max_items=33).get_all(), expected[:33], atol=1e-5
    )


@pytest.fixture
def count_detections(monkeypatch):
    """How many batches went through a feature network."""
    counts = [0]
    original = metric_utils.detect

    def detect(*args):
        counts[0] += 1
        return original(*args)

    monkeypatch.setattr(metric_utils, "detect", detect)

    def count() -> int:
        found, counts[0] = counts[0], 0
        return found

    return count


def test_cache_is_used_and_a_damaged_file_made_again(make_options, count_detections):
    first = dataset_features(make_options()).get_all()
    assert count_detections() > 0
    folder = feature_cache.cache_file("x").parent
    (file,) = folder.iterdir()
    np.testing.assert_array_equal(dataset_features(make_options()).get_all(), first)
    assert count_detections() == 0

    whole = file.read_bytes()
    for damaged in (b"", whole[:1000], b"no features", pickle.dumps(dict(num_items=3))):
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match="is damaged and will be made again"):
            again = dataset_features(make_options())
        np.testing.assert_array_equal(again.get_all(), first)
        assert count_detections() > 0
        assert file.read_bytes() == whole
    assert list(folder.iterdir()) == [file]

    dataset_features(make_options(cache=False))
    assert count_detections() > 0


def test_code_in_a_cache_file_does_not_run(make_options, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    dataset_features(make_options())
    (file,) = feature_cache.cache_file("x").parent.iterdir()
    file.write_bytes(pickle.dumps(dict(num_items=Evil())))
    with pytest.warns(UserWarning, match=r"is damaged and will be made again"):
        dataset_features(make_options())
    assert not (tmp_path / "ran").exists()


def test_cache_of_an_older_version_is_named_and_not_read(make_options, count_detections):
    first = dataset_features(make_options()).get_all()
    count_detections()
    (file,) = feature_cache.cache_file("x").parent.iterdir()
    old = file.with_name(file.name.replace(".safetensors", ".pkl"))
    file.replace(old)
    with pytest.warns(UserWarning, match=r"\.pkl is of an older version and is not read"):
        again = dataset_features(make_options())
    np.testing.assert_array_equal(again.get_all(), first)
    assert count_detections() > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset_features(make_options())
    assert count_detections() == 0


def test_statistics_of_part_of_a_dataset_are_kept_apart(make_options, count_detections):
    for max_items in (None, 32, 64, 1000):
        stats = dataset_features(make_options(), max_items=max_items)
        assert stats.num_items == min(max_items or 100, 100)
    count_detections()
    for max_items in (None, 32, 64, 1000):
        dataset_features(make_options(), max_items=max_items)
    assert count_detections() == 0


def test_replaced_dataset_is_noticed(make_options, count_detections, tmp_path):
    data = dict(class_name="training.dataset.ImageFolderDataset", path=str(tmp_path / "images"))
    (tmp_path / "images").mkdir()
    found = []
    for level in (10, 200):
        for i in range(3):
            pixels = np.full([8, 8, 3], level + i, dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        found.append(dataset_features(make_options(dataset_kwargs=data)).get_all())
        assert count_detections() > 0
    assert not np.allclose(*found)


def draw_images(folder: Path, seed: int, time_sec: int) -> Path:
    """Four images, whose files have the same size whatever they show."""
    folder.mkdir(parents=True)
    rng = np.random.RandomState(seed)
    for i in range(4):
        pixels = rng.randint(0, 256, [8, 8, 3], dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{i}.png", compress_level=0)
        os.utime(folder / f"{i}.png", (time_sec, time_sec))
    return folder


def pack(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    os.utime(path, ns=(0, (folder / "0.png").stat().st_mtime_ns))
    return path


@pytest.mark.parametrize("age_sec", [0, 1000], ids=["same-time", "older"])
@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("kind", ["folder", "part-of-folder", "zip"])
def test_images_of_the_same_size_that_keep_their_times_are_noticed(
    kind, replace, age_sec, make_options, count_detections, tmp_path
):
    old = draw_images(tmp_path / "a", 0, 1_700_000_000)
    new = draw_images(tmp_path / "b", 1, 1_700_000_000 - age_sec)
    pairs = [(new / f"{i}.png", old / f"{i}.png") for i in range(4 if kind == "folder" else 3)]
    if kind == "zip":
        old, new = pack(old), pack(new)
        pairs = [(new, old)]
    assert all(a.stat().st_size == b.stat().st_size for a, b in pairs)
    data = dict(class_name="training.dataset.ImageFolderDataset", path=str(old))
    before = dataset_features(make_options(dataset_kwargs=data)).get_all()
    dataset_features(make_options(dataset_kwargs=data))
    count_detections()

    for pair in pairs:
        replace(*pair)
    after = dataset_features(make_options(dataset_kwargs=data)).get_all()
    expected = dataset_features(make_options(dataset_kwargs=data, cache=False)).get_all()
    np.testing.assert_array_equal(after, expected)
    is_other = np.abs(after - before).max(axis=1) > 0.1
    assert is_other.tolist() == [True] * 3 + [kind != "part-of-folder"]


def test_dataset_of_the_same_relative_path_has_its_own_cache(
    make_options, count_detections, tmp_path, monkeypatch
):
    data = dict(class_name="training.dataset.ImageFolderDataset", path="images")
    found = {}
    for _ in range(2):
        for i, name in enumerate(("a", "b")):
            if not (tmp_path / name).exists():
                draw_images(tmp_path / name / "images", i, 1_700_000_000)
            monkeypatch.chdir(tmp_path / name)
            features = dataset_features(make_options(dataset_kwargs=data)).get_all()
            np.testing.assert_array_equal(found.setdefault(name, features), features)
    assert not np.allclose(found["a"], found["b"])
    assert count_detections() == 2


def test_features_of_images_that_change_meanwhile_are_not_kept(make_options, tmp_path, monkeypatch):
    folder = draw_images(tmp_path / "images", 0, 1_700_000_000)
    data = dict(class_name="training.dataset.ImageFolderDataset", path=str(folder))
    original = metric_utils.detect

    def detect(*args):
        os.utime(folder / "1.png")
        return original(*args)

    monkeypatch.setattr(metric_utils, "detect", detect)
    with pytest.warns(UserWarning, match="images have changed while its features were computed"):
        dataset_features(make_options(dataset_kwargs=data))
    assert not feature_cache.cache_file("x").parent.exists()


def test_other_data_than_the_network_is_trained_with_are_refused(make_options, tmp_path):
    folders = [draw_images(tmp_path / str(i), i, 1_700_000_000) for i in range(2)]
    saved, other = (ImageFolderDataset(folder).fingerprint() for folder in folders)
    data = dict(class_name="training.dataset.ImageFolderDataset", path=str(folders[0]))
    opts = make_options(dataset_kwargs=data, dataset_fingerprint=saved)
    assert dataset_features(opts).num_items == 4
    opts.dataset_fingerprint = other
    with pytest.raises(RuntimeError, match="has changed since the start: it has other contents"):
        dataset_features(opts)


def test_cache_that_cannot_be_written_costs_a_warning(make_options, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(UserWarning) as caught:
        assert dataset_features(make_options()).num_items == 100
    (message,) = [str(w.message) for w in caught if w.category is UserWarning]
    assert message.startswith("the dataset's features cannot be kept: ")


def test_missing_and_damaged_datasets_are_explained(make_options, tmp_path):
    data = dict(class_name="training.dataset.ImageFolderDataset", path=str(tmp_path / "no.zip"))
    with pytest.raises(RuntimeError, match=r"--data names another: .*no\.zip"):
        dataset_features(make_options(dataset_kwargs=data))
    with pytest.raises(RuntimeError, match="needs the dataset; name it with --data"):
        dataset_features(make_options(dataset_kwargs={}))

    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(2):
        PIL.Image.new("RGB", (16, 16)).save(folder / f"{i}.png")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:-30])
    data["path"] = str(folder)
    for loading in (dict(num_workers=0), dict(num_workers=1)):
        with pytest.raises(RuntimeError) as info:
            dataset_features(make_options(dataset_kwargs=data), data_loader_kwargs=loading)
        assert "1.png cannot be read" in str(info.value)
        assert "\n" not in str(info.value)


def test_labels_that_do_not_suit_the_network_are_refused(make_options):
    opts = make_options(c_dim=6)
    opts.dataset_kwargs.use_labels = False
    with pytest.raises(ValueError, match="takes labels of 6 numbers"):
        metric_utils.RandomLabels(opts)


def test_batches_suit_the_device():
    sizes = [metric_utils.default_batch_gen(2**n, "cuda") for n in (5, 8, 9, 10, 11)]
    assert sizes == [64, 64, 16, 4, 4]
    assert metric_utils.default_batch_gen(256, "cpu") == 4


def test_stats_refuse_what_they_did_not_keep():
    stats = FeatureStats()
    stats.append(np.zeros([2, 3]))
    for get in (stats.get_all, stats.get_mean_cov):
        with pytest.raises(ValueError, match="needs capture_"):
            get()
    with pytest.raises(ValueError, match=r"not \[N, 3\]"):
        stats.append(np.zeros([2, 4]))


def test_kept_features_are_in_memory_once(tmp_path):
    batches = np.random.default_rng(0).normal(size=[3, 4, 5]).astype(np.float32)
    stats = FeatureStats(capture_all=True, max_items=10)
    for batch in batches:
        stats.append(batch)
    stats.save(tmp_path / "x.safetensors")
    for one in (stats, FeatureStats.load(tmp_path / "x.safetensors")):
        got = one.get_all()
        np.testing.assert_array_equal(got, batches.reshape(12, 5)[:10])
        assert all(np.shares_memory(got, chunk) for chunk in one.all_features)
        assert np.shares_memory(got, one.get_all_torch().numpy())


def test_no_warning_where_nothing_is_wrong(make_options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset_features(make_options())
        generator_features(make_options())
