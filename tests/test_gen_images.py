"""The image generation command: real runs with tiny networks, and every refusal."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import gen_images
from tests.small_networks import load, write_pickles
from torch_utils import images, latents


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one pickle per kind of network."""
    return write_pickles(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def run(folder, tmp_path):
    """Run the command with a network of `folder`; results go to `tmp_path / "out"`."""

    def run(network, *args, outdir=tmp_path / "out"):
        args = [f"--network={folder / network}.pkl", f"--outdir={outdir}", "--device=cpu", *args]
        return CliRunner().invoke(gen_images.main, args)

    return run


def written(tmp_path) -> dict[str, np.ndarray]:
    pixels = {}
    for path in sorted((tmp_path / "out").iterdir()):
        with PIL.Image.open(path) as png:
            pixels[path.name] = np.asarray(png)
    return pixels


def expected_image(G, seed, label=None, psi=1.0) -> np.ndarray:
    z = torch.from_numpy(np.random.RandomState(seed).randn(1, G.z_dim)).to(torch.float32)
    c = torch.zeros([1, G.c_dim]) if label is None else torch.tensor([label])
    with torch.no_grad():
        img = G.synthesis(G.mapping(z, c, truncation_psi=psi), noise_mode="const")
    return images.to_uint8(img)[0].permute(1, 2, 0).numpy()


def test_parsers_are_importable_from_here():
    assert gen_images.parse_range("1,2,5-6") == [1, 2, 5, 6]
    assert gen_images.parse_vec2("0.3,1") == (0.3, 1)


def test_one_png_per_seed(run, folder, tmp_path):
    result = run("sg2", "--seeds=1,12345", "--trunc=0.5")
    assert result.exit_code == 0, result.output
    assert "Wrote 2 files" in result.output
    G = load(folder, "sg2")
    pixels = written(tmp_path)
    assert list(pixels) == ["seed0001.png", "seed12345.png"]
    for name, seed in [("seed0001.png", 1), ("seed12345.png", 12345)]:
        np.testing.assert_array_equal(pixels[name], expected_image(G, seed, psi=0.5))


def test_batches_change_rounding_only(run, tmp_path):
    assert run("t", "--seeds=0-4").exit_code == 0
    single = written(tmp_path)
    assert run("t", "--seeds=0-4", "--batch=3").exit_code == 0
    batched = written(tmp_path)
    assert list(single) == list(batched) == [f"seed000{i}.png" for i in range(5)]
    for name, pixels in single.items():
        np.testing.assert_allclose(pixels.astype(int), batched[name].astype(int), atol=1)


def test_grid_is_one_sheet_with_black_cells_at_the_end(run, folder, tmp_path):
    result = run("sg2", "--seeds=0-2", "--grid=2x2", "--batch=2")
    assert result.exit_code == 0, result.output
    pixels = written(tmp_path)
    assert list(pixels) == ["grid.png"]
    sheet = pixels["grid.png"]
    assert sheet.shape == (32, 32, 3)
    third = expected_image(load(folder, "sg2"), 2)
    np.testing.assert_allclose(sheet[16:, :16].astype(int), third.astype(int), atol=1)
    assert not sheet[16:, 16:].any()


def test_conditional_network_draws_the_class(run, folder, tmp_path):
    assert run("cond", "--seeds=3", "--class=2").exit_code == 0
    expected = expected_image(load(folder, "cond"), 3, label=[0.0, 0.0, 1.0])
    np.testing.assert_array_equal(written(tmp_path)["seed0003.png"], expected)


def test_several_classes_take_turns_across_batches(run, folder, tmp_path):
    assert run("cond", "--seeds=0-4", "--class=0,2", "--batch=3").exit_code == 0
    G, pngs = load(folder, "cond"), written(tmp_path)
    for seed in range(5):
        label = [1.0, 0.0, 0.0] if seed % 2 == 0 else [0.0, 0.0, 1.0]
        expected = expected_image(G, seed, label=label)
        found = pngs[f"seed{seed:04d}.png"].astype(int)
        np.testing.assert_allclose(found, expected.astype(int), atol=1)


def test_classes_that_no_seed_shows_are_counted(run, tmp_path):
    result = run("cond", "--seeds=0,1,1", "--class=0-2")
    assert result.exit_code == 0
    assert "Warning: --class: 2 images show only the first 2 of 3 classes" in result.output
    assert len(written(tmp_path)) == 2


@pytest.mark.parametrize(("network", "mode"), [("gray", "L"), ("rgba", "RGBA")])
def test_png_mode_follows_the_channels(run, tmp_path, network, mode):
    assert run(network, "--seeds=0").exit_code == 0
    with PIL.Image.open(tmp_path / "out" / "seed0000.png") as png:
        assert png.mode == mode


def test_transform_changes_the_image_of_stylegan3_and_warns_for_stylegan2(run, tmp_path):
    assert run("t", "--seeds=0").exit_code == 0
    plain = written(tmp_path)["seed0000.png"]
    result = run("t", "--seeds=0", "--rotate=90", "--translate=0.1,0")
    assert result.exit_code == 0
    assert "Warning" not in result.stderr
    assert (written(tmp_path)["seed0000.png"] != plain).any()
    result = run("sg2", "--seeds=0", "--rotate=90")
    assert result.exit_code == 0
    assert "Warning: --translate and --rotate have no effect" in result.stderr


def test_projected_styles_give_the_images_of_their_seeds(run, folder, tmp_path):
    G = load(folder, "sg2")
    with torch.no_grad():
        ws = G.mapping(latents.z_from_seeds([4, 5], 8).to(torch.float32), torch.zeros([2, 0]))
    np.savez(tmp_path / "w.npz", w=ws.numpy())
    result = run("sg2", f"--projected-w={tmp_path / 'w.npz'}")
    assert result.exit_code == 0, result.output
    pixels = written(tmp_path)
    assert list(pixels) == ["proj00.png", "proj01.png"]
    for name, seed in [("proj00.png", 4), ("proj01.png", 5)]:
        expected = expected_image(G, seed).astype(int)
        np.testing.assert_allclose(pixels[name].astype(int), expected, atol=1)
    np.savez(tmp_path / "w.npz", w=ws[0].numpy())
    result = run("sg2", f"--projected-w={tmp_path / 'w.npz'}", "--seeds=0")
    assert result.exit_code == 0
    assert "Warning: --seeds" in result.stderr


def test_class_on_an_unconditional_network_only_warns(run, tmp_path):
    result = run("sg2", "--seeds=0", "--class=1")
    assert result.exit_code == 0
    assert "Warning: --class has no effect" in result.stderr
    assert list(written(tmp_path)) == ["seed0000.png"]


@pytest.mark.parametrize(
    ("network", "args", "exit_code", "message"),
    [
        ("cond", ["--seeds=0"], 1, "conditional: choose a --class from 0 to 2"),
        ("cond", ["--seeds=0", "--class=3"], 1, "--class 3 does not exist"),
        ("cond", ["--seeds=0", "--class=0-3"], 1, "--class 3 does not exist"),
        ("sg2", [], 2, "Missing option '--seeds'"),
        ("sg2", ["--seeds=1,x"], 2, "'--seeds': 'x' is not a number or a range"),
        ("sg2", ["--seeds=5-1"], 2, "'--seeds': the range '5-1' runs backwards"),
        ("sg2", ["--seeds=0", "--translate=1"], 2, "'--translate'"),
        ("sg2", ["--seeds=0", "--rotate=nan"], 2, "'--rotate'"),
        ("sg2", ["--seeds=0", "--noise-mode=loud"], 2, "'--noise-mode'"),
        ("sg2", ["--seeds=0", "--batch=0"], 2, "'--batch'"),
        ("sg2", ["--seeds=0-4", "--grid=2x2"], 1, "--grid 2x2 is too small for 5 images"),
        ("sg2", ["--projected-w=nowhere.npz"], 2, "'--projected-w'"),
        ("nowhere", ["--seeds=0"], 1, "nowhere.pkl"),
    ],
)
def test_bad_requests_end_in_one_error_line(run, tmp_path, network, args, exit_code, message):
    result = run(network, *args)
    assert result.exit_code == exit_code, result.output
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert message in result.stderr
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.zeros([1, 3, 8])}, "styles (--latents) have shape [1, 3, 8]"),
        ({"v": np.zeros([1])}, "not an NPZ file with an array 'w'"),
        ({"w": np.zeros([1, 3, 8], dtype=int)}, "must hold floating-point numbers"),
        ({"w": np.array([{}], dtype=object)}, "not an NPZ file with an array 'w'"),
    ],
)
def test_bad_projected_styles_are_refused(run, tmp_path, arrays, message):
    np.savez(tmp_path / "w.npz", **arrays)
    result = run("sg2", f"--projected-w={tmp_path / 'w.npz'}")
    assert result.exit_code == 1
    assert message in result.stderr


