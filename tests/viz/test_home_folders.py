"""Paths that are typed into the window may begin with `~`."""

from pathlib import Path

import numpy as np

from tests.viz import networks
from viz.capture_folder import CaptureFolder
from viz.capture_widget import CaptureWidget
from viz.renderer import Renderer, View
from viz.settings import Settings


def test_a_typed_network_may_be_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    networks.save(networks.stylegan3(), tmp_path / "t.pkl")
    renderer = Renderer("cpu")
    assert renderer.render(View(network="~/t.pkl")).error is None
    error = renderer.render(View(network="~nobody-of-this-name/t.pkl")).error
    assert error.startswith("~nobody-of-this-name/t.pkl: there is no user")


def saving_to(folder: str) -> CaptureWidget:
    return CaptureWidget(CaptureFolder(Path(folder)), lambda *command: None, has_window=True)


def test_pictures_go_below_home_or_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros([2, 2, 3], np.uint8)
    capture = saving_to("~/pictures")
    capture.save_window(pixels)
    assert capture.state.message == f"saved {tmp_path / 'pictures' / 'window0000.png'}"
    for folder in ("~nobody-of-this-name", "~nobody-of-this-name/x"):
        capture = saving_to(folder)
        capture.save_window(pixels)
        assert capture.state.message.startswith(f"not saved to {folder}: ")
        assert "there is no user 'nobody-of-this-name'" in capture.state.message
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_without_a_place_nothing_is_remembered(monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", "~nobody-of-this-name/x")
    Settings(recent=["a.pkl"]).save()
