"""The figures of README: what moves, what stays, and how they are laid out."""

import numpy as np
import pytest
import torch

from docs import pictures
from tests.small_networks import stylegan2, stylegan3
from torch_utils import latents
from torch_utils.images import save_png


@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (-1, 2), (0, 3)])
def test_shift_by_whole_samples_is_a_roll(rows, columns):
    x = torch.randn(3, 4, 4, dtype=torch.float64)
    got = pictures.shift_periodically(x, columns / 4, rows / 4)
    torch.testing.assert_close(got, x.roll([rows, columns], [1, 2]))


def test_shift_by_fractions_adds_up():
    angles = 2 * torch.pi * torch.arange(4, dtype=torch.float64) / 4
    x = torch.cos(angles[:, None] - angles) + 0.3 * torch.sin(angles)
    once = pictures.shift_periodically(x, 0.1, -0.2)
    twice = pictures.shift_periodically(once, 0.15, 0.2)
    torch.testing.assert_close(twice, x.roll(1, 1))
    # The sine has moved by a tenth of its period.
    expected = torch.cos(angles[:, None] + 0.4 * torch.pi - angles + 0.2 * torch.pi)
    torch.testing.assert_close(once, expected + 0.3 * torch.sin(angles - 0.2 * torch.pi))


def test_input_moves_and_is_put_back():
    matrix = latents.make_transform((0.25, 0), 0)
    for G in (stylegan2(), stylegan3()):
        before = {name: value.clone() for name, value in G.state_dict().items()}
        ws = G.mapping(torch.zeros(1, G.z_dim), None)
        still = G.synthesis(ws, noise_mode="const")
        with pictures.moving_input(G, matrix):
            assert not torch.equal(G.synthesis(ws, noise_mode="const"), still)
        assert torch.equal(G.synthesis(ws, noise_mode="const"), still)
        for name, value in G.state_dict().items():
            assert torch.equal(value, before[name]), name


def test_circle_reads_turned_pictures_shifted():
    y, x = np.mgrid[:33, :33] - 16
    angle = np.arctan2(y, x)
    frames = [np.stack([100 + 50 * np.cos(angle - turn)] * 3, axis=-1) for turn in (0, np.pi / 2)]
    still, turned = (pictures.read_circle(frame) for frame in frames)
    np.testing.assert_allclose(turned, np.roll(still, 33, axis=0), atol=0.5)


def test_figures_have_their_parts(tmp_path):
    names = ["fakes_init.png", "reals.png", *(f"fakes{kimg:06d}.png" for kimg in range(6))]
    for level, name in enumerate(names):
        save_png(np.full([3, 224, 256], level, np.uint8), tmp_path / name)
    figure = pictures.progress_figure(tmp_path)
    assert figure.shape == (192 + 23, 4 * 200, 3)  # untrained, 2000, 4000, real
    assert figure[100, 100::200, 0].tolist() == [0, 4, 6, 1]

    generators = {"stylegan2": stylegan2(), "stylegan3-t": stylegan3()}
    size = pictures.SCALE * generators["stylegan2"].img_resolution
    figure = pictures.equivariance_figure(generators, 0)
    assert figure.shape == (3 * (size + 23), 6 * (size + 8) + 2 * size + 8, 3)
