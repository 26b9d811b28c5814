"""The right part of the window: the picture, or an error in its place, and a status line."""

import numpy as np
from imgui_bundle import imgui

from gui_utils import controls, text
from gui_utils.inputs import Pointer
from gui_utils.placement import Area, Zoom, panned, scaled, zoomed
from gui_utils.texture import Texture
from viz import spectrum_axes
from viz.points_overlay import PointsOverlay
from viz.renderer import Result
from viz.view import Drag

ERROR_COLOR = (1, 0.45, 0.4)
NOTICE_BACKGROUND = (0.1, 0.05, 0.05, 0.9)  # readable on any picture
NOTICE_EMS = 5  # height of the stripe for notices, at the lower edge of the picture
BUTTONS = (
    imgui.ButtonFlags_.mouse_button_left
    | imgui.ButtonFlags_.mouse_button_right
    | imgui.ButtonFlags_.mouse_button_middle
)
GRIP_EMS = 0.8  # distance at which the mouse takes hold of a point


class PicturePane:
    """Shows results. The wheel zooms; the right or middle mouse button moves a zoomed picture.

    Attributes:
        area: Place for the picture, in screen coordinates.
        zoom: Size and place of the picture.
        whole: Place of the whole picture, which may be larger than the area.
        drag: Movement of the left mouse button since the last frame, in font sizes.
    """

    def __init__(self) -> None:
        self.area: Area = (0, 0, 1, 1)
        self.zoom = Zoom()
        self.whole: Area = (0, 0, 0, 0)
        self.drag = (0.0, 0.0)
        self._texture = Texture()
        self._target_texture = Texture()
        self._overlay = PointsOverlay()
        self._size = (1, 1)  # of the shown image
        self._image_area: Area = (0, 0, 0, 0)  # where the image may be drawn
        self._is_pressed = self._is_held = False

    @property
    def pointer(self) -> Pointer:
        """The mouse in the picture as it was last drawn."""
        left, top, right, _ = self.whole
        mouse, (width, height) = imgui.get_io().mouse_pos, self._size
        scale = max((right - left) / width, 1e-6)
        x, y = (mouse.x - left) / scale, (mouse.y - top) / scale
        position = (min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height)))
        reach = controls.em(GRIP_EMS) / scale
        return Pointer(position, reach, self._is_pressed, self._is_held)

    def _is_on_image(self) -> bool:
        """Whether the mouse is on the visible part of the image as it was last drawn."""
        mouse = imgui.get_io().mouse_pos
        return all(
            left <= mouse.x < right and top <= mouse.y < bottom
            for left, top, right, bottom in (self.whole, self._image_area)
        )

    def begin(self) -> None:
        """Take the remaining area of the current window, and mouse input in it."""
        left, top = imgui.get_cursor_screen_pos()
        room = imgui.get_content_region_avail()
        status_height = imgui.get_text_line_height_with_spacing()
        self.area = (left, top, left + room.x, top + room.y - status_height)
        imgui.set_next_item_allow_overlap()  # the lists of the first screen lie on top
        imgui.invisible_button("picture", (max(room.x, 1), max(room.y - status_height, 1)), BUTTONS)
        self.drag = controls.drag_delta()
        is_down = imgui.is_item_active() and imgui.is_mouse_down(imgui.MouseButton_.left)
        was_pressed = is_down and imgui.is_mouse_clicked(imgui.MouseButton_.left)
        self._is_pressed = was_pressed and self._is_on_image()
        self._is_held = self._is_pressed or (is_down and not was_pressed and self._is_held)

    def show(
        self, result: Result, target: np.ndarray | None = None, drag: Drag | None = None
    ) -> None:
        """Draw a result, at the right of the picture that it was made from if there is one.

        Args:
            result: The result.
            target: The other picture, uint8 `[H, W, C]`.
            drag: Points, where they are now, and a mask to draw over the image.
        """
        if result.error is not None:
            text.draw_centered(f"No picture: {result.error}", self.area, ERROR_COLOR)
            return
        assert result.image is not None
        area = self.area
        if target is not None:
            area = self._show_target(target)
        if result.view.fft:
            area = spectrum_axes.inner_area(area)
        height, width, _ = result.image.shape
        self._size, self._image_area = (width, height), area
        self._follow_mouse((width, height), area)
        self.whole = self._texture.draw(result.image, area, self.zoom)
        if drag is not None:
            self._overlay.draw(drag, self._size, area, self.whole, self.zoom)
        if result.view.fft:
            spectrum_axes.draw(area, self.whole, (width, height), result.content_width, result.view)
        if result.notice is not None:
            left, _, right, bottom = self.area
            low = (left, bottom - controls.em(NOTICE_EMS), right, bottom)
            text.draw_centered(result.notice, low, ERROR_COLOR, NOTICE_BACKGROUND)

    def _show_target(self, target: np.ndarray) -> Area:
        """Draw the target in the left half, and return the right half."""
        left, top, right, bottom = self.area
        middle = (left + right) / 2
        self._target_texture.draw(target, (left, top, middle - controls.em(0.2), bottom))
        return (middle + controls.em(0.2), top, right, bottom)

    def say(self, message: str) -> None:
        """Draw a message in place of a picture."""
        text.draw_centered(message, self.area)

    def draw_status(self, message: str) -> None:
        """Draw the line beneath the picture."""
        left, _, right, bottom = self.area
        imgui.set_cursor_screen_pos((left, bottom))
        imgui.text_disabled(text.shorten(message, right - left))

    def _follow_mouse(self, size: tuple[int, int], area: Area) -> None:
        """Zoom and pan; the last control must be the button of `begin`."""
        io = imgui.get_io()
        density = io.display_framebuffer_scale.x
        if imgui.is_item_hovered() and io.mouse_wheel != 0:
            point = (io.mouse_pos.x * density, io.mouse_pos.y * density)
            on_display = scaled(area, density)
            self.zoom = zoomed(self.zoom, io.mouse_wheel, point, size, on_display)
        for button in (imgui.MouseButton_.right, imgui.MouseButton_.middle):
            if imgui.is_item_active() and imgui.is_mouse_down(button):
                dx, dy = io.mouse_delta.x * density, io.mouse_delta.y * density
                self.zoom = panned(self.zoom, dx, dy, size)
