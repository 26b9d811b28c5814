"""benchmarks/projection.py."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks import projection
from editing.projection import Projection
from tests.small_networks import stylegan3, write_pickles
from torch_utils import latents


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pickles(tmp_path_factory.mktemp("networks"))


def run(folder, name: str, *args: str):
    args = (f"--network={folder / name}.pkl", "--device=cpu", "--features=pixels", *args)
    return CliRunner().invoke(projection.main, ["--num=2", "--num-steps=3", *args])


def test_a_table_has_a_row_for_each_number(folder):
    result = run(folder, "t", "--move", "--pti")
    assert result.exit_code == 0, result.output
    names = ["PSNR [dB]", "seconds", "turn left [degrees]", "shift left [pixels]"]
    for name in [*names, "PSNR after tuning [dB]"]:
        (row,) = [line for line in result.output.splitlines() if line.startswith(f"| {name} |")]
        values = [float(cell) for cell in row.split("|")[2:-1]]
        assert len(values) == 5
        assert values == sorted(values, reverse=not name.startswith("PSNR"))


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("sg2", ["--move"], "--move: this network has no input transform"),
        ("t", ["--move", "--data=."], "--move and --seed are for the network's own pictures"),
        ("t", ["--seed=1", "--data=."], "--move and --seed are for the network's own pictures"),
    ],
)
def test_options_without_effect_are_refused(folder, name, args, message):
    result = run(folder, name, *args)
    assert result.exit_code != 0
    assert message in result.output


@pytest.mark.parametrize(("angle", "x", "y"), [(0, 0, 0), (7, 0, 0), (0, 1.5, -0.5), (4, 1, 0.5)])
def test_what_is_left_to_do_is_found(angle, x, y):
    """A picture, and a result that is turned and moved away from it."""
    torch.manual_seed(1)
    G = stylegan3(conv_kernel=1, use_radial_filters=True).eval().requires_grad_(False)
    with torch.no_grad():
        ws = G.mapping(latents.z_from_seed(2, G.z_dim).float(), torch.zeros([1, 0]))
        img = G.synthesis(ws)[0]
    away = latents.make_transform((x / G.img_resolution, y / G.img_resolution), angle)
    found = Projection(ws, np.linalg.inv(away), img, 0.0, 0.0, True)
    turn, shift = projection.left_to_do(G, found, img)
    assert turn == pytest.approx(angle, abs=0.5)
    assert shift == pytest.approx(max(abs(x), abs(y)), abs=0.15)
