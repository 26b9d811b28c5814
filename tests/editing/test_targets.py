"""Pictures to project."""

import numpy as np
import PIL.Image
import pytest

from data.conversion.background import parse_colour
from data.conversion.decode import DecodeOptions
from dnnlib.errors import InputError
from editing import targets
from tests.small_networks import stylegan2

PIXELS = np.random.RandomState(0).randint(0, 256, [16, 16, 3], dtype=np.uint8)


def save(path, pixels=PIXELS, **kwargs):
    PIL.Image.fromarray(pixels).save(path, **kwargs)
    return path


def test_a_picture_that_fits_is_unchanged(tmp_path):
    found = targets.read(save(tmp_path / "me.png"), stylegan2())
    np.testing.assert_array_equal(found.pixels, PIXELS.transpose(2, 0, 1))
    assert (found.name, found.changes) == ("me", ())
    img = found.image()
    assert img.min() >= -1 and img.max() <= 1
    np.testing.assert_allclose((img + 1) * 127.5, found.pixels, atol=1e-4)


def test_crops_sizes_colours_and_orientation_are_heeded_and_said(tmp_path):
    wide = np.zeros([32, 64, 3], np.uint8)
    wide[:, 16:48] = 200
    found = targets.read(save(tmp_path / "w.png", wide), stylegan2())
    assert (found.pixels == 200).all() and found.changes == (
        "64x32 cropped to a square",
        "resized to 16x16",
    )
    stretched = targets.read(tmp_path / "w.png", stylegan2(), crops=False)
    assert stretched.pixels.min() == 0 and stretched.changes[0] == "64x32 stretched to a square"
    grey = targets.read(tmp_path / "w.png", stylegan2(img_channels=1))
    assert grey.pixels.shape == (1, 16, 16) and grey.changes[0] == "RGB made L"
    exif = PIL.Image.Exif()
    exif[274] = 3  # turned by 180 degrees
    turned = targets.read(save(tmp_path / "t.png", exif=exif), stylegan2())
    np.testing.assert_array_equal(turned.pixels, PIXELS[::-1, ::-1].transpose(2, 0, 1))


def test_transparent_pictures_need_a_background(tmp_path):
    rgba = np.dstack([PIXELS, np.full([16, 16], 0, np.uint8)])
    path = save(tmp_path / "a.png", rgba)
    with pytest.raises(InputError, match=r"a.png is partly transparent; --background=white") as e:
        targets.read(path, stylegan2())
    assert "--on-error" not in str(e.value)
    options = DecodeOptions(background=parse_colour("white"))
    assert (targets.read(path, stylegan2(), options=options).pixels == 255).all()


def test_a_folder_lists_its_pictures(tmp_path):
    for name in ("b.png", "a.jpg"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "._a.jpg").touch()  # macOS leaves such files behind
    paths, num_others = targets.find(tmp_path)
    assert ([path.name for path in paths], num_others) == (["a.jpg", "b.png"], 1)
    save(tmp_path / "a.png")
    with pytest.raises(InputError, match="several pictures that are called a; rename them"):
        targets.find(tmp_path)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "x.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"x.png "):
        targets.read(tmp_path / "x.png", stylegan2())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty has no pictures"):
        targets.find(tmp_path / "empty")
