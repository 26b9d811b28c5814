"""The networks in the box: every file is small, complete, described, and works from anywhere."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import avg_spectra
import calc_metrics
import gen_images
import gen_video
import legacy
from dnnlib import pretrained
from docs import sheets
from tests.small_networks import stylegan2, stylegan3

ROOT = Path(__file__).resolve().parent.parent
ADDRESSES = pretrained.addresses()
MAX_BYTES, MAX_BYTES_TOGETHER = 3_000_000, 10_000_000
FACTS = ("data", "images seen", "time", "capacity", "licence")


def card_of(address: str) -> str:
    return pretrained.path_of(address).with_suffix(".md").read_text(encoding="utf-8")


def test_there_are_networks_in_the_box():
    names = {address.removeprefix(pretrained.PREFIX) for address in ADDRESSES}
    assert {"shapes-t", "faces-stylegan2"} <= names
    assert sum(f.stat().st_size for f in pretrained.FOLDER.iterdir()) <= MAX_BYTES_TOGETHER


def test_every_file_belongs_to_a_network_and_the_table_lists_it():
    files = {path.name for path in pretrained.FOLDER.iterdir() if path.is_file()}
    names = [address.removeprefix(pretrained.PREFIX) for address in ADDRESSES]
    expected = {f"{name}.{kind}" for name in names for kind in ("safetensors", "md", "png")}
    assert files == expected | {"README.md", "__init__.py"}
    table = (pretrained.FOLDER / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(pretrained:[^`]+)` \|", table, re.MULTILINE)) == ADDRESSES


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_network_is_small_and_draws(address, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert pretrained.path_of(address).stat().st_size <= MAX_BYTES
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = legacy.load_network(address)
    G = data["G_ema"]
    assert data["D"] is not None
    for name in ("G_ema", "D"):
        assert data[name].init_kwargs.get("half_dtype", "fp16") == "fp16"  # fast on every CPU
    assert not Path(data["training_set_kwargs"]["path"]).is_absolute()  # of another machine
    options = ["--class=0"] if G.c_dim else []
    args = [f"--network={address}", "--seeds=0,1", "--outdir=out", "--device=cpu", *options]
    result = CliRunner().invoke(gen_images.main, args)
    assert result.exit_code == 0, result.output
    first, second = (np.array(PIL.Image.open(f"out/seed000{i}.png")) for i in (0, 1))
    assert first.std() > 10 and not np.array_equal(first, second)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_card_states_what_it_has_to_state(address):
    text = card_of(address)
    name = address.removeprefix(pretrained.PREFIX)
    assert text.startswith(f"# {name}\n")
    assert "TODO" not in text
    facts = dict(re.findall(r"^\| ([^|]+?) +\| ([^|]+?) +\|$", text, re.MULTILINE))
    assert set(FACTS) <= set(facts)
    (kimg,) = re.findall(r"([\d,.]+) kimg", facts["images seen"])
    assert float(kimg.replace(",", "")) > 0
    assert "Apache-2.0" in facts["licence"]
    assert "python train.py" in text and "python dataset_tool.py" in text
    with PIL.Image.open(pretrained.path_of(address).with_suffix(".png")) as sheet:
        assert min(sheet.size) >= 256
    assert f"]({name}.png)" in text


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_sheet_shows_the_network_of_today(address):
    """`python -m docs.sheets` draws it; other machines may round differently."""
    shown = np.array(PIL.Image.open(pretrained.path_of(address).with_suffix(".png")))
    drawn = sheets.draw_sheet(legacy.load_network(address)["G_ema"])
    assert np.abs(shown.astype(int) - drawn).mean() < 1


@pytest.fixture
def box(monkeypatch, tmp_path) -> Path:
    """Two untrained networks in the place of the box."""
    torch.manual_seed(0)
    folder = tmp_path / "box"
    for name, G in {"shapes-t": stylegan3(), "faces": stylegan2(c_dim=2)}.items():
        legacy.save_networks(folder / f"{name}.safetensors", {"G_ema": G}, "float16")
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_every_script_takes_a_network_in_the_box(box):
    network = "--network=pretrained:shapes-t"
    for command, args in {
        gen_images.main: [network, "--seeds=0", "--outdir=out"],
        gen_video.main: [network, "--seeds=0,1", "--w-frames=2", "--output=out.gif"],
        calc_metrics.main: [network, "--metrics=eqt50k_int", "--num=2", "--verbose=0"],
        avg_spectra.main: ["stats", "--source=pretrained:shapes-t", "--num=2"],
        legacy.main: ["--source=pretrained:shapes-t", "--dest=copy.pkl"],
        sheets.main: [],
    }.items():
        result = CliRunner().invoke(command, args)
        assert result.exit_code == 0, result.output
    assert {path.name for path in Path().iterdir()} == {"box", "out", "out.gif", "copy.pkl"}
    assert (box / "shapes-t.png").is_file() and (box / "faces.png").is_file()


@pytest.mark.parametrize("command", [gen_images.main, gen_video.main, calc_metrics.main])
def test_scripts_name_the_box_when_the_network_is_missing_or_unknown(command, box):
    options = {
        gen_images.main: ["--seeds=0", "--outdir=out"],
        gen_video.main: ["--seeds=0,1", "--output=out.gif"],
        calc_metrics.main: ["--metrics=eqt50k_int"],
    }[command]
    listed = "In the box: pretrained:faces, pretrained:shapes-t"
    assert listed in CliRunner().invoke(command, options).output
    result = CliRunner().invoke(command, [*options, "--network=pretrained:face"])
    assert result.exit_code == 1
    assert "Error: --network: pretrained:face: there is no such network; did you mean" in (
        result.output
    )
    assert result.output.endswith(f"{listed}\n")


def test_a_sheet_has_a_row_for_each_class():
    sheet = sheets.draw_sheet(stylegan2(c_dim=3))
    assert sheet.shape == (3 * sheets.SIDE, sheets.COLUMNS * sheets.SIDE, 3)
    assert sheets.draw_sheet(stylegan3()).shape[0] == sheets.ROWS * sheets.SIDE


def test_the_package_of_the_box_is_installed_with_all_its_files():
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (patterns,) = re.findall(r"^pretrained = (\[.*\])$", settings, re.MULTILINE)
    kinds = {path.suffix for path in pretrained.FOLDER.iterdir() if path.is_file()}
    assert kinds - {".py"} <= {pattern.removeprefix("*") for pattern in json.loads(patterns)}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"*.safetensors", "*.png", "*.md", "pretrained"} & set(ignored)
