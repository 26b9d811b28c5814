"""The real window on a virtual display: mouse and keyboard in, pixels out.

What is displayed must be what the renderer, asked separately, says about the same view.
"""

import math
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from dnnlib import pretrained
from network_files.load import load_network
from network_files.save import save_networks
from viz.renderer import View

pytestmark = pytest.mark.slow


def test_path_is_typed(open_window, folder):
    person = open_window()
    assert person.application.result is None
    person.enter("##network", str(folder / "t.pkl"))
    person.check(network=str(folder / "t.pkl"))
    assert person.application.settings.recent == [str(folder / "t.pkl")]


def test_file_is_dropped(open_window, folder, display):
    drop_files = pytest.importorskip("tests.viz.drop", reason="needs python-xlib").drop_files
    person = open_window()
    drop_files(display, [folder / "t.pkl"], 700, 500, person.pump)
    person.settle()
    person.check(network=str(folder / "t.pkl"))


def test_broken_file_is_dropped_and_another_one_loaded(open_window, folder, capfd):
    person = open_window()
    person.window.on_drop([str(folder / "broken.pkl")])
    person.settle()
    assert "broken.pkl" in person.application.result.error
    left, top, right, bottom = (int(edge) for edge in person.items["picture"])
    text = person.pixels()[top:bottom, left:right].astype(int)
    is_red = (text[..., 0] > 150) & (text[..., 0] > text[..., 2] + 60)
    assert is_red.sum() > 200  # the reason can be read in the middle of the window
    assert is_red[: (bottom - top) // 3].sum() == 0
    assert capfd.readouterr().err.count("broken.pkl") == 1  # and on the console, once
    person.window.on_drop([str(folder / "t.pkl")])
    person.check(network=str(folder / "t.pkl"))


def test_a_network_in_the_box_is_chosen_or_typed(open_window, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "box")
    for name in ("t", "gray"):
        save_networks(tmp_path / f"box/{name}.safetensors", load_network(folder / f"{name}.pkl"))
    person = open_window()
    person.click(next(name for name in person.items if name.endswith("boxpretrained:gray")))
    person.check(network="pretrained:gray")
    person.click("Browse")
    person.click("pretrained:t##pretrained:t")
    person.check(network="pretrained:t")
    person.enter("##network", "pretrained:gray")
    person.check(network="pretrained:gray")
    assert person.application.settings.recent == ["pretrained:gray", "pretrained:t"]
    person.enter("##network", "pretrained:grey")
    person.settle()
    assert "did you mean pretrained:gray?" in person.application.result.error


def test_recent_and_browse(open_window, folder, tmp_path):
    runs = tmp_path / "runs" / "00000-run"
    runs.mkdir(parents=True)
    network = runs / "network-snapshot-000001.pkl"
    network.write_bytes((folder / "gray.pkl").read_bytes())
    person = open_window()
    person.click("Browse")
    person.click(f"00000-run##{runs}")
    person.click(f"{network.name}##{network}")
    person.check(network=str(network))
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    person.click("Recent")
    (name,) = [name for name in person.items if name.endswith(f"##{network}") and name[0] == "/"]
    person.click(name)
    person.check(network=str(network))


def test_picture_is_dragged(person):
    before = person.picture()
    person.drag("picture", 100, 40)
    view = person.application.view
    assert view.x == pytest.approx(100 / 15 / 10, abs=0.02)
    assert view.y == pytest.approx(40 / 15 / 10, abs=0.02)
    assert not np.array_equal(person.check(), before)


def test_latent_controls(person):
    first = person.picture()
    person.click("##seed", 0.97)
    second = person.check(x=1, y=0)
    assert not np.array_equal(second, first)
    person.enter("##seed", "207", 0.2)
    person.check(x=207, y=0)
    person.click("##fraction", 0.25)
    view = person.application.view
    assert 207.3 < view.x < 207.7
    person.check()
    person.click("Snap")
    assert person.check().shape == first.shape
    assert person.application.view.x in (207, 208)
    person.drag("Drag", 60, 60)
    assert person.application.view.y == pytest.approx(0.4, abs=0.02)
    person.check()
    person.click("Reset##latent")
    np.testing.assert_array_equal(person.check(x=0, y=0), first)


def test_animation_moves_and_stops(person):
    before = person.picture()
    person.application.latent.state.speed = 1
    person.click_without_settling("##animate latent")
    person.pump(20)
    person.click_without_settling("##animate latent")
    x = person.application.view.x
    assert x > 0.05
    person.pump(5)
    assert person.application.view.x == x
    assert not np.array_equal(person.check(), before)


def test_style_mixing(person):
    before = person.picture()
    person.click("3##mix")
    one = person.check(mix_layers=(3,))
    person.click("All##mixing")
    everything = person.check(mix_layers=tuple(range(6)))
    person.click("##mix seed", 0.97)
    person.check(mix_seed=2)
    person.click("None##mixing")
    np.testing.assert_array_equal(person.check(mix_layers=()), before)
    assert not np.array_equal(one, before) and not np.array_equal(everything, one)


def test_truncation(person):
    before = person.picture()
    person.enter_number("##psi", "0.6")
    assert not np.array_equal(person.check(truncation_psi=0.6), before)
    person.click("##cutoff", 0.4)
    assert person.application.view.truncation_cutoff in (2, 3)
    person.check()
    person.click("Reset##truncation")
    np.testing.assert_array_equal(person.check(truncation_psi=1, truncation_cutoff=None), before)


def test_noise_and_classes(open_window, folder):
    person = open_window()
    person.application.load(str(folder / "cond.pkl"))
    with_noise = person.check(noise_mode="const", class_idx=0)
    person.click("On##noise")
    without = person.check(noise_mode="none")
    person.click("Random")
    drawn = person.check(noise_mode="random", noise_seed=0)
    person.click("##noise seed", 0.97)
    other = person.check(noise_seed=1)
    pictures = [with_noise, without, drawn, other]
    assert len({picture.tobytes() for picture in pictures}) == 4
    person.click("Animate##noise")
    person.pump(20)
    assert person.application.view.noise_seed > 1
    person.click_without_settling("Random")
    person.check(noise_mode="const")
    person.click("##class", 0.97)
    person.click("##class", 0.97)
    person.click("##class", 0.97)  # there are three
    assert not np.array_equal(person.check(class_idx=2), with_noise)


def test_layers(person):
    person.click("L1_36_8")
    person.check(layer="L1_36_8")
    person.click("##channel", 0.97)
    person.check(channel=1)
    person.click("1##channels")
    person.check(num_channels=1)
    person.click("Normalise")
    person.check(normalize=True)
    person.enter_number("##gain", "-6")
    person.check(gain_db=-6)
    person.click("FFT")
    all_channels = person.check(fft=True, fft_all=True)
    person.click("All channels")
    assert not np.array_equal(person.check(fft_all=False), all_channels)
    person.drag("##range", 40, 0, 0.25)
    low, high = person.application.view.fft_range_db
    assert low > -40 and high == 20
    person.check()
    person.enter_number("##beta", "3")
    person.check(fft_beta=3)
    person.click("image")
    person.check(layer=None)


def test_the_layer_at_the_same_place_of_another_network_is_shown(person, folder, capfd):
    person.click("L1_36_8")
    idx = [layer.name for layer in person.application.result.layers].index("L1_36_8")
    person.application.load(str(folder / "cond.pkl"))
    person.settle()
    person.check(layer=person.application.result.layers[idx].name)
    assert capfd.readouterr().err == ""


def test_equivariance(person):
    before = person.picture()
    person.drag("Drag fast##translate", 60, 0)
    assert person.application.view.translate[0] == pytest.approx(0.2, abs=0.02)
    moved = person.check()
    person.drag("Drag slow##translate", 60, 60)
    assert person.application.view.translate[1] == pytest.approx(0.01, abs=0.002)
    person.click("Round##translate")
    x, y = person.application.view.translate
    assert x * 16 == round(x * 16) and y == 0
    person.check()
    person.drag("Drag fast##rotate", 40, 0)
    assert person.application.view.rotate == pytest.approx(12, abs=1)
    turned = person.check()
    person.click("Round##rotate")
    person.check(rotate=0)
    person.click_without_settling("Animate##rotate")
    person.pump(10)
    person.click_without_settling("Animate##rotate")
    person.click("Reset##transform")
    np.testing.assert_array_equal(person.check(translate=(0, 0), rotate=0), before)
    assert not np.array_equal(moved, before) and not np.array_equal(turned, moved)


def test_untransform(person):
    person.drag("Drag fast##translate", 20, 0)
    moved = person.check()
    person.click("Untransform")
    assert not np.array_equal(person.check(untransform=True), moved)


def test_equivariance_is_greyed_out_without_input_transform(open_window, folder):
    person = open_window()
    person.application.load(str(folder / "cond.pkl"))
    person.settle()
    person.drag("Drag fast##translate", 60, 0)
    person.click("Untransform")
    person.check(translate=(0, 0), untransform=False)


def test_performance_controls(person):
    person.click("Force FP32")
    person.check(force_fp32=True)
    person.click("Vsync")
    assert person.application.performance.state.use_vsync
    person.click("##fps limit", 0.05)
    assert person.window.fps_limit < 30
    before = person.picture()
    person.click("Async")
    assert person.application.renderer.pid is not None
    np.testing.assert_array_equal(person.check(), before)
    person.click("Async")
    np.testing.assert_array_equal(person.check(), before)
    assert len(person.application.performance.state.render_ms) == 0  # all of them were first ones
    for _ in range(3):
        person.click("##seed", 0.97)
    assert len(person.application.performance.state.render_ms) == 3


def test_captures_are_numbered(person, tmp_path):
    person.click("Save image")
    person.do("key", "ctrl+s")
    person.click("Save GUI")
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["image0000.png", "image0001.png", "window0000.png"]
    image = np.asarray(PIL.Image.open(tmp_path / "saved" / "image0001.png"))
    np.testing.assert_array_equal(image, person.application.result.image)
    window = np.asarray(PIL.Image.open(tmp_path / "saved" / "window0000.png"))
    assert window.shape == (1100, 800, 3)
    person.enter("##capture folder", "/proc/nowhere")
    person.do("key", "ctrl+s")
    assert "not saved" in person.application.capture.state.message


def test_keys(person):
    before = person.pixels()
    person.do("key", "F1")
    assert (person.pixels() != before).any(2).mean() > 0.02
    person.do("key", "Escape")  # closes the help first
    assert not person.window.should_close()
    np.testing.assert_array_equal(person.pixels()[:, 410:], before[:, 410:])
    person.do("key", "ctrl+equal")
    assert person.window.ui_scale == pytest.approx(1.1)
    person.do("key", "Escape")  # asks
    assert not person.window.should_close()
    person.do("key", "Escape")
    assert not person.window.should_close()
    person.do("key", "Return")  # nothing is asked any more
    assert not person.window.should_close()
    person.do("key", "Escape")
    person.do("key", "Return")
    assert person.window.should_close()


def test_picture_follows_the_size_of_the_window(person):
    wide = person.items["picture"]
    for size in ((900, 700), (640, 480), (1500, 1300)):
        person.window.size = size
        person.pump(15)
        person.check()
        right, bottom = person.items["picture"][2:]
        assert right < size[0] and bottom < size[1]
    assert person.items["picture"] != wide


@pytest.mark.parametrize("ui_scale", [1.0, 2.0])
def test_controls_follow_the_scale(open_window, folder, ui_scale):
    person = open_window(size=(1400, 1400), ui_scale=ui_scale)
    person.application.load(str(folder / "t.pkl"))
    person.check()
    person.items.clear()  # those of the first screen
    person.pump()
    _, top, _, bottom = person.items["Load"]
    assert bottom - top == pytest.approx(21 * ui_scale, abs=2 * ui_scale)
    left = person.items["picture"][0]
    assert left == pytest.approx(27 * 15 * ui_scale, abs=12 * ui_scale)
    for name, rectangle in person.items.items():
        if name != "picture":
            assert rectangle[2] <= person.items["picture"][0], name


def test_nothing_is_rendered_or_drawn_while_nothing_happens(person):
    frames, views = [], []
    draw, submit = person.application.draw, person.application.renderer.submit
    person.application.renderer.submit = lambda view: (views.append(view), submit(view))
    person.application.draw = lambda: (frames.append(1), draw())
    window = person.window
    person.pump(10)
    while window._pending_frames > 0 or window._later:
        window.step(person.application.draw)
    frames.clear()
    import threading

    timer = threading.Timer(1.5, window.wake)
    timer.start()
    window.step(person.application.draw)  # sleeps until then
    assert timer.finished.is_set()
    assert len(frames) == 1
    assert views == []


def test_slow_renderer_does_not_stop_the_window(open_window, folder):
    """Views come fast, pictures slowly: the last view is the one that is shown in the end."""
    person = open_window(is_async=True)
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    for x in range(1, 30):
        person.application.view = replace(person.application.view, x=x)
        person.pump(1)
    person.check(x=29)


def test_crash_of_the_renderer_is_shown_and_survived(open_window, folder, capfd):
    import os
    import signal

    person = open_window(is_async=True)
    person.application.load(str(folder / "t.pkl"))
    person.check()
    os.kill(person.application.renderer.pid, signal.SIGKILL)
    while person.application.result.error is None:
        person.pump(1)
    assert "SIGKILL" in person.application.result.error
    assert "SIGKILL" in capfd.readouterr().err
    person.click("##seed", 0.97)
    person.check(x=1)


def test_view_of_the_window_is_exact(person):
    """Sliders compute in single precision; what they are not told to change stays as it was."""
    view = replace(person.application.view, truncation_psi=0.7, gain_db=0.1, x=math.pi)
    view = replace(view, fft=True, fft_range_db=(-33.3, 11.1), fft_beta=1.1)
    person.application.view = view
    person.settle()
    assert person.application.view == view
    assert person.application.view != View()


def test_classes_that_another_network_lacks_are_mended_without_an_error(person, folder, capfd):
    person.application.view = replace(person.application.view, class_idx=7)  # there are none
    person.settle()
    person.application.load(str(folder / "cond.pkl"))
    person.check(class_idx=2)
    assert capfd.readouterr().err == ""
    assert person.application.status() == "this network has classes 0 to 2 only"
    person.click("##seed", 0.97)
    assert person.application.status().startswith("16x16")


def test_speed_sliders_are_finer_near_zero(person):
    from viz.latent_widget import MAX_SPEED

    speeds = []
    for at in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        person.click("##speed", at)
        speeds.append(person.application.latent.state.speed)
    assert speeds[0] == pytest.approx(0, abs=0.01)
    assert speeds[-1] == pytest.approx(MAX_SPEED)
    steps = np.diff(speeds)
    assert (steps > 0).all() and (np.diff(steps) > 0).all()
    assert speeds[2] < 0.1 * MAX_SPEED
    person.click("##speed", 0.02)
    assert person.application.latent.state.speed < -0.8 * MAX_SPEED
    person.enter_number("##speed", "0.125")
    assert person.application.latent.state.speed == 0.125


def test_seeds_go_to_the_last_one(open_window, folder):
    last = 2**32 - 1
    person = open_window(view=View(network=str(folder / "t.pkl"), x=last))
    person.check(x=last)
    person.click("##mix seed", 0.73)
    person.click("##mix seed", 0.73)  # minus
    person.check(mix_seed=last)
    person.click("##mix seed", 0.97)
    person.check(mix_seed=0)
    person.enter("##seed", str(10**30), 0.2)
    person.click("##seed", 0.97)
    assert person.application.result.error is None


def test_numbers_that_are_no_numbers_change_nothing(person):
    from viz.latent_widget import MAX_SPEED

    person.enter_number("##psi", "1e99")
    person.enter_number("##translate", "1e99")
    person.check(truncation_psi=1, translate=(0, 0))
    person.click_without_settling("##animate latent")
    person.enter_number_without_settling("##speed", "1e30")
    assert abs(person.application.latent.state.speed) == MAX_SPEED
    person.click_without_settling("##animate latent")
    person.settle()
    assert person.application.result.error is None
