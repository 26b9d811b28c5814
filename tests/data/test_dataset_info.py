"""dataset-info.json: how a dataset was made, and a digest of its pixels."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import dataset_tool
from data import dataset_info, fingerprint
from data.dataset import ImageFolderDataset
from data.dataset_info import PixelDigest, digest_of

FILTERS = ("lanczos", "box", "bicubic", "hamming")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Four noisy images of 24x20."""
    folder = tmp_path_factory.mktemp("photos")
    for idx in range(4):
        pixels = np.random.RandomState(idx).randint(256, size=[20, 24, 3], dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{idx}.png")
    return folder


def tool(*options, exit_code: int = 0) -> str:
    result = CliRunner().invoke(dataset_tool.main, list(map(str, options)))
    assert result.exit_code == exit_code, result.output
    return result.output


def convert(source: Path, dest: Path, *options: str) -> Path:
    fit = ["--resolution=8x8", "--transform=center-crop"]
    tool(f"--source={source}", f"--dest={dest}", *fit, *options)
    return dest


def info_of(path: Path) -> dataset_info.DatasetInfo:
    found = dataset_info.find(path)
    assert isinstance(found, dataset_info.DatasetInfo)
    return found


@pytest.mark.parametrize("name", FILTERS)
def test_filters_are_those_of_pillow_and_are_recorded(name, photos, tmp_path):
    path = convert(photos, tmp_path / "x.zip", f"--resize-filter={name}", "--max-images=3")
    dataset = ImageFolderDataset(path)
    pixels = PixelDigest()
    for idx in range(3):
        image = PIL.Image.open(photos / f"{idx}.png").crop((2, 0, 22, 20))
        expected = np.array(image.resize((8, 8), PIL.Image.Resampling[name.upper()]))
        np.testing.assert_array_equal(dataset[idx][0].transpose(1, 2, 0), expected)
        pixels.add(digest_of(expected))
    assert info_of(path) == dataset_info.DatasetInfo(
        pixels=pixels.text(),
        images=fingerprint.short(dataset.fingerprint()),
        num_images=3,
        num_source=3,
        size=[8, 8],
        colours="RGB",
        transform="center-crop",
        resolution=[8, 8],
        resize_filter=name,
        versions=dataset_info.versions(),
    )


def test_lanczos_is_the_default_and_filters_differ(photos, tmp_path):
    default = info_of(convert(photos, tmp_path / "default.zip"))
    others = [
        info_of(convert(photos, tmp_path / f"{name}.zip", f"--resize-filter={name}"))
        for name in FILTERS
    ]
    assert default == others[0]
    assert len({info.pixels for info in others}) == 4


def test_digest_of_pixels_knows_neither_compression_nor_names(photos, tmp_path):
    plain = convert(photos, tmp_path / "plain.zip")
    folder = convert(photos, tmp_path / "folder")
    squeezed = tmp_path / "squeezed.zip"
    with zipfile.ZipFile(plain) as a, zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as b:
        for name in a.namelist():
            b.writestr(name, a.read(name))
    known = {ImageFolderDataset(path).fingerprint()["pixels"] for path in (plain, folder, squeezed)}
    assert known == {info_of(plain).pixels}
    again = tmp_path / "again"
    again.mkdir()
    for idx, path in enumerate(sorted(folder.rglob("*.png"))):
        PIL.Image.open(path).save(again / f"n{idx}.png", optimize=True)
    assert "pixels" not in ImageFolderDataset(again).fingerprint()
    tool(f"--source={again}", f"--dest={tmp_path / 'copy.zip'}")
    copy = info_of(tmp_path / "copy.zip")
    assert copy.pixels == info_of(plain).pixels and copy.resize_filter is None


def test_the_file_is_no_image_and_is_not_counted_as_left_out(photos, tmp_path):
    for path in (convert(photos, tmp_path / "x.zip"), convert(photos, tmp_path / "x")):
        dataset = ImageFolderDataset(path)
        assert len(dataset) == 4 and dataset.left_out is None
        assert "Left out" not in tool(f"--source={path}", f"--dest={path}-copy.zip")


def test_digest_is_not_that_of_changed_files(photos, tmp_path):
    path = convert(photos, tmp_path / "x")
    assert fingerprint.pixels(ImageFolderDataset(path).fingerprint()) == info_of(path).pixels[:12]
    image = next(path.rglob("*.png"))
    PIL.Image.new("RGB", (8, 8)).save(image)
    assert fingerprint.pixels(ImageFolderDataset(path).fingerprint()) is None
    problem = f"  - dataset-info.json is about other pixels ({info_of(path).pixels[:12]}): images"
    assert problem in tool(f"--inspect={path}", f"--dest={tmp_path / 's.png'}")


def test_inspection_shows_how_a_dataset_was_made(photos, tmp_path):
    broken = shutil.copytree(photos, tmp_path / "broken")
    (broken / "9.png").write_bytes(b"x")
    path = convert(broken, tmp_path / "x.zip", "--resize-filter=box", "--on-error=skip")
    output = tool(f"--inspect={path}", f"--dest={tmp_path / 's.png'}")
    assert "Made of:  4 of 5 images of a source, center-crop, box to 8x8, 8x8 RGB (" in output
    assert f"\nPixels:   {info_of(path).pixels[:12]}\n" in output
    assert "about other pixels" not in output
    output = tool(f"--inspect={photos}", f"--dest={tmp_path / 't.png'}")
    assert "Made of:" not in output and "Pixels:   " in output


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (None, "Expecting value"),
        ({"version": 2}, "its version is not 1"),
        ({"pixels": 3}, "its pixels makes no sense"),
        ({"pixels": "\x1b[2J"}, "its pixels makes no sense"),
        ({"size": [8]}, "its size makes no sense"),
        ({"versions": None}, "its versions makes no sense"),
    ],
)
def test_damaged_files_are_ignored_by_readers_and_named_by_inspection(
    changes, reason, photos, tmp_path
):
    path = convert(photos, tmp_path / "x")
    file = path / dataset_info.FILE_NAME
    text = "" if changes is None else json.dumps({**json.loads(file.read_text()), **changes})
    file.write_text(text)
    assert fingerprint.pixels(ImageFolderDataset(path).fingerprint()) is None
    output = tool(f"--inspect={path}", f"--dest={tmp_path / 's.png'}")
    assert f"  - dataset-info.json cannot be used: {reason}" in output
    assert "\x1b" not in output


@pytest.mark.parametrize(
    "options",
    [["--source=x"], ["--source=synthetic", "--resolution=8x8"], ["--inspect=x"]],
    ids=["no resolution", "synthetic", "inspect"],
)
def test_filter_is_refused_where_nothing_is_resized(options, photos, tmp_path):
    if options[0] != "--inspect=x":
        options = [*options, f"--dest={tmp_path / 'o.zip'}"]
    options = [option.replace("=x", f"={photos}") for option in options]
    assert "--resize-filter: " in tool(*options, "--resize-filter=box", exit_code=2)
