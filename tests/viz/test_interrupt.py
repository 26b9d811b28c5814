"""Ctrl-C in the terminal that the viewer was started from."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def test_ctrl_c_ends_a_window_that_rests(display, folder, tmp_path):
    network = folder / "t.pkl"
    environment = {**os.environ, "DISPLAY": display, "DNNLIB_CACHE_DIR": str(tmp_path)}
    environment.pop("WAYLAND_DISPLAY", None)
    process = subprocess.Popen(
        [sys.executable, "visualizer.py", "--device=cpu", "--size=700x500", network],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        # The title comes with the picture; then the window goes to sleep.
        subprocess.run(
            ["xdotool", "search", "--sync", "--name", "t.pkl - Visualizer"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        time.sleep(1.5)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the renderer gets it, too
        _, errors = process.communicate(timeout=60)  # no event would wake the window
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors.split() in ([], ["Aborted"], ["Aborted!"])
    settings = json.loads((tmp_path / "visualizer.json").read_text())
    assert settings["recent"] == [str(network)] and settings["window_size"] == [700, 500]
