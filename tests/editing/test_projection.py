"""Projection and pivotal tuning, on small networks with random weights."""

import dataclasses

import numpy as np
import pytest
import torch

from dnnlib.errors import InputError
from editing import features, projection, tuning
from editing.projection import Settings, project
from editing.tuning import TuningSettings, tune
from tests.small_networks import stylegan2, stylegan3
from torch_utils import latents

SHORT = Settings(num_steps=100, num_samples=200)
ROTATION = dict(conv_kernel=1, use_radial_filters=True)


def picture(G: torch.nn.Module, seed: int, transform: np.ndarray | None = None) -> torch.Tensor:
    z = latents.z_from_seed(seed, G.z_dim).float()
    c = torch.eye(G.c_dim)[:1] if G.c_dim else torch.zeros([1, 0])
    with (
        torch.no_grad(),
        latents.content_transform(G, np.eye(3) if transform is None else transform),
    ):
        return G(z, c, noise_mode="const")[0].clamp(-1, 1)


def network(kind: str, **kwargs) -> torch.nn.Module:
    torch.manual_seed(1)
    if kind == "sg2":
        return stylegan2(**kwargs)
    return stylegan3(**kwargs, **(ROTATION if kind == "r" else {}))


def baseline(G: torch.nn.Module, target: torch.Tensor) -> float:
    """PSNR of the image of the mean style."""
    z = torch.from_numpy(np.random.RandomState(5).randn(500, G.z_dim)).float()
    with torch.no_grad():
        ws = G.mapping(z, torch.zeros([500, G.c_dim])).mean(dim=0, keepdim=True)
        return features.psnr(G.synthesis(ws, noise_mode="const"), target[None]).item()


@pytest.mark.parametrize("space", ["w", "w+"])
@pytest.mark.parametrize("kind", ["sg2", "t"])
def test_generated_pictures_are_found_again(kind, space):
    G = network(kind)
    target = picture(G, 3)
    before = {name: value.clone() for name, value in G.state_dict().items()}
    found = project(G, target, features.pixels, dataclasses.replace(SHORT, space=space))
    assert found.psnr > baseline(G, target) + 6 and found.is_complete
    assert found.ws.shape == (1, G.num_ws, G.w_dim)
    assert (found.ws == found.ws[:, :1]).all() == (space == "w")
    # Any script draws this image with the styles and the transform.
    matrix = np.eye(3) if found.transform is None else found.transform
    with torch.no_grad(), latents.content_transform(G, matrix):
        img = G.synthesis(found.ws, noise_mode="const")
    torch.testing.assert_close(img[0], found.img, rtol=0, atol=1e-4)
    assert features.psnr(img, target[None]).item() == pytest.approx(found.psnr, abs=0.01)
    for name, value in G.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.requires_grad for p in G.parameters())


def test_the_same_seed_gives_the_same_result_and_another_does_not():
    G = network("sg2")
    target, short = picture(G, 3), dataclasses.replace(SHORT, num_steps=10)
    first, second, other = (
        project(G, target, features.pixels, dataclasses.replace(short, seed=seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.ws, second.ws) and first.distance == second.distance
    assert not torch.equal(first.ws, other.ws)


def test_content_that_was_moved_is_found_where_it_is():
    G = network("t")
    target = picture(G, 3, latents.make_transform((0.12, -0.08), 0))
    free = project(G, target, features.pixels, SHORT)
    fixed = project(G, target, features.pixels, dataclasses.replace(SHORT, moves=False))
    assert fixed.transform is None and free.psnr > fixed.psnr
    assert free.transform[0, 1] == 0  # config T does not turn


def test_content_that_was_turned_is_found():
    G = network("r")
    target = picture(G, 3, latents.make_transform((0, 0), 140))
    found = project(G, target, features.pixels, SHORT)
    sin, cos = found.transform[0, 1], found.transform[0, 0]
    angle = np.rad2deg(np.arctan2(sin, cos))
    assert abs(angle - 140) < 2
    assert found.psnr > baseline(G, target) + 6


def test_every_start_is_tried_before_one_is_followed():
    G = network("sg2")
    target = picture(G, 3)
    steps = []
    settings = dataclasses.replace(SHORT, num_steps=20, restarts=3)
    project(G, target, features.pixels, settings, on_step=steps.append)
    assert [progress.step for progress in steps] == list(range(1, 20 + 3 * 2 + 1))
    assert {progress.num_steps for progress in steps} == {26}


def test_the_best_start_is_followed(monkeypatch):
    G = network("r")
    target = picture(G, 3)
    optimize, tried = projection._Run._optimize, []

    def watched(run, trajectory, num_steps):
        optimize(run, trajectory, num_steps)
        with torch.no_grad():
            tried.append((run._evaluate(trajectory)[1].item(), trajectory))

    monkeypatch.setattr(projection._Run, "_optimize", watched)
    project(G, target, features.pixels, dataclasses.replace(SHORT, num_steps=20))
    *starts, (_, followed) = tried
    assert len(starts) == projection.NUM_ANGLES
    distances = [distance for distance, _ in starts]
    assert starts[int(np.argmin(distances))][1] is followed
    assert min(distances) < sorted(distances)[1]  # the others are worse


def test_classes_are_averaged_unless_one_is_given():
    G = network("sg2", c_dim=3)
    target = picture(G, 3)
    short = dataclasses.replace(SHORT, num_steps=2, num_samples=30)
    means = []
    for label in (None, torch.eye(3)[1:2]):
        run = projection._Run(G, target[None], features.pixels, short, label, print)
        z = torch.from_numpy(np.random.RandomState(0).randn(30, G.z_dim)).float()
        c = torch.eye(3)[torch.arange(30) % 3] if label is None else label.expand(30, -1)
        expected = G.mapping(z, c)[:, :1]
        torch.testing.assert_close(run.styles.mean, expected.mean(dim=0, keepdim=True))
        means.append(run.styles.mean)
    assert not torch.allclose(*means)


def test_an_interruption_keeps_the_best_so_far():
    G = network("sg2")
    target = picture(G, 3)

    def stop(progress: projection.Progress) -> None:
        if progress.step == 50:
            raise KeyboardInterrupt

    found = project(G, target, features.pixels, SHORT, on_step=stop)
    assert not found.is_complete and found.psnr > baseline(G, target)
    tuned = tune(G, found.ws, target, features.pixels, TuningSettings(num_steps=99), on_step=stop)
    assert not tuned.is_complete and tuned.num_steps == 50


def test_the_learning_rate_rises_and_falls():
    factors = [projection.learning_rate_factor(t, Settings()) for t in (0, 0.025, 0.05, 0.75, 1)]
    np.testing.assert_allclose(factors, [0, 0.5, 1, 1, 0], atol=1e-12)
    assert projection.learning_rate_factor(0.875, Settings()) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(target=torch.zeros([3, 8, 8])), r"shape \[3, 8, 8\], not \[3, 16, 16\]"),
        (dict(target=torch.full([3, 16, 16], np.nan)), "NaN or infinite"),
        (dict(settings=Settings(num_steps=0)), "at least 1"),
        (dict(settings=Settings(moves=True, num_samples=10)), "its content cannot move"),
    ],
)
def test_bad_requests_are_refused(change, message):
    arguments = dict(target=torch.zeros([3, 16, 16]), features=features.pixels, settings=SHORT)
    with pytest.raises(InputError, match=message):
        project(network("sg2"), **{**arguments, **change})


