"""Feature spaces of projections."""

import numpy as np
import pytest
import torch

from dnnlib.errors import InputError, MachineError
from editing import features
from metrics import detectors
from tests.metrics.stand_ins import save_detectors
from tests.small_networks import stylegan2
from training.networks_stylegan2 import Discriminator

CPU = torch.device("cpu")
IMAGES = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, [3, 3, 16, 16])).float()


def discriminator(architecture: str = "resnet") -> torch.nn.Module:
    return Discriminator(0, 16, 3, architecture=architecture, channel_base=64, channel_max=8)


def test_distance_of_pixels_is_the_mean_squared_error():
    target = features.pixels(IMAGES[:1])
    expected = (IMAGES - IMAGES[:1]).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(features.distance(features.pixels, IMAGES, target), expected)


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_features_of_a_discriminator_have_length_one_at_each_pixel(architecture):
    D = discriminator(architecture)
    found = features.of_discriminator(D)(IMAGES)
    num_pixels = IMAGES[0].numel()
    torch.testing.assert_close(found[:, :num_pixels], features.pixels(IMAGES))
    blocks = found[:, num_pixels:].square().sum(dim=1)
    expected = torch.full([3], float(len(D.block_resolutions)))
    torch.testing.assert_close(blocks, expected, rtol=1e-3, atol=0)
    x, _ = D.b16(None, IMAGES)
    x = x / x.norm(dim=1, keepdim=True) / 8  # 8x8 pixels
    torch.testing.assert_close(
        found[:, num_pixels : num_pixels + x[0].numel()], x.flatten(1), rtol=1e-3, atol=1e-5
    )


def test_psnr_is_that_of_numpy():
    a, b = IMAGES[:1] * 1.5, IMAGES[1:2]
    error = np.mean((a.clamp(-1, 1).numpy() - b.numpy()) ** 2)
    assert features.psnr(a, b).item() == pytest.approx(10 * np.log10(4 / error), rel=1e-5)


@pytest.fixture
def no_vgg16(monkeypatch):
    def fail(*args):
        raise MachineError("the feature network 'vgg16' is missing: fetch it; or do not")

    monkeypatch.setattr(detectors, "load", fail)


@pytest.mark.parametrize(
    ("kind", "has_d", "expected"),
    [("auto", True, "D"), ("auto", False, "pixels"), ("D", True, "D")],
)
def test_without_vgg16_the_next_features_are_taken_and_said(no_vgg16, kind, has_d, expected):
    data = dict(G_ema=stylegan2(), D=discriminator() if has_d else None)
    found = features.choose(kind, data, CPU)
    assert found.kind == expected
    is_said = "(no VGG16: the feature network 'vgg16' is missing)" in found.sentence
    assert is_said == (kind == "auto")


def test_missing_features_are_refused_if_they_were_asked_for(no_vgg16):
    data = dict(G_ema=stylegan2(), D=None)
    with pytest.raises(MachineError, match="'vgg16' is missing"):
        features.choose("vgg16", data, CPU)
    with pytest.raises(InputError, match="--features=D: the file has no discriminator"):
        features.choose("D", data, CPU)


def test_vgg16_sees_levels_of_images(tmp_path):
    path = save_detectors(tmp_path)["vgg16"]
    data = dict(G_ema=stylegan2(), D=None)
    found = features.choose("auto", data, CPU, {"vgg16": str(path)}, allow_untrusted=True)
    assert found.kind == "vgg16"
    vgg16 = torch.jit.load(str(path))
    expected = vgg16((IMAGES + 1) * 127.5, resize_images=False, return_lpips=True)
    torch.testing.assert_close(found.compute(IMAGES), expected)
