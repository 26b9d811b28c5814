"""Undo and redo."""

from dataclasses import replace

import numpy as np
import pytest

from viz.history import MAX_STEPS, History
from viz.renderer import View


def test_steps_go_back_and_forth_and_a_new_one_ends_the_future():
    history, view = History(), View(network="a")
    history.note(view, False)
    assert history.undo(view) is None and history.redo(view) is None
    for x in (1, 2, 3):
        view = replace(view, x=x)
        history.note(view, False)
    view = history.undo(view)
    view = history.undo(view)
    assert view == View(network="a", x=1)
    view = history.redo(view)
    assert view.x == 2
    history.note(view, False)
    view = replace(view, x=9)
    history.note(view, False)
    assert history.redo(view) is None
    assert history.undo(view).x == 2


def test_a_drag_is_one_step_and_networks_are_none():
    history, view = History(), View(network="a")
    history.note(view, False)
    for x in (0.1, 0.2, 0.3):
        view = replace(view, x=x)
        history.note(view, True)
    history.note(view, False)
    view = replace(view, network="b")
    history.note(view, False)
    assert history.undo(view) == View(network="b", x=0)


def test_steps_are_limited():
    history, view = History(), View()
    for x in range(MAX_STEPS + 50):
        view = replace(view, x=x)
        history.note(view, False)
    undone = 0
    while (before := history.undo(view)) is not None:
        view, undone = before, undone + 1
    assert undone == MAX_STEPS


@pytest.mark.slow
def test_a_drag_of_the_picture_is_undone_and_redone_at_once(person):
    before = person.check()
    person.drag("picture", 100, 40)
    moved = person.application.view
    assert moved.x > 0.5
    person.do("key", "ctrl+z")
    np.testing.assert_array_equal(person.check(x=0, y=0), before)
    person.do("key", "ctrl+y")
    person.check(x=moved.x, y=moved.y)
    person.do("key", "ctrl+z")
    person.do("key", "ctrl+shift+z")
    person.check(x=moved.x, y=moved.y)
    person.do("key", "ctrl+y")  # there is nothing more
    person.check(x=moved.x)


@pytest.mark.slow
def test_equivariance_and_layers_are_undone(person):
    person.drag("Drag fast##translate", 60, 0)
    moved = person.application.view.translate
    person.drag("Drag fast##rotate", 40, 0)
    turned = person.application.view.rotate
    person.click("L1_36_8")
    person.click("Normalise")
    person.do("key", "--delay", 4, "ctrl+z", "ctrl+z")
    person.check(layer=None, normalize=False, translate=moved, rotate=turned)
    person.do("key", "ctrl+z")
    person.check(translate=moved, rotate=0)
    person.do("key", "ctrl+z")
    person.check(translate=(0, 0), rotate=0)
    person.do("key", "--delay", 4, "ctrl+y", "ctrl+y", "ctrl+y")
    person.check(translate=moved, rotate=turned, layer="L1_36_8", normalize=False)
    person.drag("Drag slow##translate", 20, 0)  # goes on from there
    assert person.application.view.translate[0] == pytest.approx(moved[0] + 20 / 15 / 400)


@pytest.mark.slow
def test_typing_is_not_undone_as_a_step_of_the_view(person):
    person.click("##seed", 0.97)
    person.click("##network")
    person.type("x")
    person.do("key", "ctrl+z")
    assert person.application.view.x == 1
    assert person.application.network.state.typed != "x"  # the field has an undo of its own
    person.do("key", "Escape")
    person.do("key", "ctrl+z")
    person.check(x=0)


@pytest.mark.slow
def test_an_animation_is_one_step(person):
    person.application.latent.state.speed = 1
    person.click_without_settling("##animate latent")
    person.pump(20)
    person.click_without_settling("##animate latent")
    person.settle()
    assert person.application.view.x > 0.05
    person.do("key", "ctrl+z")
    person.check(x=0)


def test_what_a_window_changes_of_an_undone_view_is_no_step():
    history, view = History(), View(network="a")
    for class_idx in (0, 1, 5):
        view = replace(view, class_idx=class_idx)
        history.note(view, False)
    view = replace(history.undo(view), class_idx=0)  # this network has no class 1
    history.note(view, False)
    view = history.undo(view)
    history.note(view, False)
    assert view == View(network="a") and history.undo(view) is None
    assert history.redo(view).class_idx == 0


def test_what_a_network_lacks_is_replaced_without_a_step():
    history, view = History(), View(network="a")
    for layer in (None, "L1"):
        view = replace(view, layer=layer)
        history.note(view, False)
    mended = replace(view, network="b", layer="b8.conv0")
    history.amend(replace(view, network="b"), mended)
    history.note(mended, False)
    assert history.undo(mended).layer is None


@pytest.mark.slow
def test_undo_goes_on_where_a_network_lacks_what_was_shown(person, folder):
    person.application.load(str(folder / "cond.pkl"))
    person.settle()
    person.click("##seed", 0.97)
    person.enter("##class", "2", 0.2)
    person.click("b8.conv0")
    person.click("Normalise")
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    assert person.application.view.layer.startswith("L")  # at the same place
    person.do("key", "ctrl+z")
    assert not person.application.view.normalize
    for _ in range(3):  # the layer, the class, the seed
        person.do("key", "ctrl+z")
        person.settle()
    person.check(layer=None, class_idx=0, x=0)


@pytest.mark.slow
def test_undo_goes_on_where_a_view_is_rounded(person):
    person.click("##seed", 0.97)
    person.drag("Drag slow##translate", 40, 0)
    person.click("Round##translate")
    rounded = person.application.view.translate
    person.do("key", "ctrl+z")
    person.check(translate=rounded)
    for _ in range(2):
        person.do("key", "ctrl+z")
    person.check(translate=(0, 0), x=0)
