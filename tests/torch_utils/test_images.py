"""Conversion to 8 bits, grids and PNG files, against the reference where it has values."""

import numpy as np
import PIL.Image
import pytest
import torch

from tests import golden
from torch_utils import images


def test_to_uint8_matches_reference():
    case = golden.load("gen.npz")["image_to_uint8"]
    got = images.to_uint8(golden.tensor(case, "x"))
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got.numpy(), case.arrays["out"])


@pytest.mark.parametrize("name", golden.case_names("dataset.npz", "imgrid_"))
@pytest.mark.parametrize("as_tensor", [False, True], ids=["array", "tensor"])
def test_save_image_grid_matches_reference(name, as_tensor, tmp_path):
    case = golden.load("dataset.npz")[name]
    img = golden.tensor(case, "img") if as_tensor else case.arrays["img"]
    images.save_image_grid(img, tmp_path / "x.png", case.meta["drange"], case.meta["grid_size"])
    with PIL.Image.open(tmp_path / "x.png") as png:
        assert png.mode == case.meta["png_mode"]
        np.testing.assert_array_equal(np.asarray(png), case.arrays["png"])


def test_make_grid_goes_row_by_row_for_arrays_and_tensors():
    img = np.arange(6 * 2 * 3 * 4).reshape(6, 2, 3, 4)
    rows = [np.concatenate(list(img[i : i + 3]), axis=2) for i in (0, 3)]
    expected = np.concatenate(rows, axis=1)
    np.testing.assert_array_equal(images.make_grid(img, (3, 2)), expected)
    got = images.make_grid(torch.from_numpy(img), (3, 2))
    np.testing.assert_array_equal(got.numpy(), expected)


def test_make_grid_refuses_images_that_do_not_fill_it():
    with pytest.raises(ValueError, match=r"a grid of 2x2 takes \[4, C, H, W\].*got \[3, 1, 2, 2\]"):
        images.make_grid(torch.zeros(3, 1, 2, 2), (2, 2))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_save_png_keeps_pixels(channels, mode, tmp_path):
    img = torch.randint(256, [channels, 5, 7], dtype=torch.uint8)
    images.save_png(img, tmp_path / "x.png")
    with PIL.Image.open(tmp_path / "x.png") as png:
        assert png.mode == mode
        got = np.asarray(png).reshape(5, 7, channels)
    np.testing.assert_array_equal(got, img.permute(1, 2, 0).numpy())
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("img", "message"),
    [
        (torch.zeros([2, 4, 4], dtype=torch.uint8), "channels, got 2"),
        (torch.zeros([3, 4, 4]), "expected uint8"),
        (torch.zeros([4, 4], dtype=torch.uint8), r"\[C, H, W\], got uint8 \[4, 4\]"),
    ],
)
def test_save_png_refuses_what_is_no_image(img, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        images.save_png(img, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
