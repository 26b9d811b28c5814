"""Conversion, inspection and training see the same picture in every file, or none in all three."""

import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import dataset_tool
from data.dataset import ImageFolderDataset
from tests.data.conversion import zoo
from tests.data.conversion.zoo import Animal
from tests.test_dataset_tool import read_archive

ANIMALS = {animal.name: animal for animal in zoo.animals()}
IMAGES = {name: animal for name, animal in ANIMALS.items() if animal.expected is not None}


def test_the_zoo_is_large():
    assert len(ANIMALS) == len(zoo.animals()) >= 60


def convert(source: Path) -> tuple[np.ndarray | None, str]:
    """The pixels, and what is said."""
    dest = source.parent / "converted.zip"
    dest.unlink(missing_ok=True)
    output = _run(f"--source={source}", f"--dest={dest}")
    if not dest.exists():
        assert output.count("\n") == 1
        return None, output
    (pixels,) = read_archive(dest).values()
    return pixels, output


def inspect(source: Path) -> tuple[np.ndarray | None, str]:
    """The picture on the contact sheet, and what is said."""
    dest = source.parent / "sheet.png"
    dest.unlink(missing_ok=True)
    output = _run(f"--inspect={source}", f"--dest={dest}")
    if not dest.exists():
        return None, output
    sheet = np.array(PIL.Image.open(dest))
    factor = len(sheet) // zoo.SIZE
    return sheet[::factor, ::factor], output


def train(source: Path) -> tuple[np.ndarray | None, str]:
    """The first item of the dataset, and what is said."""
    try:
        dataset = ImageFolderDataset(source)
        found = dataset.check_images()
    except OSError as error:
        return None, str(error)
    image = dataset[0][0].transpose(1, 2, 0)
    said = "; ".join(f"{num} {what}" for what, num in found.items())
    return image[:, :, 0] if image.shape[2] == 1 else image, f"{said} | {dataset.left_out}"


def judge(source: Path) -> list[str]:
    """What each of the three makes of a source, in a word or two."""
    verdicts = []
    for read in (convert, inspect, train):
        pixels, said = read(source)
        shape = "" if pixels is None else "x".join(map(str, pixels.shape))
        reason = "left out" if "eft out: 1" in said else "refused"
        verdicts.append(f"{shape} mean {pixels.mean():.1f}" if shape else reason)
    return verdicts


def write(animal: Animal, kind: str, folder: Path) -> Path:
    """A folder, or a ZIP, with one file."""
    path = folder / "set" / animal.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.write_bytes(animal.data)
        return folder / "set"
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(animal.name, animal.data)
    return path


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("name", IMAGES, ids=ascii)
def test_all_three_agree(name, kind, tmp_path):
    animal = IMAGES[name]
    source = write(animal, kind, tmp_path)
    (converted, said), (shown, reported), (trained, noted) = (
        convert(source), inspect(source), train(source),
    )  # fmt: skip
    for text in (said, reported, noted):
        assert "\x1b" not in text

    if isinstance(animal.expected, str):
        assert converted is None and animal.expected in said
        assert shown is None and animal.expected in reported
        if "transparent" in animal.expected:  # grey with alpha: nothing trains on it
            assert trained.shape[2] == 2
        else:
            assert trained is None and animal.expected in noted
        return
    is_transparent = animal.expected.shape[2:] == (4,)
    assert_close(trained, animal.expected, animal.tolerance)
    if is_transparent:
        assert converted is None and "is partly transparent" in said
        assert shown is None and "is partly transparent" in reported
        return
    assert_close(converted, animal.expected, animal.tolerance)
    expected = animal.expected
    on_sheet = np.dstack([expected] * 3) if expected.ndim == 2 else expected
    assert_close(shown, on_sheet, animal.tolerance)
    for text in (said, reported, noted):
        assert animal.noted in text
    if not animal.noted:
        assert "Noted" not in said and "Noted" not in reported and noted == " | None"


def assert_close(pixels: np.ndarray, expected: np.ndarray, tolerance: int) -> None:
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_is_no_image_is_counted_once_by_all(kind, tmp_path):
    others = [animal for animal in ANIMALS.values() if animal.expected is None]
    source = tmp_path / "set"
    for animal in (*others, Animal("a/image.png", zoo.png(zoo.RGB, 8, 2), zoo.RGB)):
        (source / animal.name).parent.mkdir(parents=True, exist_ok=True)
        (source / animal.name).write_bytes(animal.data)
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in source.rglob("*"):
                if path.is_file():
                    archive.write(path, path.relative_to(source).as_posix())
        source = tmp_path / "set.zip"
    for read in (convert, inspect, train):
        pixels, said = read(source)
        np.testing.assert_array_equal(pixels, zoo.RGB)
        for text in ("1 .mp4", "1 .dng", "of other kinds", "8 hidden or left behind"):
            assert text in said


def _run(*args: str) -> str:
    result = CliRunner().invoke(dataset_tool.main, args)
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    return result.output
