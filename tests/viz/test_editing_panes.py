"""Latents, directions and points in the real window: mouse and keyboard in, pixels out."""

import pickle
import shlex
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import gen_images
from editing import directions
from editing.directions import Directions
from generation import latent_files
from generation.latent_files import Latents
from viz import points_widget
from viz.command_line import gen_images_command
from viz.frozen_array import FrozenArray
from viz.renderer import View
from viz.settings import Settings, load_settings
from viz.view import Drag, base_of

pytestmark = pytest.mark.slow

SIZE = (800, 1400)  # all panes are open


@pytest.fixture
def styles(folder, tmp_path):
    """Files of latents and of directions for the network `t`, and a target picture."""
    G = pickle.loads((folder / "t.pkl").read_bytes())["G_ema"]
    ws = torch.randn([2, G.num_ws, G.w_dim], generator=torch.Generator().manual_seed(1))
    latent_files.save(tmp_path / "w.npz", Latents(ws, names=("100% ann", "bob")))
    vectors = np.zeros([2, 1, G.w_dim], np.float32)
    vectors[[0, 1], 0, [0, 1]] = 1
    directions.save(
        tmp_path / "d.npz", Directions(vectors, np.array([3.0, 3.0]), ("age", "sun"), "drawn")
    )
    (tmp_path / "bob").mkdir()
    PIL.Image.new("RGB", (16, 16), (10, 200, 30)).save(tmp_path / "bob/target.png")
    return tmp_path


@pytest.fixture
def person(open_window, folder):
    person = open_window(size=SIZE)
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    return person


def test_latents_are_dropped_chosen_and_closed(person, styles):
    before = person.picture()
    person.window.on_drop([str(styles / "w.npz")])
    first = person.check(latents=str(styles / "w.npz"), latent_idx=0)
    assert not np.array_equal(first, before)
    person.click("##latent idx", 0.97)
    second = person.check(latent_idx=1)
    assert not np.array_equal(second, first)
    person.drag("picture", 100, 0)  # there is no plane to move in
    person.check(latent_idx=1, x=0)
    assert "##seed" not in drawn_items(person)
    person.click("Close##Latents of projector.py, or of other programs")
    np.testing.assert_array_equal(person.check(latents=None), before)
    assert person.application.settings.recent_files == [str(styles / "w.npz")]
    person.click("Recent")
    person.click(f"{styles / 'w.npz'}##{styles / 'w.npz'}")
    person.check(latents=str(styles / "w.npz"))


def drawn_items(person) -> set[str]:
    """Names of the controls in the next frames."""
    person.items.clear()
    person.pump(2)
    return set(person.items)


def test_the_target_is_shown_at_the_left_of_the_picture(person, styles):
    person.window.on_drop([str(styles / "w.npz")])
    person.click("##latent idx", 0.97)
    whole = person.application.picture.whole
    person.click("##Show##target" if "##Show##target" in person.items else "Show##target")
    person.check(latent_idx=1)
    left, top, right, bottom = (int(edge) for edge in person.items["picture"])
    pixels = person.pixels()[top:bottom, left:right]
    is_target = (pixels == (10, 200, 30)).all(axis=2)
    columns = np.flatnonzero(is_target.any(axis=0))
    assert is_target.sum() == len(columns) ** 2 > 16**2  # a square
    assert columns.max() + left < person.application.picture.whole[0]
    assert person.application.picture.whole != whole
    person.click("##latent idx", 0.03)  # has no target
    person.check(latent_idx=0)
    assert person.application.picture.whole == whole


def test_a_broken_file_is_dropped(person, styles, capfd):
    (styles / "broken.npz").write_bytes(b"no zip")
    before = person.picture()
    person.window.on_drop([str(styles / "broken.npz")])
    np.testing.assert_array_equal(person.check(latents=None, directions=None), before)
    assert "broken.npz is not an NPZ file" in capfd.readouterr().err
    assert "broken.npz" in person.application.status()


