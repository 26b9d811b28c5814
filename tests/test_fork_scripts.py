"""Scripts of the kind that forks have, on our packages: `tests/standins/fork`.

They run in a folder of their own whose `training` has nothing to do with ours, and comes first.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import legacy
from tests.viz import networks
from torch_utils import images, latents

ROOT = Path(__file__).parents[1]
FORK = ROOT / "tests/standins/fork"
PUBLISHED = ROOT / "tests/data/legacy_tf/tf_v4_plain_32.pkl"  # StyleGAN2 of TensorFlow
pytestmark = pytest.mark.slow

SIZES = {"stylegan2": 16, "stylegan3": 16, "published": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The fork, and small networks."""
    folder = tmp_path_factory.mktemp("fork") / "fork"
    shutil.copytree(FORK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    torch.manual_seed(0)
    networks.save(networks.stylegan2(), folder / "stylegan2.pkl")
    networks.save(networks.stylegan3(), folder / "stylegan3.pkl")
    (folder / "published.pkl").write_bytes(PUBLISHED.read_bytes())
    return folder


def run(folder: Path, script: str, kind: str, *args: str) -> Path:
    """Run a script on a network; the folder of what it wrote."""
    outdir = folder / f"{script}-{kind}"
    command = [sys.executable, f"{script}.py", f"--network={kind}.pkl", f"--outdir={outdir}", *args]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=env, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Warning") == 1, done.stderr  # no other one than this
    assert f"{folder / 'training'} hides the package {ROOT / 'training'}" in done.stderr
    return outdir


def size_of(path: Path) -> tuple[int, int]:
    with PIL.Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("kind", ["stylegan2", "published"])
def test_projection(folder, kind):
    size = SIZES[kind]
    target = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    PIL.Image.fromarray(target).save(folder / "target.png")
    outdir = run(folder, "projector", kind, "--target=target.png", "--num-steps=40")
    losses = json.loads((outdir / "losses.json").read_text())
    assert len(losses) == 40 and losses[-1] < 0.8 * losses[0]
    ws = np.load(outdir / "projected_w.npz")["w"]
    assert ws.ndim == 3 and np.isfinite(ws).all() and (ws == ws[:, :1]).all()
    assert size_of(outdir / "proj.png") == (size, size)


@pytest.mark.parametrize("kind", ["stylegan2"])
def test_style_mixing(folder, kind):
    size = SIZES[kind]
    outdir = run(folder, "style_mixing", kind, "--rows=1,2", "--cols=3,4,5", "--trunc=0.8")
    names = {f"{row}-{col}.png" for row in (1, 2) for col in (3, 4, 5)}
    assert {path.name for path in outdir.iterdir()} == {*names, "grid.png"}
    assert size_of(outdir / "grid.png") == (4 * size, 3 * size)
    assert len({(outdir / name).read_bytes() for name in names}) > 1


@pytest.mark.parametrize("kind", ["stylegan3", "published"])
def test_latent_walk(folder, kind):
    outdir = run(folder, "latent_walk", kind, "--seeds=1,2,3", "--frames=6", "--trunc=0.8")
    frames = sorted(outdir.glob("*.png"))
    assert [frame.name for frame in frames] == [f"frame{idx:04d}.png" for idx in range(6)]
    assert {size_of(frame) for frame in frames} == {(SIZES[kind], SIZES[kind])}
    assert len({frame.read_bytes() for frame in frames}) == 6
    data = pickle.loads((outdir / "path.pkl").read_bytes())
    w = data["path"](torch.tensor([0.5]))
    assert w.shape == (1, data["G_ema"].w_dim)


@pytest.mark.parametrize("kind", ["stylegan3", "published"])
def test_layer_grid(folder, kind):
    args = ["--from-module"] if kind == "published" else []
    outdir = run(folder, "layer_grid", kind, "--seed=5", "--trunc=0.7", *args)
    width, height = size_of(outdir / "layers.png")
    assert width % 64 == height % 64 == 0 and width * height > 8 * 64**2
    with PIL.Image.open(outdir / "layers.png") as grid:
        cell = grid.crop((0, 0, 64, 64)).resize((SIZES[kind],) * 2, PIL.Image.NEAREST)
    image = np.load(outdir / "image.npy")
    np.testing.assert_array_equal(np.asarray(cell), image)
    data = legacy.load_network(folder / f"{kind}.pkl")
    z = latents.z_from_seed(5, data["G_ema"].z_dim).float()
    img = data["G_ema"](z, None, truncation_psi=0.7, noise_mode="const")[0]
    np.testing.assert_array_equal(image, images.to_uint8(img).permute(1, 2, 0))
