"""What is remembered, and folders to browse."""

import json
import os

import numpy as np
import pytest

from viz.browse import list_folder
from viz.capture_folder import CaptureFolder
from viz.capture_widget import CaptureWidget
from viz.settings import MAX_RECENT, Settings, load_settings, settings_path


def test_memory_survives():
    settings = load_settings()
    assert settings == Settings()
    for name in ("a.pkl", "b.pkl", "a.pkl"):
        settings.add_recent(name)
    settings.window_size, settings.ui_scale = (1000, 700), 1.5
    settings.save()
    assert load_settings() == settings
    assert settings.recent == ["a.pkl", "b.pkl"]


def test_recent_networks_are_limited():
    settings = Settings()
    for idx in range(100):
        settings.add_recent(str(idx))
    assert len(settings.recent) == MAX_RECENT
    assert settings.recent[0] == "99"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"recent": 3, "window_size": "x", "ui_scale": null}',
        b'{"recent": [1, {}], "window_size": [1, 2, 3], "ui_scale": NaN}',
        b'{"window_size": [1e9, -5], "ui_scale": 1e300}',
        b"[" * 100_000,
    ],
)
def test_damaged_file_is_ignored(content):
    settings_path().parent.mkdir(parents=True, exist_ok=True)
    settings_path().write_bytes(content)
    assert load_settings() == Settings()


def test_what_is_sound_in_a_damaged_file_is_kept():
    settings_path().parent.mkdir(parents=True, exist_ok=True)
    settings_path().write_text(json.dumps({"recent": ["a.pkl", 3], "window_size": [0, 0]}))
    assert load_settings() == Settings(recent=["a.pkl"])


def test_memory_without_a_place_is_forgotten(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "file"))
    Settings().save()
    assert load_settings() == Settings()


def test_folders_and_networks_newest_first(tmp_path):
    for idx, name in enumerate(["b.pkl", "a.safetensors", "log.txt", ".hidden.pkl"]):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (idx, idx))
    for idx, name in enumerate(["00001-run", "00000-run", ".git"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (idx, idx))
    (tmp_path / "dangling.pkl").symlink_to("nowhere")
    folder = list_folder(tmp_path)
    assert [path.name for path in folder.networks] == ["a.safetensors", "b.pkl"]
    assert [path.name for path in folder.folders] == ["00000-run", "00001-run"]
    assert "No such file" in list_folder(tmp_path / "missing").error


def test_files_are_numbered_from_the_highest(tmp_path):
    store = CaptureFolder(tmp_path / "new")
    capture = CaptureWidget(store, lambda *command: None, has_window=True)
    capture.save_window(np.zeros([4, 4, 3], np.uint8))
    (tmp_path / "new" / "window0041.png").write_text("")
    (tmp_path / "new" / "window9999x.png").write_text("")
    capture.save_window(np.zeros([4, 4, 3], np.uint8))
    assert (tmp_path / "new" / "window0042.png").exists()
    assert capture.state.message.endswith("window0042.png")
