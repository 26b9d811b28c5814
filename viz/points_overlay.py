"""Points, their targets and the mask, drawn over the picture."""

import numpy as np
from imgui_bundle import imgui

from gui_utils import controls
from gui_utils.placement import Area, Zoom
from gui_utils.texture import Texture
from viz.frozen_array import FrozenArray
from viz.view import Drag, Point

POINT, TARGET = (0.95, 0.25, 0.2, 1.0), (0.25, 0.55, 1.0, 1.0)
WAY, EDGE = (1.0, 1.0, 1.0, 0.9), (0.0, 0.0, 0.0, 0.8)
SHADE = 140  # of the part that stays as it is, of 255
RADIUS_EMS = 0.32


class PointsOverlay:
    """Draws over the picture of `viz.picture_pane`."""

    def __init__(self) -> None:
        self._texture = Texture()
        self._mask: FrozenArray | None = None
        self._shade = np.zeros([1, 1, 4], np.uint8)

    def draw(
        self,
        drag: Drag,
        size: tuple[int, int],
        area: Area,
        whole: Area,
        zoom: Zoom,
    ) -> None:
        """Draw the points of a drag.

        Args:
            drag: Points, targets and mask.
            size: Width and height of the image.
            area: Where the picture may be drawn, in screen coordinates.
            whole: Place of the whole picture.
            zoom: Size and place of the picture, as it was drawn.
        """
        if drag.mask is not None:
            self._draw_mask(drag.mask, area, zoom)

        def on_screen(point: Point) -> tuple[float, float]:
            left, top, right, bottom = whole
            return (
                left + point[0] / size[0] * (right - left),
                top + point[1] / size[1] * (bottom - top),
            )

        draw_list = imgui.get_window_draw_list()
        draw_list.push_clip_rect(area[:2], area[2:], True)
        for point, target in zip(drag.points, drag.targets, strict=True):
            here, there = on_screen(point), on_screen(target)
            for color, thickness in ((EDGE, 0.22), (WAY, 0.1)):
                draw_list.add_line(here, there, _packed(color), controls.em(thickness))
            for place, color in ((there, TARGET), (here, POINT)):
                draw_list.add_circle_filled(place, controls.em(RADIUS_EMS * 1.3), _packed(EDGE))
                draw_list.add_circle_filled(place, controls.em(RADIUS_EMS), _packed(color))
        draw_list.pop_clip_rect()

    def _draw_mask(self, mask: FrozenArray, area: Area, zoom: Zoom) -> None:
        if mask != self._mask:
            may_change = mask.array()
            self._shade = np.zeros([*may_change.shape, 4], np.uint8)
            self._shade[..., 3] = np.where(may_change, 0, SHADE)
            self._mask = mask
        self._texture.draw(self._shade, area, zoom)


def _packed(color: tuple[float, float, float, float]) -> int:
    return imgui.color_convert_float4_to_u32(color)
