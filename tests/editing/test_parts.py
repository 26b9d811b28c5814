"""What a projection changes besides the style."""

import numpy as np
import pytest
import torch

from editing import parts
from editing.parts import Placement
from tests.small_networks import stylegan2, stylegan3
from torch_utils import latents

ROTATION = dict(conv_kernel=1, use_radial_filters=True)


def test_placement_is_the_transform_of_the_scripts_and_its_inverse():
    placement = Placement(can_turn=True, angle=37, device=torch.device("cpu"))
    with torch.no_grad():
        placement.translate.copy_(torch.tensor([0.1, -0.25]))
    expected = latents.make_transform((0.1, -0.25), 37)
    np.testing.assert_allclose(placement.matrix(), expected, atol=1e-6)
    inverse = placement.inverse()
    np.testing.assert_allclose(inverse.detach().numpy(), np.linalg.inv(expected), atol=1e-6)
    inverse.sum().backward()
    assert placement.turn.grad is not None and (placement.translate.grad != 0).all()


@pytest.mark.parametrize(
    ("G", "can_move", "can_turn", "num_noise"),
    [
        (stylegan3(), True, False, 0),
        (stylegan3(**ROTATION), True, True, 0),
        (stylegan2(), False, False, 5),
    ],
    ids=["t", "r", "stylegan2"],
)
def test_networks_say_what_can_change(G, can_move, can_turn, num_noise):
    found = parts.abilities_of(G)
    assert (found.can_move, found.can_turn, len(found.noise)) == (can_move, can_turn, num_noise)
    noise = parts.new_noise(G, found.noise, np.random.RandomState(0))
    buffers = dict(G.synthesis.named_buffers())
    assert {name: n.shape for name, n in noise.items()} == {
        name: buffers[name].shape for name in found.noise
    }


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_noise_regularization_is_that_of_the_paper(size):
    noise = np.random.RandomState(size).randn(size, size)
    total, level = 0.0, noise
    while True:
        for axis in (0, 1):
            total += np.mean(level * np.roll(level, 1, axis)) ** 2
        if len(level) <= 8:
            break
        level = (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]) / 2
    found = parts.noise_regularization(torch.from_numpy(noise))
    assert found.item() == pytest.approx(total, rel=1e-12)


def test_noise_is_normalized_in_place():
    noise = torch.randn([16, 16], dtype=torch.float64) * 3 + 5
    parts.normalize_noise(noise)
    assert noise.mean().abs() < 1e-12 and noise.square().mean() == pytest.approx(1)
    zero = torch.zeros([4, 4])
    parts.normalize_noise(zero)
    assert zero.isfinite().all()
