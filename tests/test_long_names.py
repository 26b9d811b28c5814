"""Datasets with names as long as file systems allow, counted in bytes: what is named after them."""

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import dataset_tool
import train
from metrics import feature_cache
from metrics.feature_stats import FeatureStats
from tests import golden
from torch_utils import distributed
from training.config import TrainOptions, run_description

GRAY = golden.DATA_DIR / "datasets" / "dataset_small_gray.zip"
STEMS = {"latin": "n" * 240, "longest": "n" * 251, "cjk": "数" * 83, "emoji": "😀" * 62}


def options(**changes) -> TrainOptions:
    return TrainOptions(**{**dict(cfg="stylegan2", gpus=1, batch=4, gamma=1), **changes})


@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
def test_the_run_of_a_dataset_with_a_long_name_gets_a_folder(stem, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "launch", lambda *args: None)
    shutil.copy(GRAY, tmp_path / f"{stem}.zip")
    args = "--cfg=stylegan2 --gpus=1 --batch=4 --gamma=1 --cbase=64 --cmax=4 --device=cpu --desc=x"
    args = [f"--outdir={tmp_path / 'runs'}", f"--data={tmp_path / stem}.zip", *args.split()]
    result = CliRunner().invoke(train.main, [*args, "--metrics=none"])
    assert result.exit_code == 0, result.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    name = re.fullmatch(r"00000-stylegan2-(.+)-gpus1-batch4-gamma1-x", folder.name)[1]
    assert stem.startswith(name) and len(os.fsencode(name)) > 190
    (warning,) = result.stderr.splitlines()
    assert warning == (
        "Warning: the dataset's name is too long for a part of the name of the run's folder, "
        f"which has its first {len(name)} characters only"
    )


def test_descriptions_are_cut_where_they_must_be():
    rest = "stylegan2--gpus1-batch4-gamma1"
    fits = "n" * (244 - len(rest))
    assert run_description(options(), fits) == f"stylegan2-{fits}-gpus1-batch4-gamma1"
    with pytest.warns(UserWarning, match=f"first {len(fits)} characters"):
        cut = run_description(options(), f"{fits}n")
    assert cut == f"stylegan2-{fits}-gpus1-batch4-gamma1"
    with pytest.warns(UserWarning, match="first 71 characters"):  # 3 bytes each
        assert len(os.fsencode(run_description(options(), "数" * 80))) <= 244


@pytest.mark.parametrize("desc", ["d" * 250, "数" * 80, "d" * 10_000])
def test_too_long_a_description_of_the_users_own_is_refused(desc):
    with pytest.raises(ValueError, match=r"^--desc=.* is too long"):
        run_description(options(), "photos", desc)


@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
def test_features_of_a_dataset_with_a_long_name_are_kept(stem, recwarn):
    dataset = SimpleNamespace(name=stem, file_states=lambda: "as they are")
    files = feature_cache.describe_files(dataset)
    detector = f"sha256:{'0' * 64}/{'d' * 250}.pt"
    tag = feature_cache.cache_tag(stem, dict(path=stem), detector, {}, dict(capture_all=True))
    path = feature_cache.cache_file(tag, 123456)
    stats = FeatureStats(capture_all=True, max_items=2)
    stats.append(np.ones([2, 3], np.float32))
    feature_cache.save(path, stats, dataset, files)
    assert (feature_cache.load(path, 2, files).get_all() == 1).all()
    assert not recwarn.list


def test_long_names_that_begin_alike_have_features_of_their_own():
    tags = {
        feature_cache.cache_tag("n" * 250, dict(path="n" * 250 + end), "d.pt", {}, {})
        for end in "ab"
    }
    assert len(tags) == 2


@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
@pytest.mark.parametrize("suffix", [".zip", ""])
def test_datasets_with_long_names_are_written_and_looked_at(stem, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["--source=synthetic", f"--dest={stem}{suffix}", "--max-images=2", "--resolution=8x8"]
    result = CliRunner().invoke(dataset_tool.main, args)
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in Path().iterdir()] == [f"{stem}{suffix}"]
    result = CliRunner().invoke(dataset_tool.main, [f"--inspect={stem}{suffix}", "--workers=1"])
    assert result.exit_code == 0, result.stderr
    (sheet,) = Path().glob("*.contact-sheet.png")
    assert stem.startswith(sheet.name.removesuffix(".contact-sheet.png"))
    assert result.stdout.endswith(f"Contact sheet: {sheet}\n")
