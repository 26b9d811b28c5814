"""Latents and directions of files, and dragged points, in views."""

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from editing import directions
from editing.directions import Directions
from editing.dragging import Dragging
from generation import latent_files
from generation.latent_files import Latents, network_hash
from torch_utils import images, latents
from viz import drag_steps
from viz.frozen_array import FrozenArray
from viz.renderer import Renderer, View
from viz.view import Drag, base_of

from . import networks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    torch.manual_seed(0)
    networks.save(networks.stylegan3(), folder / "t.pkl")
    networks.save(networks.stylegan2(), folder / "sg2.pkl")
    return folder


@pytest.fixture(scope="module")
def G(folder):
    return pickle.loads((folder / "t.pkl").read_bytes())["G_ema"]


@pytest.fixture
def render(folder):
    renderer = Renderer("cpu")
    return lambda **view: renderer.render(View(network=str(folder / "t.pkl"), **view))


@pytest.fixture
def some(G, tmp_path):
    """A file of three latents with transforms, and its content."""
    ws = torch.randn([3, G.num_ws, G.w_dim], generator=torch.Generator().manual_seed(1))
    transforms = np.stack([latents.make_transform((0.1 * i, 0), 20 * i) for i in range(3)])
    content = Latents(ws, transforms, names=("ann", "bob", "eve"), network=network_hash(G))
    latent_files.save(tmp_path / "w.npz", content)
    return tmp_path / "w.npz", content


@pytest.fixture
def two(G, tmp_path):
    """A file of two directions, and its content."""
    rng = np.random.RandomState(2)
    vectors = rng.randn(2, 1, G.w_dim)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    content = Directions(vectors.astype(np.float32), np.array([2.0, 3.0]), ("age", "sun"), "drawn")
    directions.save(tmp_path / "d.npz", content)
    return tmp_path / "d.npz", content


@torch.no_grad()
def drawn(G, ws, transform=None):
    """The image of styles `[1, num_ws, w_dim]`, by the network alone."""
    with latents.content_transform(G, np.eye(3) if transform is None else transform):
        return images.to_uint8(G.synthesis(ws, noise_mode="const"))[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("place", [2.0**53, -(2.0**53)])
def test_the_farthest_places_of_a_link_are_those_of_their_seeds(render, place):
    at_seed_0 = render().image  # 2 ** 53 is a multiple of the number of seeds
    for axis in ("x", "y"):
        result = render(**{axis: place})
        assert result.error is None
        np.testing.assert_array_equal(result.image, at_seed_0)


@pytest.mark.parametrize("idx", [0, 2])
def test_latents_of_a_file_are_drawn_with_their_transforms(G, render, some, idx):
    path, content = some
    result = render(latents=str(path), latent_idx=idx)
    expected = drawn(G, content.ws[idx : idx + 1], content.transforms[idx])
    np.testing.assert_array_equal(result.image, expected)
    assert (result.latents.num, result.latents.name) == (3, content.names[idx])
    assert result.notice is None
    np.testing.assert_array_equal(result.ws, content.ws[idx].numpy())


def test_the_user_moves_the_image_of_a_file_further(G, render, some):
    path, content = some
    result = render(latents=str(path), latent_idx=1, translate=(0.2, -0.1), rotate=30)
    matrix = latents.make_transform((0.2, -0.1), 30) @ content.transforms[1]
    np.testing.assert_array_equal(result.image, drawn(G, content.ws[1:2], matrix))
    np.testing.assert_allclose(result.transform, matrix)


def test_latents_of_another_network_are_drawn_with_a_notice(G, render, some, tmp_path):
    _, content = some
    latent_files.save(tmp_path / "other.npz", replace(content, network="0" * 64))
    result = render(latents=str(tmp_path / "other.npz"))
    assert result.error is None
    assert "other.npz belongs to another network" in result.notice


def test_a_file_that_has_changed_is_read_again(G, render, some):
    path, content = some
    before = render(latents=str(path)).image
    latent_files.save(path, replace(content, ws=-content.ws))
    after = render(latents=str(path)).image
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, drawn(G, -content.ws[:1], content.transforms[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ws: ws[:, :-1], r"styles .*w\.npz.* have shape \[3, \d, 8\]"),
        (lambda ws: ws * torch.nan, "'w' holds NaN"),
    ],
    ids=["num_ws", "nan"],
)
def test_wrong_latents_are_refused_in_one_line(render, some, change, message):
    path, content = some
    latent_files.save(path, replace(content, ws=change(content.ws)))
    error = render(latents=str(path)).error
    assert "\n" not in error
    assert re.search(message, error), error


def test_missing_files_and_images_are_refused(render, some, tmp_path):
    assert "has images 0 to 2, not 3" in render(latents=str(some[0]), latent_idx=3).error
    assert "nothing.npz" in render(latents=str(tmp_path / "nothing.npz")).error
    assert "nothing.npz" in render(directions=str(tmp_path / "nothing.npz")).error
    assert "has no array 'directions'" in render(directions=str(some[0])).error


@pytest.mark.parametrize("has_folders", [False, True])
def test_the_target_beside_the_latents_is_found(render, some, tmp_path, has_folders):
    path, content = some
    if has_folders:
        (tmp_path / "bob").mkdir()
        (tmp_path / "bob/target.png").touch()
        assert render(latents=str(path), latent_idx=1).latents.target == str(
            tmp_path / "bob/target.png"
        )
        assert render(latents=str(path), latent_idx=0).latents.target is None
        return
    one = Latents(content.ws[:1], names=("../ann",))  # a name is no path
    latent_files.save(path, one)
    assert render(latents=str(path)).latents.target is None
    (tmp_path / "target.png").touch()
    assert render(latents=str(path)).latents.target == str(tmp_path / "target.png")


