"""calc_metrics.py --save-stats, and --data with such a file in place of the real images."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import calc_metrics
from data.dataset import ImageFolderDataset
from metrics import metric_main, stats_file
from metrics.stats_dataset import StatsDataset
from tests import golden
from tests.metrics import stand_ins
from tests.metrics.test_calc_metrics import compute, files, refuse, run
from tests.metrics.test_images import WORKING, folder

SERVED = [name for name in WORKING if name not in ("is50k", "memo")]
METRICS = f"--metrics={','.join(SERVED)}"

files, folder = files, folder  # fixtures


@pytest.fixture(scope="module")
def stats_path(tmp_path_factory, dataset_zip, detector_files) -> Path:
    """Statistics of the dataset for all metrics, with 40 generated images; nothing else is here."""
    path = tmp_path_factory.mktemp("stats") / "shapes.stats"
    save(path, dataset_zip, METRICS, "--num=40", *options_of(detector_files))
    return path


def options_of(detector_files) -> list[str]:
    options = [f"--detector={name}={path}" for name, path in detector_files.items()]
    return [*options, "--allow-untrusted"]  # TorchScript


def save(path: Path, data: Path, *args) -> str:
    """Write a file; returns what the command says."""
    records, result = run(f"--data={data}", f"--save-stats={path}", "--verbose=0", *args)
    assert result.exit_code == 0, result.output
    assert not records
    return result.stderr


@pytest.mark.parametrize("c_dim", [0, 6])
def test_a_network_has_the_values_that_it_has_with_the_images(
    c_dim, stats_path, dataset_zip, files, tmp_path
):
    network = stand_ins.save_network(tmp_path / "net.pkl", dataset_zip, c_dim=c_dim)
    metrics = f"--metrics={','.join([*SERVED, 'is50k', 'ppl2_wend'])}"
    options = [f"--network={network}", metrics, "--num=40", "--verbose=0", *files]
    expected, result = run(*options, f"--data={dataset_zip}")
    got, result = run(*options, f"--data={stats_path}")
    assert result.exit_code == 0, result.output
    assert not result.stderr
    same = ("metric", "results", "num", "dataset", "dataset_pixels", "detectors")
    for one, other in zip(got, expected, strict=True):
        assert {key: one.get(key) for key in same} == {key: other.get(key) for key in same}


def test_images_have_the_values_that_they_have_with_the_images(
    stats_path, dataset_zip, folder, files, tmp_path
):
    options = [f"--images={folder}", METRICS, *files]
    stats = tmp_path / "x.stats"
    expected, result = run(*options, f"--data={dataset_zip}", f"--save-stats={stats}")
    assert f"Wrote {stats}: statistics of 100 real images for fid50k_full, " in result.stderr
    got = compute(*options, f"--data={stats}")
    assert got == {key: x for record in expected for key, x in record["results"].items()}
    # As many real images as images to evaluate: the other file has them for 40.
    error = refuse(*options, f"--data={stats_path}", "--verbose=0")
    assert "no statistics for fid50k, kid50k, pr50k3 with --num=30; it serves fid50k_full" in error


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_processes_write_the_same_file_and_have_the_same_values(
    stats_path, dataset_zip, files, tmp_path, monkeypatch
):
    network = stand_ins.save_network(tmp_path / "net.pkl", dataset_zip, c_dim=6)
    options = [f"--network={network}", METRICS, "--num=40", "--verbose=0", *files]
    one = compute(*options, f"--data={stats_path}")
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "other-cache"))
    script = [sys.executable, calc_metrics.__file__, "--device=cpu", "--gpus=2"]
    saved = tmp_path / "two.stats"
    save_options = [f"--data={dataset_zip}", f"--save-stats={saved}", METRICS, "--num=40", *files]
    for arguments in (save_options, [*options, f"--data={saved}"]):
        done = subprocess.run([*script, *arguments], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert {key: value for record in records for key, value in record["results"].items()} == one
    assert saved.read_bytes() == stats_path.read_bytes()


def test_the_file_holds_what_the_dataset_says(stats_path, dataset_zip):
    dataset = ImageFolderDataset(dataset_zip, use_labels=True)
    stored = StatsDataset(stats_path, resolution=16, use_labels=True)
    assert (stored.name, len(stored)) == (dataset.name, len(dataset))
    assert stored.image_shape == dataset.image_shape
    assert stored.fingerprint() == dataset.fingerprint()
    assert StatsDataset(stats_path).fingerprint() == ImageFolderDataset(dataset_zip).fingerprint()
    for idx in range(len(dataset)):
        label, expected = stored.get_label(idx), dataset.get_label(idx)
        assert label.dtype == expected.dtype and label.tolist() == expected.tolist()
    keys = [entry.key for entry in stats_file.read(stats_path).entries]
    assert sorted(key["num_items"] for key in keys) == [40] * 3 + [100] * 5
    with pytest.raises(ValueError, match="has statistics of images and not the images"):
        stored[0]


def test_labels_that_are_vectors_and_labels_that_cannot_be_used(dataset_zip, files, tmp_path):
    shutil.unpack_archive(dataset_zip, tmp_path / "data")
    labels_file = tmp_path / "data" / "dataset.json"
    content = json.loads(labels_file.read_text())
    content["labels"] = [[name, [0.5, float(i)]] for i, (name, _) in enumerate(content["labels"])]
    labels_file.write_text(json.dumps(content))
    data = tmp_path / "data"
    save(tmp_path / "x.stats", data, *files)
    expected = ImageFolderDataset(data, use_labels=True).raw_labels()
    stored = StatsDataset(tmp_path / "x.stats", use_labels=True).raw_labels()
    assert stored.dtype == expected.dtype and np.array_equal(stored, expected)

    content["labels"].pop()
    labels_file.write_text(json.dumps(content))
    said = save(tmp_path / "x.stats", data, *files)
    assert "; their labels are left out, because they cannot be used (" in said
    assert StatsDataset(tmp_path / "x.stats", use_labels=True).label_dim == 0


def test_grey_images(files, tmp_path):
    data = golden.DATA_DIR / "datasets" / "dataset_small_gray.zip"
    network = stand_ins.save_network(tmp_path / "gray.pkl", data, resolution=8, channels=1)
    save(tmp_path / "gray.stats", data, *files)
    options = [f"--network={network}", "--num=12", *files]
    expected = compute(*options, f"--data={data}")
    assert compute(*options, f"--data={tmp_path / 'gray.stats'}") == expected


def test_file_that_was_renamed_or_moved_stays_usable(stats_path, folder, files, tmp_path):
    options = [f"--images={folder}", "--metrics=fid50k_full", *files]
    moved = shutil.copy(stats_path, tmp_path / "Other.STATS")
    assert compute(*options, f"--data={moved}") == compute(*options, f"--data={stats_path}")


def test_a_network_file_of_another_name_is_the_same_network(
    stats_path, folder, detector_files, tmp_path
):
    same = shutil.copy(detector_files["inception"], tmp_path / "same.pt")
    options = [f"--images={folder}", f"--data={stats_path}", "--metrics=fid50k_full"]
    compute(*options, f"--detector=inception={same}", "--allow-untrusted")


# Refusals.


def test_another_feature_network_is_refused(stats_path, folder, detector_files, files):
    other = f"--detector=inception={detector_files['vgg16']}"
    options = [f"--images={folder}", f"--data={stats_path}", "--verbose=0"]
    error = refuse(*options, other, "--allow-untrusted")
    assert error.startswith(f"Error: --data: {stats_path} has features of another feature network")
    assert "inception.pt" in error and "vgg16.pt" in error


def test_a_metric_that_is_not_in_the_file_is_refused_with_those_that_are(
    dataset_zip, folder, files, tmp_path
):
    stats = tmp_path / "x.stats"
    said = save(stats, dataset_zip, "--metrics=fid50k_full,kid50k_full_clean", *files)
    assert said == (
        f"Wrote {stats}: statistics of 100 real images for fid50k_full, kid50k_full_clean\n"
    )
    error = refuse(
        f"--images={folder}",
        f"--data={stats}",
        "--metrics=fid50k_full,is50k,pr50k3_full",
        "--verbose=0",
        *files,
    )
    assert error == (
        f"Error: --data: {stats} has no statistics for pr50k3_full with --num=30; it serves "
        "fid50k_full, kid50k_full_clean; calc_metrics.py --data=IMAGES --metrics=pr50k3_full "
        "--save-stats=FILE.stats makes a file from the images"
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--mirror=1"], "--mirror=1: --data="),
        (["--subset=1"], "--subset: --data="),
        (["--per-class"], "--per-class: --data="),
        (["--save-stats=y.stats"], "--save-stats needs --data: the real images"),
        (["--metrics=memo"], "has statistics and no images, and memo needs the real images"),
        (["--metrics=sees"], "has statistics and no images, and sees needs the real images"),
        (["--metrics=alone"], "has statistics and no images, and alone needs the real images"),
    ],
)
def test_what_needs_the_images_is_refused(options, named, stats_path, folder, files, monkeypatch):
    monkeypatch.setattr(metric_main, "_metrics", dict(metric_main._metrics))
    kinds = dict(sees=dict(needs_real_images=True, shares_images=True), alone={})
    for name, kind in kinds.items():
        function = lambda opts: {}  # noqa: E731 - with another name
        function.__name__ = name
        metric_main.register_metric(uses_dataset=True, **kind)(function)
    # The choices of the option are fixed when the command is declared.
    (param,) = [one for one in calc_metrics.main.params if one.name == "metrics"]
    monkeypatch.setattr(param.type, "choices", None)
    assert named in refuse(f"--images={folder}", f"--data={stats_path}", *options, *files)
    if "--metrics" in options[0]:
        error = refuse(f"--data={folder}", *options, "--save-stats=y.stats", *files)
        assert "needs the real images themselves" in error


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--save-stats needs --data"),
        (["--data=DATA", "--mirror=1"], "--mirror=1: --save-stats"),
        (["--data=DATA", "--subset=1"], "--subset: --save-stats"),
        (["--data=DATA", "--save-stats=x.zip"], "x.zip must end in .stats"),
        (["--data=DATA", "--save-stats=gone/x.stats"], "its folder must exist"),
        (["--data=DATA", "--metrics=fid50k_full,is50k"], "is50k looks at no real images"),
        (["--data=DATA", "--metrics=ppl2_wend"], "ppl2_wend looks at no real images"),
        (["--data=gone.zip"], "--data: gone.zip"),
    ],
)
def test_files_that_cannot_be_made_are_refused(options, named, dataset_zip, files, tmp_path):
    options = [option.replace("DATA", str(dataset_zip)) for option in options]
    path = tmp_path / "x.stats"
    assert named in refuse(f"--save-stats={path}", *options, *files)
    assert not path.exists()


def test_statistics_of_other_images_are_refused(stats_path, folder, files, tmp_path):
    small = stand_ins.save_network(tmp_path / "small.pkl", resolution=8)
    error = refuse(f"--network={small}", f"--data={stats_path}", *files)
    assert error.startswith(f"Error: --data: {stats_path} has statistics of images of 16x16")
    other = stand_ins.save_network(tmp_path / "other.pkl", c_dim=4)
    error = refuse(f"--network={other}", f"--data={stats_path}", *files)
    assert "are 6 numbers, the network takes 4" in error
    assert "folder or a .zip" in refuse(f"--images={stats_path}", f"--data={stats_path}", *files)


def test_a_file_that_changes_meanwhile_is_noticed(
    stats_path, dataset_zip, folder, files, tmp_path, monkeypatch
):
    stats = Path(shutil.copy(stats_path, tmp_path / "x.stats"))
    other = stand_ins.save_dataset(tmp_path / "other.zip", num_images=40)
    save(tmp_path / "other.stats", other, *files)
    original = metric_main.plan

    def plan(*args, **kwargs):
        shutil.copy(tmp_path / "other.stats", stats)
        return original(*args, **kwargs)

    monkeypatch.setattr(metric_main, "plan", plan)
    error = refuse(f"--images={folder}", f"--data={stats}", "--verbose=0", *files)
    assert f"the dataset {stats} has changed since the start: it has 40 images, not 100" in error


# Damaged files.


def changed(stats_path: Path, facts: dict, arrays: dict) -> bytes:
    """A file that claims something else."""
    data = stats_path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    own = json.loads(metadata[stats_file.METADATA_KEY]) | facts
    metadata[stats_file.METADATA_KEY] = json.dumps(own)
    tensors = {**safetensors.numpy.load(data), **arrays}
    return safetensors.numpy.save({k: x for k, x in tensors.items() if x is not None}, metadata)


DAMAGES = {
    "version": (dict(version=2), {}),
    "name": (dict(name=["x"]), {}),
    "shape": (dict(image_shape=[3, 16, 10**9]), {}),
    "channels": (dict(image_shape=[True, 16, 16]), {}),
    "number": (dict(num_images=-1), {}),
    "other number": (dict(num_images=99), {}),
    "fingerprint": (dict(fingerprint=dict(version=1)), {}),
    "entries": (dict(num_statistics=10**9), {}),
    "more entries": (dict(num_statistics=50), {}),
    "labels": ({}, dict(labels=np.full([100], 2**40))),
    "negative labels": ({}, dict(labels=np.full([100], -1))),
    "labels of another type": ({}, dict(labels=np.zeros([100], np.int32))),
    "labels that are no numbers": ({}, dict(labels=np.full([100, 2], np.nan, np.float32))),
    "features": ({}, {"0.raw_mean": np.zeros([3])}),
    "no features": ({}, {"0.raw_mean": None}),
    "features that are no numbers": ({}, {"0.raw_mean": np.full([24], np.nan)}),
}


@pytest.mark.parametrize("damage", [*DAMAGES, "cut", "empty", "text", "nested"])
def test_damaged_files_are_refused_in_one_line(damage, stats_path, folder, files, tmp_path):
    path = tmp_path / "x.stats"
    contents = dict(cut=stats_path.read_bytes()[:-1], empty=b"", text=b"fid50k_full 3.2\n")
    nested = json.dumps({"__metadata__": {stats_file.METADATA_KEY: "[" * 100_000}}).encode()
    contents["nested"] = len(nested).to_bytes(8, "little") + nested
    path.write_bytes(contents.get(damage) or b"")
    if damage in DAMAGES:
        path.write_bytes(changed(stats_path, *DAMAGES[damage]))
    error = refuse(f"--images={folder}", f"--data={path}", "--verbose=0", *files)
    assert "x.stats" in error and len(error) < 1000
