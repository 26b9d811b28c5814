"""Pictures on the graphics card."""

import numpy as np
import PIL.Image
from imgui_bundle import imgui
from OpenGL import GL

FORMATS = {1: GL.GL_RED, 3: GL.GL_RGB, 4: GL.GL_RGBA}


class Texture:
    """A picture to draw, uint8 `[H, W, C]` with 1 (grey), 3 or 4 channels.

    It is kept in the size that it is drawn in: Dear ImGui would smooth enlarged pixels, which are
    to stay sharp squares, and leave out some of those that it reduces.
    """

    def __init__(self) -> None:
        self._pixels: np.ndarray | None = None
        self._size = (0, 0)
        self._name = int(GL.glGenTextures(1))
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._name)
        GL.glTexParameteri(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_MIN_FILTER, GL.GL_NEAREST)
        GL.glTexParameteri(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_MAG_FILTER, GL.GL_NEAREST)

    def draw(self, pixels: np.ndarray, area: tuple[float, float, float, float]) -> None:
        """Draw a picture as large as possible in the middle of an area of the current window.

        Args:
            pixels: The picture; the same array is uploaded once.
            area: Left, top, right and bottom, in screen coordinates.
        """
        density = imgui.get_io().display_framebuffer_scale.x
        height, width = pixels.shape[:2]
        x, y, width, height = _fit(width, height, *(edge * density for edge in area))
        if pixels is not self._pixels or (width, height) != self._size:
            self._pixels, self._size = pixels, (width, height)
            self._upload(_resized(pixels, width, height))
        imgui.get_window_draw_list().add_image(
            imgui.ImTextureRef(self._name),
            (x / density, y / density),
            ((x + width) / density, (y + height) / density),
        )

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


def _fit(
    width: int, height: int, left: float, top: float, right: float, bottom: float
) -> tuple[int, int, int, int]:
    """Left, top, width and height of the picture, in pixels of the display.

    It is reduced by any factor, and enlarged by whole ones.
    """
    scale = max(min((right - left) / width, (bottom - top) / height), 1e-3)
    scale = np.floor(scale) if scale > 1 else scale
    width, height = max(round(width * scale), 1), max(round(height * scale), 1)
    return int((left + right - width) / 2), int((top + bottom - height) / 2), width, height


def _resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    factor = width // pixels.shape[1]
    if factor >= 1:
        return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    picture = PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    reduced = np.asarray(picture.resize((width, height), PIL.Image.Resampling.BOX))
    return reduced.reshape(height, width, -1)