def test_projected_w_that_is_no_npz_is_refused(run, tmp_path):
    for content in (b"", b"hello", b"PK\x03\x04 broken"):
        (tmp_path / "w.npz").write_bytes(content)
        result = run("sg2", f"--projected-w={tmp_path / 'w.npz'}")
        assert result.exit_code == 1, content
        assert "not an NPZ file with an array 'w'" in result.stderr
    np.save(tmp_path / "w.npy", np.zeros(3))
    result = run("sg2", f"--projected-w={tmp_path / 'w.npy'}")
    assert "not an NPZ file with an array 'w'" in result.stderr


def test_unreadable_pickle_is_named(run, folder):
    (folder / "broken.pkl").write_bytes(b"\x80\x04half")
    result = run("broken", "--seeds=0")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: --network: {folder / 'broken.pkl'}: ")
    assert result.stderr.count("\n") == 1


def test_unwritable_outdir_is_refused(run, tmp_path):
    (tmp_path / "file").touch()
    result = run("t", "--seeds=0", outdir=tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert f"--outdir {tmp_path / 'file' / 'out'} cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("network", "options"),
    [("nowhere", ["--seeds=0"]), ("t", ["--seeds=0-3", "--grid=1x1"]), ("t", ["--seeds=1-0"])],
    ids=["no-network", "small-grid", "backward-range"],
)
def test_refusal_leaves_no_folder(network, options, run, tmp_path):
    result = run(network, *options, outdir=tmp_path / "new" / "out")
    assert result.exit_code != 0
    assert not (tmp_path / "new").exists()


def test_repeated_seeds_give_one_file_each(run, tmp_path):
    result = run("t", "--seeds=1,1,2", outdir=tmp_path / "out")
    assert "Wrote 2 files" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "seed0001.png",
        "seed0002.png",
    ]


@pytest.mark.parametrize("option", ["--trunc=nan", "--seeds=0-99999999"])
def test_senseless_numbers_are_usage_errors(option, run):
    result = run("t", "--seeds=0", option)
    assert result.exit_code == 2
    assert option.partition("=")[0] in result.stderr


@pytest.mark.slow
def test_without_a_compiler_one_warning_says_what_to_install(folder, tmp_path):
    """The kernels are for speed only."""
    args = ["--seeds=0,1", f"--network={folder / 't.pkl'}", f"--outdir={tmp_path / 'out'}"]
    result = subprocess.run(
        [sys.executable, "gen_images.py", "--device=cpu", *args],
        cwd=Path(gen_images.__file__).parent,
        env={**os.environ, "PATH": str(tmp_path), "CXX": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert sorted(written(tmp_path)) == ["seed0000.png", "seed0001.png"]
    assert result.stderr.count("Warning") == 1
    assert "CPU kernels: no C++ compiler was found; install one (apt install g++" in result.stderr
