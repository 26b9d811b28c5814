"""What is where: scroll bars, tooltips, popups, folded panes, and blank controls."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib import pretrained
from tests.viz import networks
from viz.renderer import View
from viz.settings import Settings

pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")

from imgui_bundle import imgui

pytestmark = pytest.mark.slow
LAPTOP = (1280, 800)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Networks with as many styles and layers as published ones."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    sizes = dict(num_layers=14, num_critical=2, channel_base=256, channel_max=4)
    networks.save(networks.stylegan3(256, **sizes), folder / "t.pkl")
    networks.save(networks.stylegan2(1024, channel_base=1024, channel_max=4), folder / "sg2.pkl")
    return folder


def has_scroll_bar() -> bool:
    window = imgui.internal.find_window_by_name("panes")
    return window.scrollbar_x or window.scrollbar_y


@pytest.mark.parametrize("name, num_ws", [("t", 16), ("sg2", 18)])
def test_all_controls_fit_on_a_laptop(open_window, published, name, num_ws):
    person = open_window(size=LAPTOP, settings=Settings())
    assert not has_scroll_bar()
    seen = []
    draw = person.application.draw
    person.application.draw = lambda: (draw(), seen.append(has_scroll_bar()))
    person.application.load(str(published / f"{name}.pkl"))
    person.settle()
    assert person.application.result.network.num_ws == num_ws
    for layer in (None, person.application.result.layers[-3].name):
        for options in ({}, {"fft": True}, {"num_channels": 1}):
            person.application.view = replace(person.application.view, layer=layer, **options)
            person.settle()
            assert "Capture" in person.items and person.items["Capture"][3] <= LAPTOP[1]
            person.application.view = View(network=person.application.view.network)
    assert not any(seen)  # not even for one frame


def test_narrow_windows_have_scroll_bars(open_window, folder):
    person = open_window(size=(500, 400), settings=Settings())
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    assert has_scroll_bar()
    window = imgui.internal.find_window_by_name("panes")
    assert window.scrollbar_x and window.scrollbar_y


def test_tooltips_cover_no_control(open_window, folder):
    person = open_window(size=LAPTOP, settings=Settings())
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    window, style = person.window, imgui.get_style()
    delay_sec = style.hover_stationary_delay
    panes = imgui.internal.find_window_by_name("panes")
    right = int(panes.size.x)
    # As tests before this one may leave it: with a tooltip.
    person.do("mousemove", *person.position("##network"))
    while window._pending_frames > 0 or window._later:
        window.step(person.application.draw)
    for item in ("##network", "FFT", "3##mix", "Browse"):
        person.do("mousemove", right + 100, 400)
        style.hover_stationary_delay = 1e9
        person.do("mousemove", *person.position(item))
        before = person.pixels()
        style.hover_stationary_delay = delay_sec
        rested = tuple(imgui.get_io().mouse_pos)
        person.do("mousemove_relative", 1, 0)
        while tuple(imgui.get_io().mouse_pos) == rested:  # on a busy machine the event comes late
            person.pump(1)
        while window._pending_frames > 0 or window._later:  # the window wakes up by itself
            window.step(person.application.draw)
        after = person.pixels()
        np.testing.assert_array_equal(after[:, :right], before[:, :right])
        rows = np.flatnonzero((after != before).any(2).any(1))
        _, top, _, bottom = person.items[item]
        assert rows[0] < bottom and rows[-1] > top  # it is beside the control


@pytest.mark.parametrize("button", ["Recent", "Browse"])
def test_popups_open_below_their_buttons(open_window, folder, tmp_path, monkeypatch, button):
    (tmp_path / "box").mkdir()
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "box")  # the run is the first row
    (tmp_path / "runs" / "00000-run").mkdir(parents=True)
    settings = Settings(recent=[str(folder / "gray.pkl"), str(folder / "cond.pkl")])
    person = open_window(size=LAPTOP, settings=settings)
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    position = person.position(button)
    person.click(button)
    left, _, right, bottom = person.items[button]
    names = [name for name in person.items if name.startswith("00000-run##")]
    if button == "Recent":
        names = [name for name in person.items if name.endswith("gray.pkl") and "/" in name]
    x, y = person.items[names[-1]][:2]
    assert left <= x < right + 20 and bottom <= y < bottom + 30
    person.do("mousemove", *position)
    person.do("click", 1)  # the button is not covered: again, it closes the popup
    person.pump(5)
    assert person.items[button][3] == bottom


def test_panes_remember_whether_they_are_folded(open_window, folder):
    settings = Settings()
    person = open_window(size=LAPTOP, settings=settings)
    assert settings.folded == ["Directions & points", "Performance", "Capture"]
    person.click("Capture")
    assert settings.folded == ["Directions & points", "Performance"]
    assert "Save image" in person.items
    person.click("Latent")
    assert settings.folded == ["Directions & points", "Performance", "Latent"]
    person.items.clear()
    person.pump()
    assert "##seed" not in person.items and "##mix seed" in person.items
    person.application.load(str(folder / "t.pkl"))
    person.check()
    settings.save()

    from viz.settings import load_settings

    assert load_settings().folded == ["Directions & points", "Performance", "Latent"]


def test_folded_panes_stay_folded_in_the_next_window(open_window):
    person = open_window(size=LAPTOP, settings=Settings(folded=["Latent", "No such pane"]))
    assert "##seed" not in person.items
    assert "##fps limit" in person.items and "Save image" in person.items
    person.click("Latent")
    assert "##seed" in person.items


def test_controls_are_blank_and_do_nothing_before_there_is_a_network(open_window, folder):
    person = open_window(settings=Settings(folded=[]))
    before = person.application.view
    for name in ("##psi", "##seed", "##animate latent", "FFT", "##gain", "Drag fast##translate"):
        person.drag(name, 24, x=0.9)
        person.click_without_settling(name, 0.9)
    assert person.application.view == before
    assert not person.window_is_animated()
    # No digit is brighter than the frame of the slider.
    left, top, right, bottom = (int(edge) for edge in person.items["##psi"])
    person.do("mousemove", 5, 5)
    slider = person.pixels()[top + 4 : bottom - 4, left + 6 : right - 6].astype(int)
    assert np.ptp(slider, axis=(0, 1)).max() <= 2
    person.application.load(str(folder / "t.pkl"))
    person.check()
    left, top, right, bottom = (int(edge) for edge in person.items["##psi"])  # panes have grown
    slider = person.pixels()[top + 4 : bottom - 4, left + 6 : right - 6].astype(int)
    assert np.ptp(slider, axis=(0, 1)).max() > 100


def test_controls_work_again_once_a_network_has_failed_after_another(person, folder):
    person.application.load(str(folder / "broken.pkl"))
    person.settle()
    assert person.application.result.error is not None
    person.click("FFT")
    assert person.application.view.fft


def test_all_layers_are_listed_where_there_is_room(open_window, published):
    person = open_window(size=(900, 1200), settings=Settings())
    person.application.load(str(published / "t.pkl"))
    person.settle()
    rows = ["image", *(layer.name for layer in person.application.result.layers)]
    panes = imgui.internal.find_window_by_name("panes")
    (table,) = [child for child in panes.dc.child_windows if "layers" in child.name]
    assert not table.scrollbar_y
    # And there is hardly more room than they need.
    bottom = person.items[rows[-1]][3]
    assert bottom <= table.pos.y + table.size.y <= bottom + 6
