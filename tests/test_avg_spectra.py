"""The spectra commands: reference numbers, sources of all kinds, figures, and what goes wrong."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import avg_spectra
import legacy
from generation import spectra
from tests import golden
from tests.small_networks import stylegan3

CASES = golden.load("spectra.npz")
CALC = golden.case_names("spectra.npz", "calc_")
CALC_X = ["calc", "--source=x.zip"]


def invoke(*args):
    return CliRunner().invoke(avg_spectra.main, [str(arg) for arg in args])


def source_of(case) -> str:
    return str(golden.DATA_DIR / case.meta["source"])


def calc(case, dest: Path, *args):
    options = [f"--{key}={case.meta[key]}" for key in ("mean", "std", "seed", "beta", "interp")]
    if case.meta["num"] is not None:
        options.append(f"--num={case.meta['num']}")
    return invoke("calc", f"--source={source_of(case)}", f"--dest={dest}", *options, *args)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with networks, and the spectrum of the default case as `spectrum.npz`."""
    folder = tmp_path_factory.mktemp("spectra")
    torch.manual_seed(0)
    (folder / "t.pkl").write_bytes(pickle.dumps({"G_ema": stylegan3()}))
    case = CASES["calc_rgb_default"]
    np.savez(folder / "spectrum.npz", spectrum=case.arrays["spectrum"], image_size=32)
    return folder


# Reference numbers


