"""Pictures on the graphics card."""

import numpy as np
import PIL.Image
from imgui_bundle import imgui
from OpenGL import GL

from gui_utils.placement import Area, Zoom, place, scaled

FITTED = Zoom()
FORMATS = {1: GL.GL_RED, 3: GL.GL_RGB, 4: GL.GL_RGBA}


class Texture:
    """A picture to draw, uint8 `[H, W, C]` with 1 (grey), 3 or 4 channels.

    The texture has the size that it is drawn in. Dear ImGui would smooth enlarged pixels, which
    must stay sharp squares, and skip pixels of a reduced picture.
    """

    def __init__(self) -> None:
        self._pixels: np.ndarray | None = None
        self._shown: tuple[tuple[int, ...], tuple[int, int]] | None = None  # what is uploaded
        self._name = int(GL.glGenTextures(1))
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._name)
        GL.glTexParameteri(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_MIN_FILTER, GL.GL_NEAREST)
        GL.glTexParameteri(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_MAG_FILTER, GL.GL_NEAREST)

    def draw(self, pixels: np.ndarray, area: Area, zoom: Zoom = FITTED) -> Area:
        """Draw a picture in an area of the current window, and cut off the parts outside.

        Args:
            pixels: The picture. If the next call has the same array, it is not uploaded again.
            area: In screen coordinates.
            zoom: Size and place of the picture; by default as large as possible, in the middle.

        Returns:
            Place of the whole picture, in screen coordinates.
        """
        density = imgui.get_io().display_framebuffer_scale.x
        height, width = pixels.shape[:2]
        on_display = scaled(area, density)
        placement = place((width, height), on_display, zoom)
        crop = placement.visible((width, height), on_display)
        x0, y0, x1, y1 = crop
        right, bottom = placement.left + placement.width, placement.top + placement.height
        whole = scaled((placement.left, placement.top, right, bottom), 1 / density)
        if x1 <= x0 or y1 <= y0:
            return whole
        scale = placement.scale
        size = (max(round((x1 - x0) * scale), 1), max(round((y1 - y0) * scale), 1))
        if pixels is not self._pixels or (crop, size) != self._shown:
            self._pixels, self._shown = pixels, (crop, size)
            self._upload(_resized(pixels[y0:y1, x0:x1], *size))
        left, top = placement.left + round(x0 * scale), placement.top + round(y0 * scale)
        draw_list = imgui.get_window_draw_list()
        draw_list.push_clip_rect(area[:2], area[2:], True)
        draw_list.add_image(
            imgui.ImTextureRef(self._name),
            (left / density, top / density),
            ((left + size[0]) / density, (top + size[1]) / density),
        )
        draw_list.pop_clip_rect()
        return whole

    def _upload(self, pixels: np.ndarray) -> None:
        height, width, channels = pixels.shape
        swizzle = [GL.GL_RED] * 3 + [GL.GL_ONE]
        if channels > 1:
            swizzle = [GL.GL_RED, GL.GL_GREEN, GL.GL_BLUE, GL.GL_ALPHA]
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._name)
        GL.glTexParameteriv(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_SWIZZLE_RGBA, swizzle)
        GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
        storage = GL.GL_RGBA8 if channels == 4 else GL.GL_RGB8
        form = FORMATS[channels]
        data = np.ascontiguousarray(pixels)
        GL.glTexImage2D(
            GL.GL_TEXTURE_2D, 0, storage, width, height, 0, form, GL.GL_UNSIGNED_BYTE, data
        )


def _resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    factor = width // pixels.shape[1]
    if factor >= 1:
        return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    picture = PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    reduced = np.asarray(picture.resize((width, height), PIL.Image.Resampling.BOX))
    return reduced.reshape(height, width, -1)
