"""What the graphs and the rate of pictures are made of, with made-up times."""

import numpy as np
import pytest

pytest.importorskip("imgui_bundle", reason="needs requirements-gui.txt")

from viz.performance_widget import MAX_GAP_SEC, PerformanceWidget
from viz.renderer import Result, View


def picture(render_sec: float = 0.1, **fields) -> Result:
    return Result(View(), np.zeros([1, 1, 3], np.uint8), render_sec=render_sec, **fields)


def test_first_pictures_and_errors_are_left_out_of_the_graph():
    widget = PerformanceWidget(has_window=True)
    widget.add_result(picture(30, is_first=True), 0, 31)
    widget.add_result(picture(0.25), 31, 31.3)
    widget.add_result(Result(View(), error="no", render_sec=7), 32, 39)
    widget.add_result(picture(0.5), 40, 40.6)
    assert list(widget.state.render_ms) == [250, 500]


def test_rate_is_that_of_pictures_without_gaps():
    widget = PerformanceWidget(has_window=True)
    assert widget.pictures_per_sec is None
    for end in (1.2, 1.4, 1.6, 1.8):  # each asked for when the one before has come
        widget.add_result(picture(), end - 0.2, end)
    assert widget.pictures_per_sec == pytest.approx(5)


def test_pauses_are_not_counted():
    widget = PerformanceWidget(has_window=True)
    now = 0.0
    for _ in range(5):  # the user thinks for ten seconds before each click
        widget.add_result(picture(), now + 10, now + 10.2)
        now += 10.2
    assert widget.pictures_per_sec is None
    for _ in range(4):
        widget.add_result(picture(), now + MAX_GAP_SEC * 0.9, now + 0.25)
        now += 0.25
    assert widget.pictures_per_sec == pytest.approx(4)
    widget.add_result(picture(), now + 1, now + 1.25)  # a new movement, which is faster
    assert widget.pictures_per_sec is None
    now += 1.25
    for _ in range(3):
        widget.add_result(picture(), now, now + 0.1)
        now += 0.1
    assert widget.pictures_per_sec == pytest.approx(10)


def test_first_picture_of_a_network_does_not_slow_the_rate():
    widget = PerformanceWidget(has_window=True)
    widget.add_result(picture(30, is_first=True), 0, 30)
    for end in (30.1, 30.2, 30.3):
        widget.add_result(picture(), end - 0.1, end)
    assert widget.pictures_per_sec == pytest.approx(10)


def test_times_of_the_window_are_apart():
    widget = PerformanceWidget(has_window=True)
    widget.add_frame(0.004)
    widget.add_result(picture(0.3), 0, 0.3)
    widget.add_frame(0.005)
    assert list(widget.state.window_ms) == [4, 5]
    assert list(widget.state.render_ms) == [300]


@pytest.mark.slow
def test_time_of_the_window_does_not_contain_that_of_the_renderer(person, monkeypatch):
    import time

    renderer = person.application.renderer
    submit = renderer.submit
    monkeypatch.setattr(renderer, "submit", lambda view: (time.sleep(0.3), submit(view)))
    state = person.application.performance.state
    state.window_ms.clear()
    for _ in range(3):
        person.click("##seed", 0.97)
    assert max(state.window_ms) < 200
