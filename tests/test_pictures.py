"""The figures of README: what moves, what stays, and how they are laid out."""

import json

import numpy as np
import PIL.Image
import pytest
import torch

from dnnlib.errors import InputError
from docs import pictures
from generation.images import map_seeds
from tests.small_networks import stylegan2, stylegan3
from torch_utils import latents
from torch_utils.images import save_png, to_uint8


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


def test_progress_shows_stages_of_equal_factors(tmp_path):
    stages = [0, 12, 24, 36, 60, 96, 300, 396]
    names = ["fakes_init.png", "reals.png", *(f"fakes{kimg:06d}.png" for kimg in stages)]
    for level, name in enumerate(names):
        save_png(np.full([3, 224, 256], level, np.uint8), tmp_path / name)
    options = {"training_set_kwargs": {"resolution": 32}}
    (tmp_path / "training_options.json").write_text(json.dumps(options))
    figure = pictures.progress_figure(tmp_path)
    assert figure.shape == (192 + 23, 6 * 200, 3)  # untrained, 12, 36, 96, 396, real
    assert figure[100, 100::200, 0].tolist() == [0, 3, 5, 7, 9, 1]


def test_progress_without_sheets_is_refused(tmp_path):
    with pytest.raises(InputError, match="no sheet like fakes000100"):
        pictures.progress_figure(tmp_path)


def test_equivariance_has_a_row_for_each_network_and_turns_only_beside_config_r():
    generators = [stylegan3(), stylegan2()]
    size = pictures.SCALE * generators[0].img_resolution
    width = 6 * (size + 8) + 2 * size + 8
    assert pictures.equivariance_figure(generators, 0).shape == (2 * (size + 23), width, 3)
    generators.append(stylegan3(conv_kernel=1, use_radial_filters=True))
    assert pictures.equivariance_figure(generators, 0).shape == (5 * (size + 23), width, 3)


def test_sheets_of_networks_show_classes_in_turns():
    conditional, other = stylegan3(c_dim=3), stylegan2()
    figure = pictures.networks_figure({"a": conditional, "b": other})
    size = pictures.SHEET_SCALE * conditional.img_resolution
    assert figure.shape == (6 * size + 23, 2 * (12 * size + 8), 3)
    ws = map_seeds(conditional, [0, 1, 2, 3, 4], [0, 1, 2, 0, 1])
    expected = to_uint8(conditional.synthesis(ws, noise_mode="const"))[4].permute(1, 2, 0)
    shown = figure[23 : 23 + size : 2, 4 * size : 5 * size : 2]
    np.testing.assert_allclose(shown.astype(int), expected.numpy().astype(int), atol=1)


def test_palette_is_used_only_where_it_does_not_show(tmp_path):
    few = np.arange(200, dtype=np.uint8).repeat(30).reshape(60, 100, 1).repeat(3, axis=2)
    many = np.random.default_rng(0).integers(0, 256, [64, 64, 3], dtype=np.uint8)
    for figure, mode in ((few, "P"), (many, "RGB")):
        pictures.save_small(figure, tmp_path / "a.png")
        with PIL.Image.open(tmp_path / "a.png") as png:
            assert png.mode == mode
            error = np.asarray(png.convert("RGB"), float) - figure
        assert np.sqrt(np.square(error).mean()) <= pictures.MAX_PALETTE_ERROR
