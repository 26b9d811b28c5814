"""Place of a picture in an area of the window: fitted, or enlarged around a point.

All positions are in pixels of the display. A picture is reduced by any factor, but enlarged by
whole factors, so that its pixels stay sharp squares of one size.
"""

import math
from dataclasses import dataclass

Area = tuple[float, float, float, float]  # left, top, right, bottom
STEP = 1.25  # factor for one step of the mouse wheel
MAX_SCALE = 64


@dataclass(frozen=True)
class Zoom:
    """Size and place of a picture.

    Attributes:
        scale: Pixels of the display for one of the picture; None fits the picture into the area.
        x: Point of the picture in the middle of the area, in fractions of its width.
        y: The same, in fractions of its height.
    """

    scale: float | None = None
    x: float = 0.5
    y: float = 0.5


@dataclass(frozen=True)
class Placement:
    """Place of a whole picture; parts of it may lie outside the area."""

    left: int
    top: int
    width: int
    height: int
    scale: float

    def visible(self, size: tuple[int, int], area: Area) -> tuple[int, int, int, int]:
        """First visible column and row of a picture of this size, and the ends of both ranges.

        If nothing is visible, the ends do not lie after the starts.
        """
        columns, rows = size
        return (
            max(math.floor((area[0] - self.left) / self.scale), 0),
            max(math.floor((area[1] - self.top) / self.scale), 0),
            min(math.ceil((area[2] - self.left) / self.scale), columns),
            min(math.ceil((area[3] - self.top) / self.scale), rows),
        )


def scaled(area: Area, factor: float) -> Area:
    """Multiply all edges of an area."""
    left, top, right, bottom = area
    return left * factor, top * factor, right * factor, bottom * factor


def place(size: tuple[int, int], area: Area, zoom: Zoom) -> Placement:
    """Place a picture of a width and height."""
    scale = _fitting(size, area) if zoom.scale is None else zoom.scale
    width, height = (max(round(length * scale), 1) for length in size)
    left, top, right, bottom = area
    if zoom.scale is None:
        return Placement(
            int((left + right - width) / 2), int((top + bottom - height) / 2), width, height, scale
        )
    return Placement(
        round((left + right) / 2 - zoom.x * width),
        round((top + bottom) / 2 - zoom.y * height),
        width,
        height,
        scale,
    )


def zoomed(
    zoom: Zoom, steps: float, point: tuple[float, float], size: tuple[int, int], area: Area
) -> Zoom:
    """Enlarge (`steps` above 0) or reduce around a point of the area, which stays where it is."""
    fitting = _fitting(size, area)
    scale = old = fitting if zoom.scale is None else zoom.scale
    if steps > 0:
        scale *= STEP**steps
        scale = max(math.floor(scale), math.floor(old) + 1) if scale >= 1 else scale
    else:
        scale *= STEP**steps
        scale = min(math.ceil(scale), math.ceil(old) - 1) if old > 1 else scale
    scale = min(scale, max(MAX_SCALE, fitting))
    if scale <= fitting:
        return Zoom()
    before = place(size, area, zoom)
    x = (point[0] - before.left) / before.width
    y = (point[1] - before.top) / before.height
    middle = ((area[0] + area[2]) / 2, (area[1] + area[3]) / 2)
    return _kept_inside(
        Zoom(
            scale,
            x - (point[0] - middle[0]) / (size[0] * scale),
            y - (point[1] - middle[1]) / (size[1] * scale),
        )
    )


def panned(zoom: Zoom, dx: float, dy: float, size: tuple[int, int]) -> Zoom:
    """Move an enlarged picture by so many pixels of the display."""
    if zoom.scale is None or dx == dy == 0:
        return zoom
    return _kept_inside(
        Zoom(
            zoom.scale,
            zoom.x - dx / (size[0] * zoom.scale),
            zoom.y - dy / (size[1] * zoom.scale),
        )
    )


def _kept_inside(zoom: Zoom) -> Zoom:
    """Keep a part of the picture in the middle of the area."""
    return Zoom(zoom.scale, min(max(zoom.x, 0.0), 1.0), min(max(zoom.y, 0.0), 1.0))


def _fitting(size: tuple[int, int], area: Area) -> float:
    left, top, right, bottom = area
    scale = max(min((right - left) / size[0], (bottom - top) / size[1]), 1e-3)
    return math.floor(scale) if scale > 1 else scale
