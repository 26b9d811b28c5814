"""directions.py, and gen_images.py along directions."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import directions
import gen_images
from editing import directions as found_directions
from generation import latent_files
from generation.images import map_seeds
from generation.latent_files import Latents
from tests.small_networks import load, write_pickles
from torch_utils import images


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_pickles(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def run(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(method: str, name: str, *args: str):
        args = (method, f"--network={folder / name}.pkl", "--dest=d.npz", "--device=cpu", *args)
        return CliRunner().invoke(directions.main, args, catch_exceptions=False)

    return run


def test_images_go_along_the_directions_that_were_found(run, folder):
    result = run("pca", "sg2", "--num=2", "--samples=500", "--seed=3")
    assert result.exit_code == 0, result.output
    assert "Wrote d.npz: 2 directions, principal components of 500 styles" in result.output
    G = load(folder, "sg2")
    found = found_directions.load("d.npz")
    with PIL.Image.open("d.png") as sheet:
        assert sheet.width >= 7 * 64 and sheet.height >= 2 * 64
    args = [f"--network={folder / 'sg2.pkl'}", "--seeds=5", "--outdir=out"]
    args += ["--direction=d.npz:pc1=2", "--direction=d.npz:pc0=-0.5"]
    result = CliRunner().invoke(gen_images.main, args)
    assert result.exit_code == 0, result.output
    offset = found.offset("pc1", 2, G.num_ws) + found.offset("pc0", -0.5, G.num_ws)
    with torch.no_grad():
        img = G.synthesis(map_seeds(G, [5], None) + offset, noise_mode="const")
    expected = images.to_uint8(img)[0].permute(1, 2, 0).numpy().astype(int)
    drawn = np.array(PIL.Image.open("out/seed0005.png")).astype(int)
    np.testing.assert_allclose(drawn, expected, atol=1)


def test_weights_of_some_layers_change_these_layers(run):
    assert run("weights", "t", "--layers=fine", "--num=3", "--sheet=0").exit_code == 0
    found = found_directions.load("d.npz")
    changed = np.abs(found.vectors).sum(axis=(0, 2)) > 0
    assert changed.tolist() == [False] * 4 + [True] * 2 and not Path("d.png").exists()


def test_labels_are_classes_or_those_of_a_table(run):
    assert run("labels", "cond").exit_code == 0
    assert found_directions.load("d.npz").names == ("class0", "class1", "class2")
    rows = [f"{seed},{'left' if seed % 2 else 'right'}" for seed in range(20)]
    Path("t.csv").write_text("\n".join(["seed,label", *rows, "20,", "21, "]))
    result = run("labels", "sg2", "--table=t.csv")
    assert result.exit_code == 0, result.output
    assert "Left out: 2 rows of t.csv without a label" in result.output
    assert found_directions.load("d.npz").names == ("left", "right")


def test_class_that_decides_nothing_is_said(run):
    result = run("labels", "cond", "--class=1")
    assert "Note: --class has an effect on the sheet only" in result.output
    result = run("labels", "cond", "--class=1", "--sheet=0")
    assert "Note: --class has no effect here" in result.output
    assert "Note" not in run("labels", "cond", "--sheet=0").output
    assert "Note" not in run("pca", "cond", "--class=1", "--samples=500", "--sheet=0").output


def test_pictures_lead_from_the_ones_to_the_others(run, folder):
    G = load(folder, "sg2")
    for name, seeds in (("a", [0, 1]), ("b", [2, 3, 4])):
        ws = map_seeds(G, seeds, None).detach()
        latent_files.save(f"{name}.npz", Latents(ws, network=latent_files.network_hash(G)))
    result = run("pictures", "sg2", "--without=a.npz", "--with=b.npz", "--name=older")
    assert result.exit_code == 0 and "Warning" not in result.stderr, result.output
    assert found_directions.load("d.npz").names == ("older",)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["labels", "sg2"], "the network has no classes"),
        (["pca", "sg2", "--num=9"], "--num 9: choose 1 to 8 directions"),
        (["weights", "sg2", "--layers=77"], "--layers: layer 77 does not exist"),
        (["labels", "sg2", "--table=bad.csv"], "bad.csv, line 2: 'x' is no seed"),
        (["labels", "sg2", "--table=twice.csv"], "line 4: seed 1 has two labels, 'a' and 'b'"),
        (["labels", "sg2", "--table=latin.csv"], "latin.csv is not UTF-8"),
        (["weights", "t", "--layers=0"], "the chosen layers have no weights"),
        (["pca", "sg2", "--dest=d.png"], "'d.png' must end in .npz"),
        (["pca", "sg2", "--dest=no/d.npz"], "its folder must exist"),
        (["labels", "sg2", "--table=none.csv"], "must begin with a line that names seed and label"),
        (["pictures", "sg2", "--without=w.npz", "--with=w.npz"], "two means are equal"),
    ],
)
def test_bad_requests_end_in_one_error_line(run, folder, tmp_path, args, message):
    (tmp_path / "bad.csv").write_text("seed,label\nx,1\n")
    (tmp_path / "none.csv").write_text("1,2\n")
    (tmp_path / "twice.csv").write_text("label, seed\na,1\nb,2\nb,1\n")
    (tmp_path / "latin.csv").write_bytes("seed,label\n1,fröhlich\n".encode("latin-1"))
    G = load(folder, "sg2")
    np.savez(tmp_path / "w.npz", w=np.zeros([1, G.num_ws, 8]))
    result = run(*args)
    assert result.exit_code != 0 and message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ") and not Path("d.npz").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("d.npz", "is not FILE:NAME=AMOUNT"),
        ("d.npz:pc0=x", "'x'"),
        ("nowhere.npz:pc0=1", "'--direction'"),
        ("d.npz:pc9=1", "--direction: there is no direction 'pc9'; there are: a"),
        ("wide.npz:0=1", "--direction: wide.npz: directions have shape [1, 1, 4]"),
    ],
)
def test_bad_directions_of_images_are_refused(folder, tmp_path, monkeypatch, value, message):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", directions=np.ones([1, 1, 8]), names=np.array(["a"]))
    np.savez("wide.npz", directions=np.ones([1, 1, 4]))
    args = [f"--network={folder / 'sg2.pkl'}", "--seeds=5", "--outdir=out", f"--direction={value}"]
    result = CliRunner().invoke(gen_images.main, args)
    assert result.exit_code != 0 and message in result.stderr, result.output
    assert not Path("out").exists()


def test_sheets_of_networks_with_other_colours(run):
    for name in ("gray", "rgba"):
        assert run("pca", name, "--num=1", "--samples=100").exit_code == 0
        with PIL.Image.open("d.png") as sheet:
            assert sheet.mode == "RGB"
