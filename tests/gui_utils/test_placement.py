"""Zoom and pan, as numbers."""

import pytest

from gui_utils.placement import MAX_SCALE, Zoom, panned, place, zoomed

AREA = (400, 0, 1200, 600)
SIZE = (256, 256)


def pixel_at(point, zoom, size=SIZE):
    """What of a picture is shown at a point, in pixels of the picture."""
    placement = place(size, AREA, zoom)
    return (
        (point[0] - placement.left) / placement.scale,
        (point[1] - placement.top) / placement.scale,
    )


@pytest.mark.parametrize("size", [(256, 256), (1024, 1024), (16, 16), (300, 200)])
@pytest.mark.parametrize("point", [(700, 250), (850, 310), (801, 299)])
def test_what_is_under_the_mouse_stays_there(size, point):
    zoom = Zoom()
    before = pixel_at(point, zoom, size)
    for _ in range(12):
        zoom = zoomed(zoom, 1, point, size, AREA)
        now = pixel_at(point, zoom, size)
        # Pictures begin at whole pixels of the display.
        assert now == pytest.approx(before, abs=1.5)
    for _ in range(40):
        zoom = zoomed(zoom, -1, point, size, AREA)
    assert zoom == Zoom()


def test_enlarged_pixels_are_whole_and_limited():
    zoom, scales = Zoom(), []
    for _ in range(30):
        zoom = zoomed(zoom, 1, (800, 300), SIZE, AREA)
        scales.append(zoom.scale)
    assert scales[:4] == [3, 4, 5, 6]  # fitted, it is 2
    assert scales[-1] == MAX_SCALE and all(scale == int(scale) for scale in scales)
    assert scales == sorted(scales)


def test_large_pictures_are_reduced_by_any_factor():
    zoom = zoomed(Zoom(), 1, (800, 300), (1024, 1024), AREA)
    assert 600 / 1024 < zoom.scale < 1


def test_panning_moves_by_what_the_mouse_moves_and_never_all_away():
    zoom = zoomed(Zoom(), 5, (800, 300), SIZE, AREA)
    before, after = place(SIZE, AREA, zoom), place(SIZE, AREA, panned(zoom, 30, -20, SIZE))
    assert (after.left - before.left, after.top - before.top) == (30, -20)
    far = place(SIZE, AREA, panned(zoom, 1e6, 1e6, SIZE))
    assert far.left <= 800 and far.top <= 300
    assert panned(Zoom(), 30, 30, SIZE) == Zoom()


@pytest.mark.parametrize("length", [1, 2, 16, 148, 1000, 1024])
@pytest.mark.parametrize("side", [0.3, 0.8, 1.4, 10, 333.3, 601])
def test_what_is_visible_is_of_the_picture_and_all_of_it_where_it_fits(length, side):
    size, area = (length, 1), (400, 0, 400 + side, side)
    first, _, last, _ = place(size, area, Zoom()).visible(size, area)
    assert first >= 0 and last <= length
    if side > 1:
        assert (first, last) == (0, length)
    zoom = zoomed(Zoom(), 1, (400, 0), size, area)
    assert place(size, area, zoom).visible(size, area)[2] <= length
