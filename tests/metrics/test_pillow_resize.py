"""Resizing in two matrix products beside Pillow itself."""

import numpy as np
import PIL.Image
import pytest
import torch

from metrics import pillow_resize


def by_pillow(img: np.ndarray, size: int) -> np.ndarray:
    """Resize `[N, C, H, W]` with Pillow, each channel as a picture of floats."""

    def one(channel: np.ndarray) -> np.ndarray:
        picture = PIL.Image.fromarray(channel.astype(np.float32))
        assert picture.mode == "F"
        return np.asarray(picture.resize((size, size), PIL.Image.Resampling.BICUBIC))

    return np.stack([[one(channel) for channel in channels] for channels in img])


@pytest.mark.parametrize("size", [299, 224, 37, 1])
@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (64, 65), (299, 299), (512, 300), (1, 7), (1024, 1023)]
)
def test_pictures_are_those_of_pillow(height, width, size):
    rng = np.random.default_rng(0)
    img = rng.integers(0, 2, [2, 3, height, width]).astype(np.uint8) * 255  # overshoots most
    img[1] = rng.integers(0, 256, img[1].shape)
    got = pillow_resize.resize(torch.from_numpy(img), size)
    assert got.dtype == torch.float32 and got.shape == (2, 3, size, size)
    np.testing.assert_allclose(got.numpy(), by_pillow(img, size), rtol=0, atol=2e-4)


def test_pictures_of_the_same_size_stay_as_they_are():
    img = torch.from_numpy(np.random.default_rng(0).integers(0, 256, [1, 3, 299, 299], np.uint8))
    assert torch.equal(pillow_resize.resize(img, 299), img.float())


def test_memory_formats_and_empty_batches():
    img = torch.from_numpy(np.random.default_rng(0).integers(0, 256, [2, 3, 8, 9], np.uint8))
    expected = pillow_resize.resize(img, 5)
    channels_last = img.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(pillow_resize.resize(channels_last, 5), expected, rtol=0, atol=1e-4)
    assert pillow_resize.resize(img[:0], 5).shape == (0, 3, 5, 5)