def test_directions_are_dropped_moved_limited_and_reset(person, styles):
    before = person.picture()
    person.window.on_drop([str(styles / "d.npz")])
    np.testing.assert_array_equal(person.check(directions=str(styles / "d.npz")), before)
    person.enter_number("##age", "2")
    moved = person.check(amounts=(("age", 2.0),))
    assert not np.array_equal(moved, before)
    person.click("##sun", 0.97)
    (_, amount), (name, sun) = person.application.view.amounts
    assert (amount, name) == (2.0, "sun")
    assert 2.5 < sun <= 3
    person.check()
    person.click("0##sun")
    np.testing.assert_array_equal(person.check(amounts=(("age", 2.0),)), moved)
    person.drag("##direction layers", 60, 0, x=0.02)
    first, last = person.application.view.direction_layers
    assert 0 < first <= last == person.application.result.network.num_ws - 1
    assert not np.array_equal(person.check(), moved)
    person.do("key", "ctrl+z")
    np.testing.assert_array_equal(person.check(amounts=(("age", 2.0),)), moved)
    person.click("Reset##directions")
    np.testing.assert_array_equal(person.check(amounts=(), direction_layers=None), before)
    person.click("Close##A file that directions.py has written")
    person.check(directions=None)


def pull(person, start, end) -> None:
    """Press on a place of the picture, in pixels of the image, and drag to another one."""
    left, top, right, _ = person.application.picture.whole
    scale = (right - left) / 16
    places = [(round(left + x * scale), round(top + y * scale)) for x, y in (start, end)]
    person.do("mousemove", *places[0])
    person.do("mousedown", 1)
    for step in (1, 2, 3):
        x, y = (round(a + (b - a) * step / 3) for a, b in zip(*places, strict=True))
        person.do("mousemove", x, y)
    person.do("mouseup", 1)
    person.settle()


def test_points_are_set_started_undone_and_reset(person):
    before = person.picture()
    person.click("Set points")
    pull(person, (5.5, 8.5), (8.5, 8.5))
    pull(person, (10.5, 4.5), (10.5, 6.5))
    pull(person, (3, 3), (3, 3))  # a click sets no point
    drag = person.application.view.drag
    assert np.abs(np.array(drag.points) - [(5.5, 8.5), (10.5, 4.5)]).max() < 0.1
    assert np.abs(np.array(drag.targets) - [(8.5, 8.5), (10.5, 6.5)]).max() < 0.1
    pull(person, drag.targets[1], (12.5, 6.5))  # the target is moved
    drag = person.application.view.drag
    assert len(drag.points) == 2
    assert abs(drag.targets[1][0] - 12.5) < 0.1
    person.click_without_settling("Start##points")
    while person.application.view.drag.num_steps < 4:
        person.pump(1)
    person.click_without_settling("Stop##points")
    person.settle()
    num_steps = person.application.view.drag.num_steps
    assert num_steps >= 4
    after = rendered(person)
    assert not np.array_equal(after, before)
    person.do("key", "ctrl+z")  # all steps at once
    person.settle()
    assert person.application.view.drag.num_steps == 0
    np.testing.assert_array_equal(rendered(person), before)
    person.do("key", "ctrl+y")
    person.settle()
    assert person.application.view.drag.num_steps == num_steps
    np.testing.assert_array_equal(rendered(person), after)
    person.click("Clear##points")  # the picture stays
    assert person.application.view.drag.points == ()
    np.testing.assert_array_equal(person.check(), after)
    person.click("Reset##points")
    np.testing.assert_array_equal(person.check(drag=None), before)


def rendered(person) -> np.ndarray:
    """The picture, which points may cover in the window."""
    person.settle()
    return person.application.result.image


def test_points_stop_where_they_arrive(person):
    person.click("Set points")
    pull(person, (8.5, 8.5), (9.5, 8.5))
    person.click_without_settling("Start##points")
    for _ in range(2000):
        person.pump(1)
        if not person.application.points.is_animated:
            break
    assert person.application.result.drag.is_done
    person.settle()
    assert person.application.view.drag.num_steps > 0


