"""The command: screenshots without a display, and its refusals."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from tests.viz import networks
from viz.renderer import Renderer, View

ROOT = Path(__file__).parent.parent
WITHOUT_DISPLAY = {
    name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")
}


def run(*args, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "visualizer.py", *map(str, args)],
        cwd=ROOT,
        env={**WITHOUT_DISPLAY, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_screenshot_without_a_display(tmp_path):
    pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")
    torch.manual_seed(0)
    network = networks.save(networks.stylegan3(), tmp_path / "t.pkl")
    path = tmp_path / "window.png"
    result = run(f"--screenshot={path}", "--size=900x600", "--device=cpu", network)
    if "no OpenGL" in result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == 0, result.stderr
    window = np.asarray(PIL.Image.open(path))
    assert window.shape == (600, 900, 3)
    image = Renderer("cpu").render(View(network=str(network))).image
    enlarged = image.repeat(29, axis=0).repeat(29, axis=1)
    height, width = enlarged.shape[:2]
    # Somewhere on the right is the picture, exactly.
    x, y = (int(v) for v in np.argwhere((window == enlarged[0, 0]).all(2))[0][::-1])
    assert x > 400
    np.testing.assert_array_equal(window[y : y + height, x : x + width], enlarged)


def refusals(folder: Path) -> dict[str, str]:
    """What is given in place of a network, and a part of what is said."""
    (folder / "text.pkl").write_text("hello")
    torch.save({}, folder / "old.pt", _use_new_zipfile_serialization=False)
    (folder / "cut.pkl").write_bytes(
        networks.save(networks.stylegan3(), folder / "t.pkl").read_bytes()[:999]
    )
    return {
        "missing.pkl": "No such file or directory",
        "text.pkl": "this is not a network pickle",
        "old.pt": "this is a torch.save file in the format before PyTorch 1.6",
        "cut.pkl": "the pickle is truncated or damaged",
        "~nobody-of-this-name/net.pkl": "there is no user 'nobody-of-this-name'",
    }


@pytest.mark.slow
def test_a_refused_network_gives_no_screenshot(tmp_path):
    pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")
    path = tmp_path / "window.png"
    for name, message in refusals(tmp_path).items():
        network = name if name.startswith("~") else tmp_path / name
        result = run(f"--screenshot={path}", "--size=640x480", "--device=cpu", network)
        if "no OpenGL" in result.stderr:
            pytest.skip(result.stderr)
        assert result.returncode == (2 if name.startswith("~") else 1), result.stderr
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert message in line
        assert "Wrote" not in result.stdout
        assert not path.exists()


@pytest.mark.slow
def test_a_screenshot_without_a_network_is_that_of_the_window(tmp_path):
    pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")
    path = tmp_path / "window.png"
    result = run(f"--screenshot={path}", "--size=640x480", "--device=cpu")
    if "no OpenGL" in result.stderr:
        pytest.skip(result.stderr)
    assert (result.returncode, result.stderr) == (0, "")
    assert np.asarray(PIL.Image.open(path)).shape == (480, 640, 3)


@pytest.mark.slow
def test_no_display_is_said_in_one_line():
    pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")
    if sys.platform != "linux":
        pytest.skip("other systems always have one")
    result = run("--device=cpu")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: there is no display for a window")
    assert result.stderr.count("\n") == 1
    assert "ssh -X" in result.stderr and "--serve" in result.stderr


@pytest.mark.slow
def test_missing_packages_are_named(tmp_path):
    (tmp_path / "imgui_bundle.py").write_text("raise ImportError('none here', name='imgui_bundle')")
    result = run("--device=cpu", PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert "pip install -r requirements-gui.txt" in result.stderr
    assert result.stderr.count("\n") == 1
