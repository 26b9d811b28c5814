"""projector.py: pictures in, latents and networks out."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import gen_images
import projector
from tests.small_networks import stylegan2, stylegan3
from training.networks_stylegan2 import Discriminator


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Networks t.pkl and cond.pkl, and a picture of each."""
    folder = tmp_path_factory.mktemp("projector")
    torch.manual_seed(0)
    for name, G in {"t": stylegan3(), "cond": stylegan2(c_dim=3)}.items():
        D = Discriminator(G.c_dim, 16, 3, channel_base=64, channel_max=8)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps({"G_ema": G, "D": D}))
        options = ["--class=1"] if G.c_dim else []
        args = [f"--network={folder / name}.pkl", "--seeds=3", f"--outdir={folder}", *options]
        assert CliRunner().invoke(gen_images.main, args).exit_code == 0
        (folder / "seed0003.png").rename(folder / f"{name}.png")
    return folder


@pytest.fixture
def run(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(name: str, *args: str):
        args = ("--steps=20", "--features=D", "--outdir=out", "--device=cpu", *args)
        args = (f"--network={folder / name}.pkl", *args)
        return CliRunner().invoke(projector.main, args, catch_exceptions=False)

    return run


def log() -> list[dict]:
    return [json.loads(line) for line in Path("out/projections.jsonl").read_text().splitlines()]


def test_other_scripts_draw_what_was_found(run, folder):
    result = run("t", f"--target={folder / 't.png'}")
    assert result.exit_code == 0, result.output
    names = {path.name for path in Path("out").iterdir()}
    assert names == {
        "projected_w.npz", "projections.jsonl", "proj.png", "sheet.png", "target.png"
    }  # fmt: skip
    (line,) = log()
    assert line["name"] == "t" and line["psnr"] > 10 and np.shape(line["transform"]) == (3, 3)
    assert f"t: distance {line['distance']:.4f}, PSNR {line['psnr']:.1f} dB" in result.output
    args = [f"--network={folder / 't.pkl'}", "--latents=out/projected_w.npz", "--outdir=drawn"]
    result = CliRunner().invoke(gen_images.main, args)
    assert result.exit_code == 0 and result.stderr.count("Warning") == 0, result.output
    drawn, found = (
        np.array(PIL.Image.open(path)).astype(int) for path in ("drawn/proj00.png", "out/proj.png")
    )
    assert np.abs(drawn - found).max() <= 1
    target = np.array(PIL.Image.open("out/target.png"))
    np.testing.assert_array_equal(target, np.array(PIL.Image.open(folder / "t.png")))


def test_a_tuned_network_draws_the_picture(run, folder):
    result = run("cond", f"--target={folder / 'cond.png'}", "--class=1", "--pti", "--pti-steps=20")
    assert result.exit_code == 0, result.output
    (line,) = log()
    assert line["tuned_distance"] < line["distance"] and line["tuned_steps"] == 20
    args = ["--network=out/network.pkl", "--latents=out/projected_w.npz", "--outdir=drawn"]
    result = CliRunner().invoke(gen_images.main, args)
    assert result.exit_code == 0, result.output
    drawn, tuned = (
        np.array(PIL.Image.open(path)).astype(int) for path in ("drawn/proj00.png", "out/tuned.png")
    )
    assert np.abs(drawn - tuned).max() <= 1


def test_each_picture_of_a_folder_gets_a_folder(run, folder, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("b", "a"):
        shutil.copy(folder / "t.png", pictures / f"{name}.png")
    (pictures / "notes.txt").touch()
    result = run("t", f"--target={pictures}", "--space=w+", "--save-video=1")
    assert result.exit_code == 0, result.output
    assert f"Left out: 1 files of {pictures} that are no pictures" in result.output
    assert [line["name"] for line in log()] == ["a", "b"]
    assert Path("out/a/optimization.mp4").stat().st_size > 0
    with np.load("out/projected_w.npz") as found:
        assert found["w"].shape[0] == 2 and list(found["names"]) == ["a", "b"]
        assert found["transform"].shape == (2, 3, 3)
        np.testing.assert_array_equal(found["w"][0], found["w"][1])  # the same picture and seed


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("t", ["--target=nowhere.png"], "'--target'"),
        ("t", ["--locality=1"], "--locality and --pti-steps have an effect with --pti only"),
        ("cond", ["--class=3"], "--class 3 does not exist"),
        ("cond", ["--move=1"], "its content cannot move"),
    ],
)
def test_bad_requests_end_in_one_error_line(run, folder, name, args, message):
    result = run(name, f"--target={folder / 't.png'}", *args)
    assert result.exit_code != 0
    assert message in result.stderr and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert not Path("out/proj.png").exists()


def test_the_picture_itself_is_not_overwritten(run, folder):
    Path("out").mkdir()
    shutil.copy(folder / "t.png", "out/target.png")
    result = run("t", "--target=out/target.png")
    assert result.exit_code == 2 and "out/target.png would be overwritten" in result.stderr