@pytest.mark.parametrize("name", golden.case_names("spectra.npz", "stats_"))
def test_stats_match_reference(name):
    case = CASES[name]
    num = [] if case.meta["num"] is None else [f"--num={case.meta['num']}"]
    args = ["stats", f"--source={source_of(case)}", f"--seed={case.meta['seed']}", *num]
    result = invoke(*args, "--batch=3")
    assert (result.exit_code, result.stdout) == (0, case.meta["printed"] + "\n")


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("name", CALC)
def test_calc_matches_reference(name, batch, tmp_path):
    case = CASES[name]
    result = calc(case, tmp_path / "new" / "x.npz", f"--batch={batch}")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "new" / "x.npz") as npz:
        keys = {key: f"{npz[key].dtype} {list(npz[key].shape)}" for key in npz.files}
        assert keys == case.meta["npz_keys"]
        np.testing.assert_allclose(npz["spectrum"], case.arrays["spectrum"], rtol=1e-5)
        assert npz["image_size"] == len(case.arrays["window_1d"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.npz"]


# Networks


def test_networks_as_pickle_safetensors_and_url(folder, tmp_path):
    legacy.save_networks(tmp_path / "t.safetensors", legacy.load_network(folder / "t.pkl"))
    sources = [folder / "t.pkl", (folder / "t.pkl").as_uri(), tmp_path / "t.safetensors"]
    results = [invoke("stats", f"--source={source}", "--num=3", "--seed=5") for source in sources]
    assert [result.exit_code for result in results] == [0, 0, 0], results[0].output
    assert results[0].stdout == results[1].stdout == results[2].stdout
    assert results[0].stdout.startswith("--mean=")

    args = ["--num=3", "--mean=128", "--std=60", "--interp=1", f"--dest={tmp_path / 'x.npz'}"]
    result = invoke("calc", f"--source={folder / 't.pkl'}", *args)
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "x.npz") as npz:
        assert npz["spectrum"].shape == (16, 16) and npz["image_size"] == 16


def test_a_folder_is_a_dataset(tmp_path):
    for i in range(3):
        pixels = np.random.RandomState(i).randint(0, 256, [8, 8], dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    assert invoke("stats", f"--source={tmp_path}").exit_code == 0


# Figures


@pytest.mark.parametrize("command", ["heatmap", "slices"])
@pytest.mark.parametrize("extension", ["png", "pdf", "svg", "jpg"])
def test_figures_need_no_display(command, extension, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    save = tmp_path / "new" / f"x.{extension}"
    result = invoke(command, folder / "spectrum.npz", f"--save={save}", "--dpi=50")
    assert result.exit_code == 0, result.output
    assert [path.name for path in save.parent.iterdir()] == [save.name]
    if extension == "png":
        with PIL.Image.open(save) as image:
            assert image.size == ((350, 280) if command == "heatmap" else (350, 250))
            assert len(image.convert("RGB").getcolors(1 << 20)) > 50


def test_slices_of_several_files_are_told_apart(folder, tmp_path):
    (tmp_path / "spectrum.npz").write_bytes((folder / "spectrum.npz").read_bytes())
    files = [folder / "spectrum.npz", tmp_path / "spectrum.npz"]
    result = invoke("slices", *files, "--smooth=1", f"--save={tmp_path / 'x.svg'}")
    assert result.exit_code == 0, result.output


# What goes wrong


@pytest.mark.parametrize(
    ("args", "exit_code", "message"),
    [
        (["stats"], 2, "Missing option '--source'"),
        (["stats", "--source={folder}/t.pkl"], 2, "Missing option '--num'"),
        (["stats", "--source={folder}/no.zip"], 1, "no such folder or .zip file"),
        (["stats", "--source={folder}/no.pkl", "--num=1"], 1, "no.pkl"),
        (["stats", "--source={folder}/spectrum.npz", "--num=1"], 1, "--source: "),
        (["stats", "--source={folder}"], 1, "no image file"),
        (["stats", "--source={data}/dataset_small_nonsquare.zip"], 1, "must be square"),
        (["stats", "--source={data}/dataset_small_mixedsize.zip"], 1, "must be alike"),
        (["stats", "--source={data}/spectra_rgb_8x32.zip", "--num=0"], 2, "'--num'"),
        (["calc", "--source={data}/spectra_rgb_8x32.zip"], 2, "Missing option '--dest'"),
        ([*CALC_X, "--dest=x.npz", "--mean=1", "--std=0"], 2, "'--std'"),
        ([*CALC_X, "--dest=x.npz", "--mean=nan", "--std=1"], 2, "'--mean'"),
        ([*CALC_X, "--dest=x.npz", "--mean=1", "--std=1", "--interp=0"], 2, "'--interp'"),
        ([*CALC_X, "--dest=x.npy", "--mean=1", "--std=1"], 2, "end in .npz"),
        (["heatmap", "{folder}/no.npz"], 2, "does not exist"),
        (["heatmap", "{folder}/t.pkl", "--save=x.png"], 1, "is not a file that `calc` writes"),
        (["heatmap", "{folder}/spectrum.npz", "--save=x.bmp2"], 1, "does not end in one of .eps"),
        (["heatmap", "{folder}/spectrum.npz", "--smooth=-1"], 2, "'--smooth'"),
        (["slices"], 2, "Missing argument"),
        (["slices", "{folder}/spectrum.npz"], 1, "no display for a window: give a file"),
    ],
)
def test_bad_requests_end_in_one_error_line(
    args, exit_code, message, folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = {"folder": folder, "data": golden.DATA_DIR / "datasets"}
    result = invoke(*[arg.format(**names) for arg in args])
    assert result.exit_code == exit_code, result.output
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_unwritable_files_are_known_before_the_work(folder, tmp_path, monkeypatch):
    def fail(*args):
        raise AssertionError("computed already")

    monkeypatch.setattr(spectra, "average_spectrum", fail)
    (tmp_path / "file").touch()
    result = calc(CASES["calc_rgb_default"], tmp_path / "file" / "x.npz")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    result = invoke("heatmap", folder / "spectrum.npz", f"--save={tmp_path / 'file' / 'x.png'}")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError("No space left")])
def test_interrupted_calc_leaves_the_old_file(error, tmp_path, monkeypatch):
    def fail(*args):
        raise error

    monkeypatch.setattr(spectra, "average_spectrum", fail)
    (tmp_path / "x.npz").write_bytes(b"old")
    assert calc(CASES["calc_rgb_default"], tmp_path / "x.npz").exit_code != 0
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_missing_matplotlib_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = invoke("heatmap", folder / "spectrum.npz", f"--save={tmp_path / 'x.png'}")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "pip install matplotlib" in result.stderr


@pytest.mark.slow
def test_the_script_runs_without_a_display(folder, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    environment.pop("MPLBACKEND", None)
    result = subprocess.run(
        [sys.executable, avg_spectra.__file__, "slices", str(folder / "spectrum.npz")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == "Error: there is no display for a window: give a file with --save\n"
