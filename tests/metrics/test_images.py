"""calc_metrics.py --images: folders and ZIPs of any origin in place of a network."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import calc_metrics
import dataset_tool
from data import dataset_info, fingerprint
from data.dataset import ImageFolderDataset
from metrics import metric_main, metric_utils
from tests.metrics import stand_ins
from tests.metrics.test_calc_metrics import compute, files, refuse, run

WORKING = [
    *("fid50k_full", "kid50k_full", "pr50k3_full", "fid50k", "kid50k", "pr50k3", "is50k"),
    *("dc50k5_full", "memo", "fid50k_full_clean", "kid50k_full_clean"),
]
OTHERS = ["fd_dinov2", "kd_dinov2", "cmmd"]  # which work, and need a library
METRICS = f"--metrics={','.join(WORKING)}"

files = files  # the fixture


@pytest.fixture
def folder(tmp_path, dataset_zip) -> Path:
    """The first 30 images of the dataset as plain PNGs, in folders."""
    dataset = ImageFolderDataset(dataset_zip)
    for idx in range(30):
        path = tmp_path / "folder" / f"{idx // 20}" / f"{idx:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(dataset[idx][0].transpose(1, 2, 0)).save(path)
    return tmp_path / "folder"


def convert(source: Path, dest: Path, *options: str) -> Path:
    command = [f"--source={source}", f"--dest={dest}", *options]
    result = CliRunner().invoke(dataset_tool.main, command)
    assert result.exit_code == 0, result.output
    return dest


def write_generated(network: Path, folder: Path, num: int, options: list[str], monkeypatch) -> None:
    """Write the images that a metric sees as PNGs."""
    seen = []
    original = metric_utils.detect

    def detect(detector, img, kwargs):
        seen.extend(img.permute(0, 2, 3, 1).numpy())
        return original(detector, img, kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(metric_utils, "detect", detect)
        compute(f"--network={network}", "--metrics=is50k", f"--num={num}", *options)
    assert len(seen) == num
    folder.mkdir()
    for idx, img in enumerate(seen):
        PIL.Image.fromarray(img).save(folder / f"{idx:05d}.png")


def test_a_folder_has_exactly_the_values_of_the_network_that_wrote_it(
    dataset_zip, files, tmp_path, monkeypatch
):
    network = stand_ins.save_network(tmp_path / "net.pkl", dataset_zip)
    write_generated(network, tmp_path / "made", 45, files, monkeypatch)
    expected = compute(f"--network={network}", METRICS, "--num=45", *files)
    zipped = convert(tmp_path / "made", tmp_path / "made.zip")
    for images in (tmp_path / "made", zipped):
        assert compute(f"--images={images}", f"--data={dataset_zip}", METRICS, *files) == expected


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_processes_give_the_values_of_one(dataset_zip, folder, files, tmp_path, monkeypatch):
    options = [f"--images={folder}", f"--data={dataset_zip}", METRICS, "--num=29", *files]
    one = compute(*options)
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "other-cache"))
    script = [sys.executable, calc_metrics.__file__, "--device=cpu", "--gpus=2", *options]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert {key: value for record in records for key, value in record["results"].items()} == one
    assert "Note: 29 of 30 images" in done.stderr


def test_several_folders_give_records_and_a_table(dataset_zip, folder, files):
    options = [f"--images={folder}", f"--images={dataset_zip}", f"--data={dataset_zip}"]
    records, result = run(*options, "--metrics=fid50k_full,is50k", *files)
    assert result.exit_code == 0, result.output
    pixels = dataset_info.find(dataset_zip).pixels[:12]
    assert [one.get("dataset_pixels") for one in records] == [pixels, None] * 2
    assert [one.get("images_pixels") for one in records] == [None, None, pixels, pixels]
    short, long = (
        fingerprint.short(ImageFolderDataset(x).fingerprint()) for x in (folder, dataset_zip)
    )
    assert [
        (one["metric"], one["num"], one["images"], one["images_dataset"]) for one in records
    ] == [
        ("fid50k_full", 30, str(folder), short),
        ("is50k", 30, str(folder), short),
        ("fid50k_full", 100, str(dataset_zip), long),
        ("is50k", 100, str(dataset_zip), long),
    ]
    assert all(one["snapshot_pkl"] is None for one in records)
    assert [one.get("dataset") for one in records] == [long, None] * 2
    assert records[2]["results"]["fid50k_full"] == pytest.approx(0, abs=1e-6)
    header, _, *rows = result.stderr.splitlines()[-4:]
    assert header.split() == ["images", "num", "fid50k_full", "is50k_mean", "is50k_std"]
    assert [row.split()[:2] for row in rows] == [[str(folder), "30"], [str(dataset_zip), "100"]]
    assert f"{records[0]['results']['fid50k_full']:.5g}" == rows[0].split()[2]
    assert f"Note: {folder} has 30 images, and all are used. Published" in result.stderr
    assert "--num=30 makes the numbers equal" in result.stderr


def test_one_folder_prints_no_table(dataset_zip, folder, files):
    _, result = run(f"--images={folder}", f"--data={dataset_zip}", "--verbose=0", *files)
    assert "---" not in result.stderr


def test_too_many_images_are_chosen_by_the_seed(dataset_zip, folder, files, monkeypatch):
    options = [f"--images={folder}", f"--data={dataset_zip}", "--metrics=fid50k_full", *files]
    values = [compute(*options, "--num=20", f"--seed={seed}")["fid50k_full"] for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    monkeypatch.setattr(metric_main, "NUM_SAMPLES", 20)
    records, result = run(*options)
    assert records[0]["results"]["fid50k_full"] == values[0] and records[0]["num"] == 20
    assert f"Note: 20 of 30 images in {folder} are used" in result.stderr


def test_what_is_left_out_is_said(dataset_zip, folder, files):
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_text("x")
    _, result = run(f"--images={folder}", f"--data={dataset_zip}", *files)
    assert f"Left out in {folder}: 1 .txt, 1 hidden" in result.stderr


def test_records_enter_the_run_that_holds_the_images(dataset_zip, folder, files):
    (folder.parent / "training_options.json").write_text("{}")
    records, _ = run(f"--images={folder}", f"--data={dataset_zip}", *files)
    lines = (folder.parent / "metric-fid50k_full.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records


def test_gray_images_and_alpha_channels(dataset_zip, files, tmp_path):
    dataset = ImageFolderDataset(dataset_zip)
    for name in ("gray", "transparent"):
        (tmp_path / name).mkdir()
    for idx in range(10):
        img = PIL.Image.fromarray(dataset[idx][0].transpose(1, 2, 0))
        img.convert("L").save(tmp_path / "gray" / f"{idx}.png")
        img.putalpha(100)
        img.save(tmp_path / "transparent" / f"{idx}.png")
    gray, transparent = tmp_path / "gray", tmp_path / "transparent"
    compute(f"--images={gray}", f"--data={gray}", *files)
    error = refuse(f"--images={gray}", f"--data={dataset_zip}", *files)
    assert f"{gray} has grey images, and --data={dataset_zip} has colour ones" in error
    _, result = run(f"--images={transparent}", f"--data={dataset_zip}", "--num=10", *files)
    assert f"Note: {transparent} has an alpha channel, which the metrics leave out" in result.stderr


# Refusals.


def test_metrics_of_generators_are_refused_with_those_that_work(folder, dataset_zip):
    working = [*WORKING, *OTHERS]
    names = [name for name in metric_main.list_valid_metrics() if name not in working]
    assert len(names) == 4
    for name in names:
        error = refuse(
            f"--images={folder}", f"--data={dataset_zip}", f"--metrics=fid50k_full,{name}"
        )
        assert error == (
            f"Error: --metrics: --images has no generator for {name}; without one work "
            f"{', '.join(working)}"
        )


def test_images_of_another_size_are_refused(dataset_zip, folder, files, tmp_path):
    large = convert(folder, tmp_path / "large.zip", "--resolution=32x32")
    error = refuse(f"--images={large}", f"--data={dataset_zip}", *files)
    assert error == (
        f"Error: --images: {large} has images of 32x32, and --data={dataset_zip} of 16x16; "
        "dataset_tool.py --resolution=16x16 makes them equal"
    )


def test_folders_that_cannot_be_used_are_refused(dataset_zip, folder, files, tmp_path):
    options = [f"--data={dataset_zip}", *files]
    for images, reason in ((tmp_path / "gone", "no such folder"), (tmp_path / "x.png", "folder")):
        if images.suffix:
            images.write_bytes(b"")
        error = refuse(f"--images={images}", *options)
        assert error.startswith(f"Error: --images: {images}") and reason in error
    assert "--num=31" in refuse(f"--images={folder}", "--num=31", *options)
    assert "--data is missing" in refuse(f"--images={folder}", *files)
    (folder / "cut.png").write_bytes(b"\x89PNG")
    assert "cut.png" in refuse(f"--images={folder}", *options)
    shutil.copy(folder / "0" / "000.png", folder / "cut.png")
    PIL.Image.fromarray(np.zeros([8, 8, 3], np.uint8)).save(folder / "other.png")
    assert "other.png is 8x8" in refuse(f"--images={folder}", *options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--network=x", "--images=y"], "leave one of them out"),
        ([], "Missing option '--network'. --images evaluates images without one"),
        (["--images=y", "--batch-gen=2"], "--batch-gen"),
    ],
)
def test_contradicting_options_are_refused(options, named):
    assert named in refuse(*options, exit_code=2)


def test_a_folder_that_changes_meanwhile_is_noticed(folder, dataset_zip, files, monkeypatch):
    original = metric_main.find_missing

    def find_missing(*args):
        (folder / "new.png").write_bytes((folder / "0" / "000.png").read_bytes())
        return original(*args)

    monkeypatch.setattr(metric_main, "find_missing", find_missing)
    error = refuse(f"--images={folder}", f"--data={dataset_zip}", "--verbose=0", *files)
    assert f"the set of images {folder} has changed since the start" in error