def test_a_mask_is_painted_and_removed(person):
    person.click("Paint mask")
    pull(person, (4, 8), (12, 8))
    mask = person.application.view.drag.mask.array()
    assert mask[8, 4:12].all()
    assert not mask[:5].any()
    assert not mask[11:].any()
    left, top, right, bottom = (int(edge) for edge in person.application.picture.whole)
    person.click("Paint mask")
    person.do("mousemove", 2, 2)
    shown = person.pixels()[top:bottom, left:right].astype(int)
    scale = shown.shape[0] // 16
    cells = shown.reshape(16, scale, 16, scale, 3)[:, scale // 2, :, scale // 2]
    image = person.application.result.image.astype(int)
    np.testing.assert_array_equal(cells[mask], image[mask])  # the rest is darker
    assert (cells[~mask].sum() * 1.5) < image[~mask].sum()
    person.click("No mask")
    assert person.application.view.drag.mask is None


def test_another_picture_takes_the_points_back_to_their_start(person, folder):
    view = person.application.view
    person.application.view = View(
        network=view.network, drag=Drag(base_of(view), ((5.5, 8.5),), ((8.5, 8.5),), num_steps=3)
    )
    person.settle()
    person.enter("##seed", "7", 0.2)
    drag = person.application.view.drag
    assert (drag.num_steps, drag.points) == (0, ((5.5, 8.5),))
    person.application.load(str(folder / "gray.pkl"))
    person.check(drag=None)


def test_points_need_the_image(person):
    person.application.view = View(network=person.application.view.network, fft=True)
    person.settle()
    person.click("Set points")
    assert not person.application.points.takes_mouse


def test_the_latent_on_screen_is_saved_and_loaded_again(person, styles):
    person.window.on_drop([str(styles / "d.npz")])
    person.enter_number("##age", "2")
    person.application.view = View(
        **{**vars(person.application.view), "translate": (0.2, 0.1), "mix_layers": (1,)}
    )
    before = person.check()
    person.click("Save latent")
    (path,) = (styles / "saved").glob("*.npz")
    assert path.name == "latent0000.npz"
    person.application.view = View(network=person.application.view.network, latents=str(path))
    np.testing.assert_array_equal(person.check(), before)
    assert person.application.result.notice is None


def test_the_command_draws_the_same_picture(person, styles, tmp_path, monkeypatch):
    latent_files.save(tmp_path / "one.npz", Latents(latent_files.load(styles / "w.npz").ws[1:]))
    person.window.on_drop([str(tmp_path / "one.npz")])
    person.window.on_drop([str(styles / "d.npz")])
    person.enter_number("##age", "2")
    shown = person.check()
    result = person.application.result
    command, left_out = gen_images_command(result.view, result.network)
    assert left_out == []
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(gen_images.main, shlex.split(command)[2:])
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.array(PIL.Image.open("out/proj00.png")), shown)


def test_the_command_says_that_it_draws_all_images_of_a_file(person, styles):
    person.window.on_drop([str(styles / "w.npz")])
    person.settle()
    person.application.capture.copy_command(person.application.result)
    assert "without the choice of the image" in person.application.capture.state.message


def a_drag(person, num_steps: int = 0, **changes) -> View:
    view = View(network=person.application.view.network)
    points, targets = ((5.5, 8.5), (10.5, 4.5)), ((9.5, 8.5), (10.5, 8.5))
    return View(
        network=view.network,
        drag=Drag(base_of(view), points, targets, num_steps=num_steps, **changes),
    )


def test_undo_ends_a_run_and_takes_back_its_steps_only(person):
    person.application.view = a_drag(person)
    person.settle()
    person.click_without_settling("Start##points")
    while person.application.view.drag.num_steps < 3:
        person.pump(1)
    person.do("key", "ctrl+z")
    person.settle()
    assert not person.application.points.is_animated
    assert person.application.view == a_drag(person)


