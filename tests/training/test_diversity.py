"""Distances between generated images, relative to those between real ones."""

import copy

import numpy as np
import pytest
import scipy.spatial.distance
import torch

from tests.small_networks import SMALL, stylegan2, stylegan3
from training import diversity
from training.networks_stylegan2 import Discriminator

N = 12


def make_networks(c_dim=0, make=stylegan2):
    torch.manual_seed(0)
    return make(c_dim=c_dim), Discriminator(c_dim, 16, 3, **SMALL).train().requires_grad_(False)


def make_inputs(c_dim=0):
    """Latents, labels (three of each, then the next) and real images."""
    labels = torch.eye(max(c_dim, 1))[torch.arange(N) // 3 % max(c_dim, 1)][:, :c_dim]
    real = torch.from_numpy(np.random.RandomState(0).randint(0, 256, [N, 3, 16, 16], np.uint8))
    return torch.randn([N, 8], generator=torch.Generator().manual_seed(0)), labels, real


def by_hand(D, images, wanted):
    """Mean distance of pairs, of features that a hook finds, with SciPy."""
    found = []
    handle = D.b4.register_forward_pre_hook(lambda _module, args: found.append(args[0]))
    with torch.no_grad():
        D(images, torch.zeros([len(images), D.c_dim]))
    handle.remove()
    x = found[0].flatten(1).double().numpy()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    distances = scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(x))
    return np.mean([distances[i, j] for i in range(N) for j in range(i) if wanted(i, j)])


@pytest.mark.parametrize("make", [stylegan2, stylegan3])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_ratio_is_that_of_scipy(c_dim, make):
    G, D = make_networks(c_dim, make)
    z, c, real = make_inputs(c_dim)
    real[5] = real[4]  # as in a sheet of few images per class
    measured = diversity.measure(G, D, z, c, real, batch=5)
    with torch.no_grad():
        fake = G(z, c, noise_mode="const")
    pairs = {
        "overall": lambda i, j: (i, j) != (5, 4),
        "within_labels": lambda i, j: (i, j) != (5, 4) and torch.equal(c[i], c[j]),
    }
    if c_dim == 0:
        assert measured.within_labels is None
        del pairs["within_labels"]
    for name, wanted in pairs.items():
        expected = by_hand(D, fake, wanted) / by_hand(D, real / 127.5 - 1, wanted)
        assert getattr(measured, name) == pytest.approx(expected, rel=1e-4)


def test_equal_images_have_no_diversity():
    G, D = make_networks()
    z, c, real = make_inputs()
    assert diversity.measure(G, D, z[:1].expand(N, -1), c, real, 4).overall < 1e-3


def test_collapse_within_labels_is_seen_beside_differences_between_them():
    G, D = make_networks(3)
    z, c, real = make_inputs(3)
    measured = diversity.measure(G, D, z[:1].expand(N, -1), c, real, 4)
    assert measured.within_labels < 1e-3 < 0.1 < measured.overall


def test_nothing_that_is_random_or_lasting_changes():
    G, D = make_networks(3)
    before = copy.deepcopy([G.state_dict(), D.state_dict()])
    random_state, modes = torch.get_rng_state(), [m.training for m in (*G.modules(), *D.modules())]
    diversity.measure(G, D, *make_inputs(3), 4)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [m.training for m in (*G.modules(), *D.modules())] == modes
    for old, net in zip(before, (G, D), strict=True):
        assert all(torch.equal(old[name], x) for name, x in net.state_dict().items())


def test_what_cannot_be_measured_is_unknown():
    G, D = make_networks()
    z, c, real = make_inputs()
    assert diversity.measure(G, D, z, c, real[:1].expand(N, -1, -1, -1), 4).overall is None
    with torch.no_grad():
        D.b8.conv0.weight.fill_(float("nan"))
    assert diversity.measure(G, D, z, c, real, 4).overall is None


@pytest.mark.parametrize(("columns", "rows"), [(7, 4), (32, 32), (8, 4), (30, 17), (1, 1), (3, 2)])
def test_chosen_positions_spread_over_rows(columns, rows):
    chosen = diversity.choose(columns, rows)
    assert len(set(chosen)) == len(chosen) <= diversity.NUM_IMAGES
    assert min(chosen) >= 0 and max(chosen) < columns * rows
    assert len({position // columns for position in chosen}) == min(rows, diversity.NUM_ROWS)
    assert len(chosen) >= min(columns * rows, 28)