def test_directions_add_up_in_their_layers(G, render, two):
    path, content = two
    amounts = (("age", 1.5), ("sun", -0.5))
    start = render(x=4).ws
    age, sun = content.vectors[:, 0] * content.scales[:, None]
    expected = start + (1.5 * age - 0.5 * sun)
    result = render(x=4, directions=str(path), amounts=amounts)
    np.testing.assert_allclose(result.ws, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(result.image, drawn(G, torch.from_numpy(result.ws)[None]))
    assert (result.directions.names, result.directions.reach) == (("age", "sun"), 3)
    result = render(x=4, directions=str(path), amounts=amounts, direction_layers=(1, 2))
    expected[[0, *range(3, G.num_ws)]] = start[[0, *range(3, G.num_ws)]]
    np.testing.assert_allclose(result.ws, expected, rtol=1e-5, atol=1e-6)


def test_unknown_directions_are_refused(render, two):
    error = render(directions=str(two[0]), amounts=(("hat", 1.0),)).error
    assert "no direction 'hat'" in error


def a_drag(view: View, num_steps: int, **changes) -> View:
    points, targets = ((5.5, 8.5), (10.5, 8.5)), ((8.5, 8.5), (12.5, 10.5))
    return replace(view, drag=Drag(base_of(view), points, targets, num_steps=num_steps, **changes))


@pytest.mark.parametrize("name", ["t", "sg2"])
def test_a_drag_takes_its_steps_from_the_styles_of_the_view(folder, two, name):
    view = View(str(folder / f"{name}.pkl"), x=2, directions=str(two[0]), amounts=(("sun", 1.0),))
    G = pickle.loads((folder / f"{name}.pkl").read_bytes())["G_ema"]
    renderer = Renderer("cpu")
    mask = np.arange(256).reshape(16, 16) % 16 > 3
    view = a_drag(view, 3, mask=FrozenArray.of(mask))
    result = renderer.render(view)
    start = torch.from_numpy(renderer.render(replace(view, drag=None)).ws)
    dragging = Dragging(G, start, view.drag.points, view.drag.targets, mask=mask)
    for _ in range(3):
        state = dragging.step()
    np.testing.assert_array_equal(result.ws, state.ws[0].numpy())
    assert result.drag.points == state.points
    assert result.drag.distance == max(state.distances)
    np.testing.assert_array_equal(result.image, drawn(G, state.ws))


def test_steps_of_a_drag_do_not_depend_on_the_way_to_them(folder):
    view = View(str(folder / "t.pkl"), x=2)
    whole = Renderer("cpu")
    expected = {num: Renderer("cpu").render(a_drag(view, num)) for num in (0, 2, 4)}
    for num in (0, 1, 2, 3, 4, 2, 0, 4):  # forth, undo, redo
        result = whole.render(a_drag(view, num))
        if num in expected:
            np.testing.assert_array_equal(result.image, expected[num].image)
            assert result.drag == expected[num].drag
    np.testing.assert_array_equal(whole.render(view).image, expected[0].image)
    assert not np.array_equal(expected[4].image, expected[0].image)


def test_states_of_earlier_drags_are_kept_until_another_network_comes(folder, monkeypatch):
    started = []

    class Counted(Dragging):
        def __init__(self, *args, **kwargs):
            started.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(drag_steps, "Dragging", Counted)
    renderer, view = Renderer("cpu"), View(str(folder / "t.pkl"), x=2)
    first = renderer.render(a_drag(view, 3))
    other = replace(view, x=5.0)
    renderer.render(a_drag(other, 2))
    again = renderer.render(a_drag(view, 3))
    np.testing.assert_array_equal(again.image, first.image)
    assert len(started) == 2
    renderer.render(View(str(folder / "sg2.pkl")))
    renderer.render(a_drag(view, 1))
    assert len(started) == 3


def test_transforms_that_have_no_effect_are_said(folder, some):
    _, content = some
    renderer, view = Renderer("cpu"), View(str(folder / "sg2.pkl"))
    ws = torch.from_numpy(renderer.render(view).ws)[None]
    path = folder / "sg2.npz"
    latent_files.save(path, Latents(ws, content.transforms[:1]))
    result = renderer.render(replace(view, latents=str(path)))
    assert "the file's transforms have no effect on this network" in result.notice


def test_layers_that_the_network_lacks_are_said(render, two):
    layers = dict(amounts=(("age", 1.0),), direction_layers=(50, 60))
    assert "the directions change no layer" in render(directions=str(two[0]), **layers).notice


def test_a_drag_goes_on_from_given_styles(folder):
    view = View(str(folder / "t.pkl"), x=2)
    renderer = Renderer("cpu")
    first = renderer.render(a_drag(view, 4))
    start = FrozenArray.of(first.ws)
    result = renderer.render(a_drag(view, 0, start=start))
    np.testing.assert_array_equal(result.image, first.image)
    without_points = Drag(base_of(view), start=start)
    result = renderer.render(replace(view, drag=without_points))
    np.testing.assert_array_equal(result.image, first.image)


def test_points_outside_and_starts_of_other_networks_are_refused(folder):
    view = View(str(folder / "t.pkl"))
    renderer = Renderer("cpu")
    outside = Drag(base_of(view), ((99.0, 3.0),), ((5.0, 3.0),), num_steps=1)
    error = renderer.render(replace(view, drag=outside)).error
    assert "99" in error
    assert "\n" not in error
    start = FrozenArray.of(np.zeros([3, 8], np.float32))
    error = renderer.render(a_drag(view, 0, start=start)).error
    assert "have shape [1, 3, 8]" in error
