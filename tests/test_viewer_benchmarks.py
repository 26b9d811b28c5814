"""The benchmarks of the viewer run, say what is missing, and compute what they mean to compute."""

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import viewer, viewer_memory, viewer_page
from benchmarks.viewer_speed import FrontEnd, Latency, front_end_rows

TINY = ["--resolution=16", "--cbase=256", "--repeats=1", "--device=cpu"]
needs_browser = pytest.mark.skipif(
    viewer_page.missing() is not None, reason=viewer_page.missing() or ""
)


def test_rows_have_the_time_beside_rendering():
    moves = Latency([0.03, 0.05, 0.04], [0.01, 0.02, 0.01])
    slides = Latency([0.5], [0.1])
    first, second = front_end_rows("window", FrontEnd(31.4, moves, slides))
    assert first[1:] == ["31.4", "10.0 ms", "40.0 ms", "49.0 ms", "30.0 ms", "30.0 ms"]
    assert second[2:] == ["100.0 ms", "500.0 ms", "500.0 ms", "400.0 ms", "400.0 ms"]


def test_viewer_says_which_front_ends_are_missing(monkeypatch):
    def fail(*args):
        raise ImportError("No module named 'glfw'")

    monkeypatch.setattr(viewer, "_import_window", fail)
    monkeypatch.setattr(viewer_page, "find_spec", lambda name: None)
    result = CliRunner().invoke(viewer.main, TINY, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [line for line in result.stdout.splitlines() if line.startswith(("window", "browser"))]
    assert len(rows) == 4
    assert "No module named 'glfw': install requirements-gui.txt" in rows[0]
    assert "needs NiceGUI: pip install -r requirements-web.txt" in rows[1]
    result = CliRunner().invoke(viewer_memory.main, ["--minutes=0.1"])
    assert result.exit_code == 1 and "needs NiceGUI" in result.output


@pytest.mark.slow
@needs_browser
def test_viewer_measures_window_and_browser():
    pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")
    args = [*TINY, "--seconds=0.5", "--inputs=2"]
    result = CliRunner().invoke(viewer.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    for name in ("bare synthesis", "renderer", "window, drag", "browser, drag"):
        rows = [line.split() for line in result.stdout.splitlines() if line.startswith(name)]
        assert len(rows) == 2
        assert all(float(cell) > 0 for row in rows for cell in row if cell[0].isdecimal())


def test_slope_is_that_of_a_line():
    seconds = np.array([0.0, 1, 2, 5])
    assert viewer_memory.slope(seconds, 3e6 + 7 * seconds) == pytest.approx((7, 0), abs=1e-6)
    _, error = viewer_memory.slope(seconds, np.array([0.0, 1, 0, 1]))
    x = seconds - 2
    fitted = np.polyfit(seconds, [0, 1, 0, 1], 1)
    residual = np.array([0, 1, 0, 1]) - np.polyval(fitted, seconds)
    assert error == pytest.approx(np.sqrt(residual @ residual / 2 / (x @ x)))


@pytest.mark.slow
@needs_browser
def test_memory_is_watched_in_three_processes():
    args = ["--minutes=0.02", "--every=0.4", "--device=cpu"]
    result = CliRunner().invoke(viewer_memory.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [line for line in result.stdout.splitlines() if "MB/h" in line]
    names = ["server", "rendering process", "heap of the page", "process of the page"]
    assert all(row.startswith(name) for row, name in zip(rows, names, strict=True))
