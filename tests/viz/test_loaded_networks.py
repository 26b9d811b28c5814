"""Renderers that share networks: each is read once, and leaves when nobody shows it any longer."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.viz import networks
from viz import loaded_networks
from viz.loaded_networks import LoadedNetworks
from viz.renderer import Renderer, View
from viz.view import Drag, base_of


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    for name in ("one", "two"):
        networks.save(networks.stylegan3(), tmp_path / f"{name}.pkl")
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The paths that were read, and the number of known networks in memory at that time."""
    found = []
    load_network = loaded_networks.load_network

    def load(path, **kwargs):
        found.append((path.rpartition("/")[2], sum(G() is not None for G in known)))
        data = load_network(path, **kwargs)
        known.append(weakref.ref(data["G_ema"]))
        return data

    known: list[weakref.ref] = []
    monkeypatch.setattr(loaded_networks, "load_network", load)
    return found


@pytest.fixture
def pair():
    """Two renderers of one store."""
    store = LoadedNetworks()
    return Renderer("cpu", networks=store), Renderer("cpu", networks=store)


def view_of(folder, name, **view):
    return View(str(folder / f"{name}.pkl"), **view)


def a_drag(view, num_steps):
    """The view with a point on its way."""
    drag = Drag(base_of(view), ((5.0, 6.0),), ((9.0, 7.0),), num_steps=num_steps)
    return replace(view, drag=drag)


def render(renderer, view):
    result = renderer.render(view)
    assert result.error is None, result.details or result.error
    return result


def test_network_of_several_renderers_is_read_once(folder, pair, reads):
    pictures = [render(renderer, view_of(folder, "one", x=3)).image for renderer in pair]
    np.testing.assert_array_equal(*pictures)
    assert reads == [("one.pkl", 0)]
    path = str(folder / "one.pkl")
    assert pair[0].load(path) is pair[1].load(path)
    assert Renderer("cpu").load(path) is not pair[0].load(path)


def test_network_leaves_with_its_last_renderer_before_another_is_read(folder, pair, reads):
    one, two = pair
    for renderer in pair:
        render(renderer, a_drag(view_of(folder, "one"), 1))
    render(one, view_of(folder, "two"))
    assert reads == [("one.pkl", 0), ("two.pkl", 1)]
    G = weakref.ref(two.load(str(folder / "one.pkl")))
    assert G() is not None
    render(two, view_of(folder, "two"))  # the other renderer has it
    assert G() is None
    assert len(reads) == 2
    render(one, view_of(folder, "one"))
    render(two, view_of(folder, "one"))
    render(two, view_of(folder, "two"))
    assert reads[2:] == [("one.pkl", 1), ("two.pkl", 1)]


def test_a_renderer_alone_has_one_network_in_memory(folder, reads):
    renderer = Renderer("cpu")
    for name in ("one", "two", "one"):
        render(renderer, a_drag(view_of(folder, name), 1))
    assert reads == [("one.pkl", 0), ("two.pkl", 0), ("one.pkl", 0)]


def test_network_leaves_when_its_renderers_are_gone(folder, reads):
    store = LoadedNetworks()
    one, two = Renderer("cpu", networks=store), Renderer("cpu", networks=store)
    G = weakref.ref(one.load(str(folder / "one.pkl")))
    render(two, a_drag(view_of(folder, "one"), 1))
    del one
    assert G() is not None
    del two
    assert G() is None


@pytest.fixture
def changing(folder, pair, reads):
    """A file that both renderers show, and that changes."""
    for renderer in pair:
        render(renderer, a_drag(view_of(folder, "one"), 1))
    return folder / "one.pkl"


def test_file_that_has_changed_is_read_once_for_all(changing, folder, pair, reads):
    one, two = pair
    before = weakref.ref(one.load(str(changing)))
    networks.save(networks.stylegan2(), changing)
    assert render(one, view_of(folder, "one")).network.has_noise
    assert before() is None  # although the other renderer has dragged its points
    assert render(two, view_of(folder, "one")).network.has_noise
    assert [name for name, _ in reads] == ["one.pkl", "one.pkl"]


def test_file_that_cannot_be_read_is_tried_once_for_all(changing, folder, pair, reads):
    whole = changing.read_bytes()
    changing.write_bytes(whole[:2000])
    for renderer in pair:
        result = render(renderer, view_of(folder, "one"))
        assert "one.pkl has changed and cannot be loaded" in result.notice
    assert len(reads) == 2
    changing.write_bytes(whole)
    assert [render(renderer, view_of(folder, "one")).notice for renderer in pair] == [None, None]
    assert len(reads) == 3


def test_network_that_is_read_with_trust_is_not_shared_with_others(folder, reads):
    store = LoadedNetworks()
    renderers = [Renderer("cpu", is_trusted, networks=store) for is_trusted in (False, True, True)]
    for renderer in renderers:
        render(renderer, view_of(folder, "one"))
    assert reads == [("one.pkl", 0), ("one.pkl", 1)]


def test_generator_of_the_caller_takes_the_place_of_a_network(folder, pair, reads):
    one, two = pair
    G = networks.stylegan2()
    render(one, view_of(folder, "one"))
    assert one.render(View(), G=G).network.has_noise
    assert one.render(View(), G=G).is_first is False
    assert not render(two, view_of(folder, "one")).network.has_noise
    assert reads == [("one.pkl", 0), ("one.pkl", 0)]


def test_long_drag_comes_in_slices_whose_last_is_the_whole(folder):
    view = a_drag(view_of(folder, "one"), 3)
    whole, sliced = Renderer("cpu"), Renderer("cpu", drag_sec=0)
    expected = whole.render(view)
    for num_steps in (1, 2, 3, 3):
        result = sliced.render(view)
        assert result.view == a_drag(view_of(folder, "one"), num_steps)
        assert result.drag.num_steps == num_steps
    np.testing.assert_array_equal(result.image, expected.image)
    assert result.drag == expected.drag
