"""`dataset_tool.py --inspect`: what it finds, draws and advises."""

import json
import os
import re
import shlex

import numpy as np
import PIL.Image
import pytest

import train
from data.conversion.inspection import CELL, make_sheet
from tests.data.conversion import formats
from tests.test_dataset_tool import run
from torch_utils import devices
from training.config import suggest_gamma


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_source(folder, files: dict) -> None:
    folder.mkdir()
    for name, pixels in files.items():
        data = pixels if isinstance(pixels, bytes) else formats.image_file(pixels)
        (folder / name).write_bytes(data)


def test_a_dataset_that_is_fit_for_training(tmp_path):
    run("--source=synthetic", "--dest=d.zip", "--resolution=16x16", "--max-images=1200")
    output = run("--inspect=d.zip")
    for text in [
        "Images:   1200 in d.zip", "16x16: 1200", "RGB (3 channels): 1200", "6 classes",
        "Problems: none", "Contact sheet: d.contact-sheet.png",
    ]:  # fmt: skip
        assert text in output
    assert "dataset_tool.py" not in output
    assert len(re.findall(r"^  \d +200  #{30}$", output, re.MULTILINE)) == 6
    sheet = PIL.Image.open("d.contact-sheet.png")
    assert sheet.size == (8 * CELL, 6 * CELL) and sheet.mode == "RGB"


def test_drawings_can_be_inspected_by_name(tmp_path):
    output = run("--inspect=synthetic:symbols", "--max-images=12")
    assert "Contact sheet: synthetic-symbols.contact-sheet.png" in output


@pytest.mark.parametrize(
    ("num_gpus", "said", "gpus"),
    [
        (0, "This machine has no GPU. To try training at 16x16 on it", [1, 1, 1, 1]),
        (1, "To train on it at 16x16 with one GPU", [1, 1, 1]),
        (8, "To train on it at 16x16 with the 8 GPUs of this machine", [8, 8, 8]),
    ],
)
def test_commands_are_for_this_machine(num_gpus, said, gpus, monkeypatch):
    monkeypatch.setattr(devices, "num_gpus", lambda: num_gpus)
    run("--source=synthetic", "--dest=d.zip", "--resolution=16x16", "--max-images=8")
    output = run("--inspect=d.zip")
    assert said in output
    commands = [line.strip() for line in output.splitlines() if "train.py" in line]
    for command in commands:  # are what train.py takes
        params = train.main.make_context("train", shlex.split(command)[2:]).params
        assert params["data"] == "d.zip" and params["cond"]
    assert [int(re.search(r"--gpus=(\d+)", command)[1]) for command in commands] == gpus
    assert ("--cbase=512" in commands[0]) == (num_gpus == 0)


def test_everything_that_may_be_wrong(tmp_path):
    square, wide = formats.random_pixels(16, 16, 3), formats.random_pixels(16, 20, 3, seed=1)
    make_source(tmp_path / "src", {
        "a.png": square, "b.png": square, "c.png": wide, "d.png": square[:, :, 0],
        "e.png": b"x", "f.png": formats.random_pixels(12, 12, 3),
        "dataset.json": json.dumps(
            {"labels": [["a.png", 0], ["c.png", 5]], "class_names": ["ant"]}
        ).encode(),
    })  # fmt: skip
    output = run("--inspect=src", "--dest=sheets.png", "--workers=2")
    for text in [
        "Images:   6 in src", "16x16: 3", "20x16: 1", "grey (1 channel): 1", "2 classes",
        "##  ant", "1 images cannot be used", "src/e.png cannot be read (not an image)",
        "3 different sizes", "1 images are not square", "some images are grey, others RGB",
        "3 images have no label", "4 class numbers below the largest do not occur",
        "1 images are exact copies", "fewer than 1000 images",
        "--source=src --dest=dataset.zip --transform=center-crop --resolution=16x16",
        " --on-error=skip",
    ]:  # fmt: skip
        assert text in output.replace("#" * 30, "##")
    assert PIL.Image.open("sheets.png").size == (5 * CELL, CELL)


def test_advice_for_other_sources(tmp_path):
    formats.mnist(tmp_path)
    output = run("--inspect=train-images-idx3-ubyte.gz", "--max-images=10")
    assert "Images:   10 in" in output and "grey (1 channel): 10" in output
    assert "dataset_tool.py --source=train-images-idx3-ubyte.gz --dest=dataset.zip" in output
    assert "at 32x32" in output


