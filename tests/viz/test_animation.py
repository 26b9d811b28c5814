"""Slow pictures: animations draw no more than they must, and the window says what it waits for."""

import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")

from tests.viz.slow_renderer import SlowRenderer
from viz import application
from viz.renderer import View

pytestmark = pytest.mark.slow


@pytest.fixture
def slow(open_window, monkeypatch):
    """In front of a window whose pictures take 0.2 seconds."""
    monkeypatch.setattr(application, "AsyncRenderer", SlowRenderer)
    person = open_window(is_async=True)
    person.application.load("network.pkl")
    person.settle()
    return person


def step_until(person, condition, timeout_sec=60):
    """Draw frames as the window asks for them until a condition holds."""
    deadline = time.monotonic() + timeout_sec
    while not condition():
        assert time.monotonic() < deadline
        person.window.step(person.application.draw)


def test_animation_draws_a_frame_or_two_for_each_picture(slow):
    app = slow.application
    slow.do("mousemove", 700, 1000)
    app.latent.state.is_animated, app.latent.state.speed = True, 1
    slow.window.request_frame(1)
    frames, draw, submitted, submit = [], app.draw, [], app.renderer.submit
    app.draw = lambda: (draw(), frames.append(None))
    app.renderer.submit = lambda view: (submitted.append((time.monotonic(), view.x)), submit(view))
    step_until(slow, lambda: len(app.renderer.rendered) >= 6)  # frames due to the mouse are over
    frames.clear()
    first = len(app.renderer.rendered)
    step_until(slow, lambda: len(app.renderer.rendered) >= first + 9)
    assert len(frames) <= 2 * 9 + 2
    # Every picture is further on than the one before, by the time that has passed at most.
    assert (np.diff([view.x for view in app.renderer.rendered[first:]]) > 0).all()
    times, xs = zip(*submitted, strict=True)
    assert 0 < xs[-1] - xs[0] <= times[-1] - times[0] + 0.1
    assert 0 < app.performance.pictures_per_sec <= 5.5


def test_second_change_does_not_delay_the_message_about_the_first(slow):
    reasons, request = [], slow.window.request_frame_in
    slow.window.request_frame_in = lambda sec, reason, *args: (
        reasons.append(reason),
        request(sec, reason, *args),
    )
    app = slow.application
    app.renderer.render_sec = 60
    for x in (1, 2):
        app.view = replace(app.view, x=x)
        slow.pump(1)
    assert app.renderer._waiting.x == 2
    assert reasons.count("patience") == 1


def test_animation_of_anything_advances_at_its_own_speed(slow):
    app = slow.application
    app.equivariance.state.is_turning, app.equivariance.state.turn_speed = True, 20
    app.mixing.state.is_animated = True
    slow.window.request_frame(1)
    start = time.monotonic()
    step_until(slow, lambda: app.view.rotate >= 30)
    # However few frames there are, the angle does not run ahead of the clock.
    assert app.view.rotate <= 20 * (time.monotonic() - start) + 2
    assert app.view.mix_seed in (3, 4)


def test_status_is_shown_while_waiting(slow):
    app = slow.application
    app.renderer.render_sec = 2
    app.renderer.status = "compiling upfirdn2d …"
    before = slow.pixels()
    slow.do("mousemove", *slow.position("##seed", 0.97))
    slow.do("click", 1)
    seen = []
    while not app.is_late:
        seen.append(app.status())
        slow.window.step(app.draw)
    assert set(seen) == {"16x16, 200 ms"}  # not at once
    assert app.status() == "compiling upfirdn2d …"
    left, _, _, bottom = (int(edge) for edge in app.picture.area)
    line = (slice(bottom, None), slice(left, None))
    assert not np.array_equal(slow.pixels()[line], before[line])
    app.renderer.status = None
    assert app.status() == "rendering …"
    slow.settle()
    assert app.status() == "16x16, 2000 ms"


def test_loading_is_said_in_the_middle_of_the_window(slow, monkeypatch):
    said = []
    monkeypatch.setattr(slow.application.picture, "say", said.append)
    app = slow.application
    app.renderer.render_sec = 1.2
    app.renderer.status = "loading other.pkl …"
    app.load("other.pkl")
    slow.settle()
    assert set(said) == {"loading other.pkl …"}


def test_benchmark_counts_pictures(monkeypatch):
    from benchmarks import viewer_window

    monkeypatch.setattr(application, "AsyncRenderer", SlowRenderer)
    found = viewer_window.measure_window("network.pkl", "cpu", 1.5, (640, 480), num_inputs=2)
    assert 2.5 <= found.pictures_per_sec <= 5.5  # 0.2 seconds each
    assert found.moves.render_sec == found.slides.render_sec == [0.2, 0.2]
    assert min(found.moves.total_sec + found.slides.total_sec) >= 0.19


def test_status_is_shown_for_each_picture_that_takes_long(slow):
    app = slow.application
    app.renderer.render_sec = 2
    slow.do("mousemove", *slow.position("##seed", 0.97))
    slow.do("click", 1)
    slow.do("click", 1)
    while app.result.view.x != 1:
        slow.window.step(app.draw)
    assert not app.is_late and app.renderer.is_busy
    while app.result.view.x != 2 and not app.is_late:  # without another event
        slow.window.step(app.draw)
    assert app.status() == "rendering …"


def test_folded_panes_and_networks_without_a_transform_keep_nothing_busy(
    open_window, folder, monkeypatch
):
    person = open_window(view=View(network=str(folder / "t.pkl")))
    app = person.application
    app.latent.state.is_animated = app.equivariance.state.is_moving = True
    person.pump(4)
    assert app._was_animated
    app.settings.folded.append("Latent")
    app.load(str(folder / "gray.pkl"))
    person.settle()
    person.pump(4)
    view = app.view
    assert not app._was_animated
    app.view = replace(view, x=3)  # undone as a step of its own
    person.settle()
    person.do("key", "ctrl+z")
    person.check(x=view.x)