@pytest.mark.parametrize("kind", ["sg2", "t"])
def test_tuning_draws_a_picture_that_the_network_cannot(kind):
    G = network(kind)
    target = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, [3, 16, 16])).float()
    ws = G.mapping(torch.zeros([1, G.z_dim]), torch.zeros([1, 0])).detach()
    before = {name: value.clone() for name, value in G.state_dict().items()}
    with torch.no_grad():
        psnr = features.psnr(G.synthesis(ws, noise_mode="const"), target[None]).item()
    settings = TuningSettings(num_steps=40, lr=0.01)
    tuned = tune(G, ws, target, features.pixels, settings)
    assert tuned.psnr > psnr + 0.3 and tuned.num_steps == 40 and tuned.is_complete
    for name, value in G.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in tuned.G.mapping.state_dict().items():
        assert torch.equal(value, G.mapping.state_dict()[name])
    with torch.no_grad():
        img = tuned.G.synthesis(ws, noise_mode="const")
    torch.testing.assert_close(img[0], tuned.img, rtol=0, atol=1e-5)


def test_tuning_ends_when_the_picture_is_close_enough():
    G = network("sg2")
    ws = G.mapping(torch.zeros([1, G.z_dim]), torch.zeros([1, 0])).detach()
    target = picture(G, 3)
    tuned = tune(G, ws, target, features.pixels, TuningSettings(stop_distance=100))
    assert tuned.num_steps == 0 and tuned.is_complete


def test_locality_costs_nothing_before_the_first_step(monkeypatch):
    """The images of the network and of its copy are equal, with their content in the same place."""
    G = network("t")
    costs = []
    difference = tuning._difference

    def record(*args):
        costs.append(difference(*args))
        return costs[-1]

    monkeypatch.setattr(tuning, "_difference", record)
    ws = G.mapping(torch.zeros([1, G.z_dim]), torch.zeros([1, 0])).detach()
    settings = TuningSettings(num_steps=1, locality_weight=1)
    moved = latents.make_transform((0.3, 0), 0)
    tune(G, ws, picture(G, 3), features.pixels, settings, transform=moved)
    assert costs[0].item() < 1e-6
    assert torch.equal(G.synthesis.input.transform, torch.eye(3))


def test_a_damaged_network_is_said_at_once():
    G = network("sg2")
    target = picture(G, 3)
    with torch.no_grad():
        G.synthesis.b16.conv1.weight[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="the projection became NaN or infinite"):
        project(G, target, features.pixels, dataclasses.replace(SHORT, num_steps=2))


def test_an_interruption_among_the_starts_keeps_the_best_of_them():
    G = network("r")

    def stop(progress: projection.Progress) -> None:
        if progress.step == 25:  # in the third of twelve starts
            raise KeyboardInterrupt

    found = project(G, picture(G, 3), features.pixels, SHORT, on_step=stop)
    assert not found.is_complete and found.transform is not None


def test_networks_in_double_precision_are_projected():
    G = network("t").double()
    target = torch.zeros([3, 16, 16])
    found = project(G, target, features.pixels, dataclasses.replace(SHORT, num_steps=2))
    assert found.ws.dtype == found.img.dtype == torch.float32


def test_locality_keeps_other_images():
    G = network("sg2")
    ws = G.mapping(torch.zeros([1, G.z_dim]), torch.zeros([1, 0])).detach()
    target = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, [3, 16, 16])).float()
    changes = []
    for weight in (0, 10):
        settings = TuningSettings(num_steps=30, lr=0.01, locality_weight=weight)
        tuned = tune(G, ws, target, features.pixels, settings)
        error = [(picture(tuned.G, seed) - picture(G, seed)).square().mean() for seed in range(8)]
        changes.append(torch.stack(error).mean().item())
    assert changes[1] < 0.7 * changes[0]