def test_vectors_and_nothing(tmp_path):
    make_source(tmp_path / "v", {"a.png": formats.random_pixels(8, 8, 3)})
    (tmp_path / "v/dataset.json").write_text('{"labels": [["a.png", [0.5, 1]]]}')
    assert "vectors of length 2" in run("--inspect=v")
    (tmp_path / "empty").mkdir()
    assert "There is no image in empty" in run("--inspect=empty")
    make_source(tmp_path / "bad", {"a.png": b"x"})
    assert "1 images cannot be used" in run("--inspect=bad")
    make_source(tmp_path / "tiny", {"a.png": formats.random_pixels(4, 4, 3)})
    assert "too small to train on" in run("--inspect=tiny")


def test_existing_files_are_kept(tmp_path):
    make_source(tmp_path / "src", {"a.png": formats.random_pixels(8, 8, 3)})
    (tmp_path / "x.png").write_text("precious")
    assert "exists already" in run("--inspect=src", "--dest=x.png", exit_code=1)
    assert "a .png file" in run("--inspect=src", "--dest=out.zip", exit_code=1)
    assert (tmp_path / "x.png").read_text() == "precious"
    assert "no such file" in run("--inspect=nothing", exit_code=1)


@pytest.mark.parametrize("where", [".", "deep", "photos-link"])
def test_the_sheet_never_lands_among_the_images(where, tmp_path, monkeypatch):
    make_source(tmp_path / "photos", {"a.png": formats.random_pixels(8, 8, 3)})
    (tmp_path / "photos/deep").mkdir()
    (tmp_path / "photos-link").symlink_to("photos")
    monkeypatch.chdir(tmp_path / "photos" / ("" if where == "photos-link" else where))
    source = {".": ".", "deep": "..", "photos-link": str(tmp_path / "photos-link")}[where]
    before = sorted(os.listdir(tmp_path / "photos"))
    output = run(f"--inspect={source}")
    assert sorted(os.listdir(tmp_path / "photos")) == before
    (sheet,) = tmp_path.glob("*.contact-sheet.png")
    assert f"Contact sheet: {sheet}" in output
    for dest in ("x.png", tmp_path / "photos/deep/x.png"):
        output = run(f"--inspect={source}", f"--dest={dest}", exit_code=1)
        assert "would become one of the images" in output
    assert sorted(os.listdir(tmp_path / "photos")) == before


@pytest.mark.parametrize("where", [".", "cats"])
def test_the_sheet_of_a_part_is_no_image_of_the_whole(where, tmp_path, monkeypatch):
    """Sheets land in the current folder, or beside it; both may be images of somebody else."""
    make_source(tmp_path / "all", {"a.png": formats.random_pixels(8, 8, 3)})
    make_source(tmp_path / "all/cats", {"b.png": formats.random_pixels(8, 8, 3)})
    monkeypatch.chdir(tmp_path / "all" / where)
    run(f"--inspect={'cats' if where == '.' else '.'}")
    assert (tmp_path / "all/cats.contact-sheet.png").exists()
    output = run(f"--source={tmp_path / 'all'}", f"--dest={tmp_path / 'o.zip'}")
    assert "Wrote 2 images" in output
    assert "1 hidden or left behind by other programs (cats.contact-sheet.png)" in output


@pytest.mark.parametrize("option", ["--source=src", "--resolution=8x8", "--on-error=skip"])
def test_options_of_conversion_are_refused(option):
    assert "--inspect converts nothing" in run("--inspect=src", option, exit_code=2)


def test_sheet_shows_images_in_their_cells():
    red, wide = PIL.Image.new("RGB", (CELL, CELL), "red"), PIL.Image.new("RGB", (CELL, 4), "blue")
    sheet = np.array(make_sheet([red, wide]))
    assert sheet.shape == (CELL, 2 * CELL, 3)
    assert (sheet[:, :CELL] == (255, 0, 0)).all()
    assert (sheet[CELL // 2, CELL:] == (0, 0, 255)).all() and (sheet[0, CELL:] == 32).all()
    assert make_sheet([]) is None


def test_gamma_is_what_the_papers_used():
    assert suggest_gamma("stylegan3-t", 256, 32) == pytest.approx(2, rel=0.03)
    assert suggest_gamma("stylegan3-r", 512, 32) == pytest.approx(8.2, rel=0.03)
    assert suggest_gamma("stylegan3-t", 1024, 32) == pytest.approx(32.8, rel=0.03)
    assert suggest_gamma("stylegan2", 1024, 32) == pytest.approx(6.55, rel=0.03)
