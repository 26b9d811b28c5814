"""Pictures on the graphics card."""

import numpy as np
from imgui_bundle import imgui
from OpenGL import GL

FORMATS = {1: GL.GL_RED, 3: GL.GL_RGB, 4: GL.GL_RGBA}


class Texture:
    """A picture to draw, uint8 `[H, W, C]` with 1 (grey), 3 or 4 channels.

    Enlarged pixels stay sharp squares; reduced ones are smoothed.
    """

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0, 0, 0)
        self._name = int(GL.glGenTextures(1))
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._name)
        for parameter, value in (
            (GL.GL_TEXTURE_MIN_FILTER, GL.GL_LINEAR_MIPMAP_LINEAR),
            (GL.GL_TEXTURE_MAG_FILTER, GL.GL_NEAREST),
            (GL.GL_TEXTURE_WRAP_S, GL.GL_CLAMP_TO_EDGE),
            (GL.GL_TEXTURE_WRAP_T, GL.GL_CLAMP_TO_EDGE),
        ):
            GL.glTexParameteri(GL.GL_TEXTURE_2D, parameter, value)

    @property
    def ref(self) -> imgui.ImTextureRef:
        """What Dear ImGui draws it by."""
        return imgui.ImTextureRef(self._name)

    def update(self, pixels: np.ndarray) -> None:
        """Replace the picture."""
        height, width, channels = self.shape = pixels.shape
        pixels = np.ascontiguousarray(pixels)
        form = FORMATS[channels]
        GL.glBindTexture(GL.GL_TEXTURE_2D, self._name)
        swizzle = [form, form, form, GL.GL_ONE] if channels == 1 else None
        swizzle = swizzle or [GL.GL_RED, GL.GL_GREEN, GL.GL_BLUE, GL.GL_ALPHA]
        GL.glTexParameteriv(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_SWIZZLE_RGBA, swizzle)
        GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
        storage = GL.GL_RGBA8 if channels == 4 else GL.GL_RGB8
        GL.glTexImage2D(
            GL.GL_TEXTURE_2D, 0, storage, width, height, 0, form, GL.GL_UNSIGNED_BYTE, pixels
        )
        GL.glGenerateMipmap(GL.GL_TEXTURE_2D)


def fit(
    size: tuple[int, int], area: tuple[float, float, float, float], pixel: float = 1
) -> tuple[float, float, float, float]:
    """Where to draw a picture as large as possible in the middle of an area.

    Args:
        size: Width and height of the picture.
        area: Left, top, right and bottom of the area.
        pixel: Size of a pixel of the display, in the unit of `area`.

    Returns:
        Left, top, right and bottom, on whole pixels of the display; enlargement is by a whole
        factor.
    """
    left, top, right, bottom = (edge / pixel for edge in area)
    width, height = size
    scale = max(min((right - left) / width, (bottom - top) / height), 1e-3)
    if scale > 1:
        scale = np.floor(scale)
    width, height = max(round(width * scale), 1), max(round(height * scale), 1)
    x = np.floor(left + (right - left - width) / 2)
    y = np.floor(top + (bottom - top - height) / 2)
    return x * pixel, y * pixel, (x + width) * pixel, (y + height) * pixel
