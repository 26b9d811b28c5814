"""Features of a middle layer lie where the image has their content."""

import numpy as np
import pytest
import torch

from benchmarks.networks import build_generator
from dnnlib.errors import InputError
from editing import dragging, middle_features
from editing.middle_features import MiddleFeatures
from tests.small_networks import stylegan2, stylegan3
from torch_utils import latents

KINDS = {
    "sg2": lambda **kwargs: stylegan2(**kwargs),
    "t": lambda **kwargs: stylegan3(**kwargs),
    "r": lambda **kwargs: stylegan3(conv_kernel=1, use_radial_filters=True, **kwargs),
}


def network(kind: str, seed: int = 1, **kwargs) -> torch.nn.Module:
    torch.manual_seed(seed)
    return KINDS[kind](**kwargs)


def styles(G: torch.nn.Module, seed: int = 3) -> torch.Tensor:
    with torch.no_grad():
        return G.mapping(latents.z_from_seed(seed, G.z_dim).float(), torch.zeros([1, 0]))


def interpolate_slowly(x: np.ndarray, left: float, top: float) -> np.ndarray:
    """Bilinear interpolation of `[C, H, W]`; pixel centres are at half integers."""
    total = np.zeros(len(x))
    col, row = int(np.floor(left - 0.5)), int(np.floor(top - 0.5))
    for i in (row, row + 1):
        for j in (col, col + 1):
            weight = (1 - abs(top - 0.5 - i)) * (1 - abs(left - 0.5 - j))
            total += weight * x[:, np.clip(i, 0, x.shape[1] - 1), np.clip(j, 0, x.shape[2] - 1)]
    return total


def features_with_margins() -> MiddleFeatures:
    """An image of 32 pixels is 8 wide in features of 14x12, which are otherwise margins."""
    x = torch.from_numpy(np.random.RandomState(0).randn(1, 5, 12, 14)).float()
    return MiddleFeatures(x, content_width=8, img_resolution=32)


def test_features_are_interpolated_with_margins():
    features = features_with_margins()
    points = [(0.0, 0.0), (16.0, 16.0), (3.3, 30.1), (32.0, 7.0), (-40.0, 99.0)]
    found = features.at(torch.tensor(points).view(5, 1, 2))
    assert found.shape == (5, 1, 5)
    for (x, y), value in zip(points, found[:, 0].numpy(), strict=True):
        expected = interpolate_slowly(features.x[0].numpy(), x / 4 + 3, y / 4 + 2)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def test_pixel_centres_are_where_the_pixels_are_found():
    features = features_with_margins()
    centres = features.pixel_centres()
    assert centres.shape == (12, 14, 2)
    torch.testing.assert_close(features.at(centres), features.x[0].permute(1, 2, 0))
    torch.testing.assert_close(centres[2, 3], torch.tensor([2.0, 2.0]))  # first pixel of the image


@pytest.mark.parametrize(
    ("cfg", "resolution", "layer"),
    [
        ("stylegan2", 32, "b32"),
        ("stylegan2", 512, "b128"),
        ("stylegan3-t", 32, "L12_52_8"),
        ("stylegan3-r", 256, "L9_148_16"),
    ],
)
def test_the_layer_samples_as_finely_as_the_image_but_not_above_128(cfg, resolution, layer):
    G = build_generator(cfg, resolution, cbase=1024, cmax=8)
    assert middle_features.choose_layer(G) == layer


def test_other_networks_are_refused():
    G = network("t")
    del G.synthesis.layer_names
    with pytest.raises(InputError, match="neither the blocks of StyleGAN2 nor the layers"):
        middle_features.choose_layer(G)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("sg2", "b8.conv1"),
        ("sg2", "b16.conv1"),
        ("t", "L0_36_8"),
        ("t", "L2_36_4"),
        ("r", "L2_36_4"),
    ],
)
@torch.no_grad()
def test_a_change_of_the_features_changes_the_image_at_their_position(kind, layer):
    G = network(kind)
    ws = styles(G)
    centres = middle_features.compute(G, layer, ws).pixel_centres()
    before = G.synthesis(ws, noise_mode="const")
    for aim in ((5, 9), (11, 6)):
        nearest = int((centres - torch.tensor(aim)).norm(dim=2).argmin())
        row, col = divmod(nearest, centres.shape[1])
        change = torch.zeros(centres.shape[:2])
        change[row, col] = 0.01
        handle = G.synthesis.get_submodule(layer).register_forward_hook(
            lambda module, args, output, change=change: output + change
        )
        after = G.synthesis(ws, noise_mode="const")
        handle.remove()
        weight = (after - before)[0].square().sum(dim=0)
        weight = weight / weight.sum()
        axis = torch.arange(16) + 0.5
        centroid = torch.stack([(weight.sum(dim=0) * axis).sum(), (weight.sum(dim=1) * axis).sum()])
        assert (centroid - centres[row, col]).norm() < 0.5


@pytest.mark.parametrize(
    ("kind", "translate", "angle"),
    [("t", (3, -2), 0), ("t", (-1, 3), 0), ("r", (2, 3), 0), ("r", (0, 0), 90), ("r", (0, 0), 180)],
)
def test_tracked_points_follow_a_transform_of_the_content(kind, translate, angle):
    G = network(kind)
    layer, ws = middle_features.choose_layer(G), styles(G)
    matrix = latents.make_transform(tuple(t / 16 for t in translate), angle)
    inverse = torch.from_numpy(np.linalg.inv(matrix)).float()
    with torch.no_grad():
        start = middle_features.compute(G, layer, ws)
        moved = middle_features.compute(G, layer, ws, overrides={"input.transform": inverse})
    points = torch.tensor([[6.0, 7.5], [8.5, 9.0]])
    centred = torch.cat([points / 16 - 0.5, torch.ones([2, 1])], dim=1)
    expected = ((centred @ torch.from_numpy(matrix).float().t())[:, :2] + 0.5) * 16
    # Searched around the expected position, but further than any other test of tracking.
    found = dragging.track(moved, start.at(points), expected, dragging.square(4))
    assert (found - expected).norm(dim=1).max() <= 0.5


def test_the_synthesis_ends_at_the_layer_and_stays_as_it_was():
    G = network("sg2")
    before = dict(G.synthesis.named_parameters())
    G.synthesis.b16.register_forward_pre_hook(lambda module, args: pytest.fail("ran too far"))
    overrides = {name: p.detach() for name, p in before.items()}
    features = middle_features.compute(G, "b8", styles(G), overrides=overrides)
    assert features.x.shape == (1, 8, 8, 8) and features.content_width == 8
    assert all(p is before[name] for name, p in G.synthesis.named_parameters())
    assert not G.synthesis.b8._forward_hooks
