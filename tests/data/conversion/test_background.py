"""`dataset_tool.py --background`: transparent pictures are put on one colour."""

import io
import shutil
from collections import Counter

import numpy as np
import PIL.Image
import pytest

from data.conversion import background
from data.decoding import Picture, decode
from tests.data.conversion import zoo
from tests.test_dataset_tool import read_archive, run

TRANSPARENT = {
    animal.name: animal
    for animal in zoo.animals()
    if getattr(animal.expected, "shape", ())[2:] == (4,)
    or (isinstance(animal.expected, str) and "transparent" in animal.expected)
}


def on_colour(image: PIL.Image.Image, rgb: tuple[int, int, int]) -> np.ndarray:
    """An image on a colour as Pillow composes them, `[H, W, 3]`."""
    behind = PIL.Image.new("RGBA", image.size, (*rgb, 255))
    return np.array(PIL.Image.alpha_composite(behind, image.convert("RGBA")).convert("RGB"))


def test_every_colour_and_alpha_is_blended_as_pillow_does():
    values = np.arange(256, dtype=np.uint8)
    colour, alpha = np.meshgrid(values, values, indexing="ij")
    pixels = np.dstack([colour, colour[::-1], alpha.T, alpha])
    for name in ("white", "black", "#7f3a01"):
        put = background.put_on(Picture(pixels), background.parse_colour(name), Counter())
        expected = on_colour(PIL.Image.fromarray(pixels), background.parse_colour(name).rgb)
        np.testing.assert_array_equal(put.pixels, expected)


@pytest.mark.parametrize("colour", ["white", "#102030"])
@pytest.mark.parametrize("name", TRANSPARENT, ids=ascii)
def test_every_kind_of_transparency_is_put_on_the_colour(name, colour, tmp_path):
    animal = TRANSPARENT[name]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / animal.name).write_bytes(animal.data)
    dest = tmp_path / "out.zip"
    output = run(f"--source={tmp_path / 'set'}", f"--dest={dest}", f"--background={colour}")
    assert f"1 partly transparent, put on {colour}" in output and "Note:" not in output
    picture = decode(animal.data)
    expected = on_colour(picture.image, background.parse_colour(colour).rgb)
    (pixels,) = read_archive(dest).values()
    if picture.mode == "LA" and colour == "white":
        assert pixels.shape == expected.shape[:2] and "grey" in output
        expected = expected[:, :, 0]
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("transform", [None, "center-crop", "center-crop-wide"])
def test_the_picture_is_blended_before_it_is_cropped_and_resized(transform, tmp_path):
    """Otherwise the colours of invisible pixels would show at edges."""
    (tmp_path / "clear").mkdir()
    (tmp_path / "blended").mkdir()
    pixels = np.random.RandomState(0).randint(256, size=[48, 64, 4], dtype=np.uint8)
    pixels[:, :, 3] = np.where(pixels[:, :, 3] > 128, 255, 0)
    image = PIL.Image.fromarray(pixels)
    image.save(tmp_path / "clear/a.png")
    PIL.Image.fromarray(on_colour(image, (255, 255, 255))).save(tmp_path / "blended/a.png")
    options = ["--resolution=16x12" if transform == "center-crop-wide" else "--resolution=16x16"]
    options += [f"--transform={transform}"] if transform else []
    for name in ("clear", "blended"):
        more = ["--background=white"] if name == "clear" else []
        run(f"--source={tmp_path / name}", f"--dest={tmp_path / name}.zip", *options, *more)
    clear, blended = (read_archive(tmp_path / f"{name}.zip") for name in ("clear", "blended"))
    ((name, found),) = clear.items()
    np.testing.assert_array_equal(found, blended[name])
    if transform == "center-crop-wide":
        assert not found[:2].any() and not found[-2:].any(), "the bars stay black"


def test_the_report_counts_what_was_put_on_the_background(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for i, alpha in enumerate([0, 127, 255]):
        PIL.Image.new("RGBA", (16, 16), (9, 8, 7, alpha)).save(folder / f"{i}.png")
    args = [f"--source={folder}", f"--dest={tmp_path / 'a.zip'}", "--background=skyblue"]
    output = run(*args)
    assert "2 partly transparent, put on skyblue; 1 with an opaque alpha channel" in output
    assert read_archive(tmp_path / "a.zip")["00000/img00000000.png"][0, 0].tolist() == [
        135, 206, 235,
    ]  # fmt: skip
    again = run(
        f"--source={tmp_path / 'a.zip'}", f"--dest={tmp_path / 'b.zip'}", "--background=red"
    )
    assert "Note: --background=red has changed nothing: no image is transparent." in again


def test_without_the_option_the_message_names_it(tmp_path):
    (tmp_path / "set").mkdir()
    PIL.Image.new("RGBA", (16, 16), (9, 8, 7, 6)).save(tmp_path / "set/a.png")
    PIL.Image.new("RGB", (16, 16)).save(tmp_path / "set/b.png")
    args = [f"--source={tmp_path / 'set'}", f"--dest={tmp_path / 'a.zip'}"]
    assert "a.png is partly transparent; --background=white" in run(*args, exit_code=1)
    report = run(f"--inspect={tmp_path / 'set'}", f"--dest={tmp_path / 'sheet.png'}")
    assert "1 of them are partly transparent: dataset_tool.py --background=white" in report
    (command,) = [line for line in report.splitlines() if "--dest=dataset.zip" in line]
    assert "--background=white" in command and "--on-error=skip" not in command


@pytest.mark.parametrize(
    ("colour", "message"),
    [
        ("whit", "did you mean white?"),
        ("255,255,255", "is no colour like white"),
        ("", "is no colour like white"),
        ("#ffffff80", "leave out the fourth number"),
    ],
)
def test_unknown_and_transparent_colours_are_refused(colour, message, tmp_path):
    args = [f"--source={tmp_path}", f"--dest={tmp_path / 'a.zip'}", f"--background={colour}"]
    output = run(*args, exit_code=2)
    assert "'--background'" in output and message in output


@pytest.mark.parametrize(
    "source", ["synthetic", "cifar-10-python.tar.gz", "train-images-idx3-ubyte.gz"]
)
def test_sources_that_are_never_transparent_refuse_a_background(source, tmp_path):
    args = [f"--source={source}", f"--dest={tmp_path / 'a.zip'}", "--background=white"]
    assert "are never transparent; leave it out" in run(*args, exit_code=1)


def test_a_zip_is_put_on_the_background_by_several_processes_as_by_one(tmp_path):
    (tmp_path / "set").mkdir()
    file = io.BytesIO()
    PIL.Image.fromarray(np.dstack([zoo.RGB, zoo.ALPHA])).save(file, "png")
    for i in range(130):
        (tmp_path / f"set/{i}.png").write_bytes(file.getvalue())
    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "set")
    for workers in (1, 2):
        run(
            f"--source={tmp_path / 'set.zip'}",
            f"--dest={tmp_path / str(workers)}.zip",
            "--background=white",
            f"--workers={workers}",
        )
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