def test_a_folded_pane_leaves_the_mouse_alone(person):
    person.application.view = a_drag(person)
    person.click("Set points")
    person.click_without_settling("Start##points")
    person.click_without_settling("Directions & points", x=0.02)  # folds
    person.settle()
    assert not person.application.points.is_animated
    person.drag("picture", 100, 0)
    assert person.application.view.x > 0
    assert len(person.application.view.drag.points) == 2


def test_points_are_shown_on_the_image_alone(person):
    person.application.view = a_drag(person, 2)
    person.settle()
    app = person.application
    assert app.points.shown(app.view, app.result).points == app.result.drag.points
    for changes in ({"fft": True}, {"layer": "L1_36_8"}, {"untransform": True}):
        app.view = replace(a_drag(person, 2), **changes)
        person.settle()
        assert app.points.shown(app.view, app.result) is None
        pull(person, (4, 4), (8, 8))
        assert len(app.view.drag.points) == 2


def test_a_press_beside_the_picture_sets_no_point(person):
    person.click("Set points")
    left, top, _, _ = person.items["picture"]
    assert person.application.picture.whole[1] > top + 10
    person.do("mousemove", round(left) + 5, round(top) + 5)
    person.do("mousedown", 1)
    person.do("mousemove", 600, 700)
    person.do("mouseup", 1)
    person.settle()
    assert person.application.view.drag is None


def test_a_drag_that_fails_can_be_reset(person, capfd):
    before = person.picture()
    mask = FrozenArray.of(np.ones([3, 3], bool))
    person.application.view = a_drag(person, 1, mask=mask)
    person.settle()
    assert "mask" in person.application.result.error
    assert "mask" in capfd.readouterr().err
    person.click("Reset##points")
    np.testing.assert_array_equal(person.check(drag=None), before)


def test_points_outside_the_mask_cannot_start(person):
    mask = np.zeros([16, 16], bool)
    mask[6:12, 2:12] = True
    person.application.view = a_drag(person, mask=FrozenArray.of(mask))
    person.click("Start##points")
    assert person.application.view.drag.num_steps == 0
    assert not person.application.points.is_animated
    mask[:] = True
    person.application.view = a_drag(person, mask=FrozenArray.of(mask))
    person.click_without_settling("Start##points")
    assert person.application.points.is_animated


def test_points_of_another_network_do_not_come_back(person, folder):
    network = person.application.view.network
    person.application.view = a_drag(person, 2)
    person.settle()
    person.application.load(str(folder / "gray.pkl"))
    person.settle()
    person.do("key", "ctrl+z")
    person.check(network=str(folder / "gray.pkl"), drag=None)
    assert network != str(folder / "gray.pkl")


def test_a_file_that_has_changed_is_dropped_again(person, styles):
    path = styles / "w.npz"
    person.window.on_drop([str(path)])
    before = person.check()
    content = latent_files.load(path)
    latent_files.save(path, Latents(-content.ws, names=content.names))
    person.window.on_drop([str(path)])
    after = person.check(latents=str(path))
    assert not np.array_equal(before, after)
    latent_files.save(path, content)
    person.enter("##Latents of projector.py, or of other programs", str(path))
    np.testing.assert_array_equal(person.check(), before)


def test_results_of_another_drag_are_not_taken_for_this_one(person):
    person.application.view = a_drag(person, 3)
    person.settle()
    result = person.application.result
    drag = person.application.view.drag
    assert points_widget._settled(drag, result).points == result.drag.points
    other = replace(drag, points=drag.points[:1], targets=drag.targets[:1])
    assert points_widget._settled(other, result) is None
    assert (
        points_widget._changed(replace(person.application.view, drag=other), result).drag == other
    )


def test_recent_files_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))
    settings = Settings()
    for path in ("a.npz", "b.npz", "a.npz"):
        settings.add_recent_file(path)
    settings.save()
    assert load_settings().recent_files == ["a.npz", "b.npz"]
    assert "Directions & points" in load_settings().folded
