"""style_mixing.py: tables of mixed images."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import style_mixing
from generation.images import map_seeds
from tests.small_networks import load, write_pickles
from torch_utils import images


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_pickles(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def run(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(name: str, *args: str):
        args = (f"--network={folder / name}.pkl", "--outdir=out", "--device=cpu", *args)
        return CliRunner().invoke(style_mixing.main, args, catch_exceptions=False)

    return run


def expected_image(G, ws) -> np.ndarray:
    with torch.no_grad():
        img = images.to_uint8(G.synthesis(ws, noise_mode="const"))[0]
    return img.permute(1, 2, 0).numpy().astype(int)


def test_the_sheet_shows_each_row_with_styles_of_each_column(run, folder):
    result = run("sg2", "--rows=0,1", "--cols=2-4", "--col-styles=0-2", "--trunc=0.7")
    assert result.exit_code == 0, result.output
    assert "layers 0, 1, 2 of" in result.output
    sheet = np.array(PIL.Image.open("out/grid.png")).astype(int)
    assert sheet.shape == (16 * 3, 16 * 4, 3) and (sheet[:16, :16] == 255).all()
    G = load(folder, "sg2")
    rows = map_seeds(G, [0, 1], None, truncation_psi=0.7)
    cols = map_seeds(G, [2, 3, 4], None, truncation_psi=0.7)
    for r in range(2):
        for c in range(3):
            ws = rows[r : r + 1].clone()
            ws[:, :3] = cols[c : c + 1, :3]
            cell = sheet[16 * (r + 1) : 16 * (r + 2), 16 * (c + 1) : 16 * (c + 2)]
            np.testing.assert_allclose(cell, expected_image(G, ws), atol=1)
    np.testing.assert_allclose(sheet[:16, 16:32], expected_image(G, cols[:1]), atol=1)
    np.testing.assert_allclose(sheet[16:32, :16], expected_image(G, rows[:1]), atol=1)


def test_latents_join_the_seeds_and_each_image_gets_a_file(run, folder, tmp_path):
    G = load(folder, "t")
    ws = map_seeds(G, [7], None).detach().numpy()
    np.savez(tmp_path / "w.npz", w=ws, names=np.array(["me"]), transform=np.eye(3)[None])
    result = run("t", "--rows=1", "--row-latents=w.npz", "--cols=7", "--no-sheet")
    assert result.exit_code == 0, result.output
    assert "Warning: w.npz: mixing leaves the transforms out" in result.stderr
    names = {path.stem for path in Path("out").iterdir()}
    assert names == {"1", "me", "7", "1-7", "me-7"}
    me, mixed = (np.array(PIL.Image.open(f"out/{name}.png")) for name in ("me", "me-7"))
    np.testing.assert_array_equal(me, mixed)  # the same styles in all layers


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--cols=0"], "Missing option '--rows' (or '--row-latents')"),
        (["--rows=0"], "Missing option '--cols' (or '--col-latents')"),
        (["--rows=0", "--cols=1", "--col-styles=99"], "--col-styles: layer 99 does not exist"),
        (["--rows=0", "--cols=1", "--col-styles=fne"], "'--col-styles': 'fne'"),
        (["--rows=0", "--cols=1", "--col-latents=x.npz"], "'--col-latents'"),
    ],
)
def test_bad_requests_end_in_one_error_line(run, args, message):
    result = run("sg2", *args)
    assert result.exit_code != 0 and message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ") and not Path("out").exists()


def test_images_that_would_share_a_file_are_refused(run, folder, tmp_path):
    G = load(folder, "t")
    for name in ("a", "b"):
        ws = map_seeds(G, [7], None).detach().numpy()
        np.savez(tmp_path / f"{name}.npz", w=ws, names=np.array(["faces/me"]))
    args = ["--row-latents=a.npz", "--col-latents=b.npz", "--no-sheet"]
    result = run("t", *args)
    assert "two images would be called faces_me.png; rename the latents" in result.stderr
    assert not Path("out").exists()
