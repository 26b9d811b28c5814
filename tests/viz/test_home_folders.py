"""Paths that are typed into the window may begin with `~`."""

import numpy as np
import pytest

from tests.viz import networks
from viz.renderer import Renderer, View
from viz.settings import Settings


def test_a_typed_network_may_be_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    networks.save(networks.stylegan3(), tmp_path / "t.pkl")
    renderer = Renderer("cpu")
    assert renderer.render(View(network="~/t.pkl")).error is None
    error = renderer.render(View(network="~nobody-of-this-name/t.pkl")).error
    assert error.startswith("~nobody-of-this-name/t.pkl: there is no user")


def test_pictures_go_below_home_or_nowhere(tmp_path, monkeypatch):
    pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")
    from viz.capture_widget import CaptureWidget

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros([2, 2, 3], np.uint8)
    capture = CaptureWidget("~/pictures")
    capture.save_window(pixels)
    assert capture.state.message == f"saved {tmp_path / 'pictures' / 'window0000.png'}"
    for folder in ("~nobody-of-this-name", "~nobody-of-this-name/x"):
        capture = CaptureWidget(folder)
        capture.save_window(pixels)
        assert capture.state.message.startswith(f"not saved to {folder}: ")
        assert "there is no user 'nobody-of-this-name'" in capture.state.message
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_without_a_place_nothing_is_remembered(monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", "~nobody-of-this-name/x")
    Settings(recent=["a.pkl"]).save()
