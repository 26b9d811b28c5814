"""The wheel and the right and middle mouse buttons in the picture."""

import numpy as np
import pytest

from gui_utils.placement import Zoom

pytestmark = pytest.mark.slow


def color_at(person, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(value) for value in person.pixels()[y, x])


def test_wheel_zooms_at_the_mouse_and_buttons_pan(person):
    app = person.application
    fitted = person.picture()
    left, top, right, _ = app.picture.whole
    factor = (right - left) // 16
    x, y = int(left + 11.5 * factor), int(top + 4.5 * factor)  # a pixel of the picture
    person.do("mousemove", x, y)
    for _ in range(6):
        person.do("click", 4)  # the wheel
        assert color_at(person, x, y) == tuple(fitted[4, 11])
    scale = app.picture.zoom.scale
    assert scale > factor + 5
    assert "enlarged" in app.status() and "Ctrl+0" in app.status()

    view = app.view
    for button in (3, 2):
        before = app.picture.whole
        person.do("mousedown", button)
        person.do("mousemove_relative", "--", -40, 24)
        person.do("mouseup", button)
        after = app.picture.whole
        assert (after[0] - before[0], after[1] - before[1]) == pytest.approx((-40, 24), abs=1)
    assert app.view == view  # the left button alone moves through the latents
    person.do("mousemove_relative", "--", -80, 48)
    assert color_at(person, x - 80, y + 48) == tuple(fitted[4, 11])

    person.do("key", "ctrl+0")
    assert app.picture.zoom == Zoom()
    np.testing.assert_array_equal(person.check(), fitted)
    person.do("mousemove", x, y)
    person.do("click", 4)
    for _ in range(3):
        person.do("click", 5)
    assert app.picture.zoom == Zoom()


def test_wheel_over_the_panes_zooms_nothing(person):
    person.do("mousemove", *person.position("FFT"))
    person.do("click", 4)
    assert person.application.picture.zoom == Zoom()


def test_enlarged_picture_stays_enlarged_for_the_next_seed(person):
    person.do("mousemove", *person.position("picture"))
    person.do("click", 4)
    zoom = person.application.picture.zoom
    assert zoom.scale is not None
    person.click("##seed", 0.97)
    assert person.application.picture.zoom == zoom
    person.do("mousemove", *person.position("picture"))
    person.do("mousedown", 1)
    person.do("mousemove_relative", "--", 30, 0)
    person.do("mouseup", 1)
    person.settle()
    assert person.application.view.x > 1
