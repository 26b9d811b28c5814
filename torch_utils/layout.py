"""Lays out figures: captions, and parts beside or beneath each other, all uint8 `[H, W, 3]`."""

from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

GAP = 8  # pixels between the parts of a figure
FONT_SIZE = 15  # pixels
BACKGROUND, INK = 255, (60, 60, 60)


def text(caption: str, width: int) -> np.ndarray:
    """A line of text, `[.., width, 3]`; dots replace the middle of a caption that is too long."""
    line = PIL.Image.new("RGB", (width, FONT_SIZE + GAP), (BACKGROUND,) * 3)
    font = PIL.ImageFont.load_default(FONT_SIZE)
    shown = _shorten(caption, lambda part: font.getlength(part) <= width, width)
    PIL.ImageDraw.Draw(line).text((0, 0), shown, fill=INK, font=font)
    return np.array(line)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Pixels of a network, uint8 `[C, H, W]`, as `[H, W, 3]`; transparent ones are put on white."""
    if len(pixels) in (2, 4):
        alpha = pixels[-1:].astype(np.uint16)
        blended = (pixels[:-1] * alpha + 255 * (255 - alpha) + 127) // 255
        pixels = blended.astype(np.uint8)
    return np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeat every pixel, so that its square stays visible."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def beside(*parts: np.ndarray) -> np.ndarray:
    """Parts from left to right, with gaps, aligned at the top."""
    height = max(part.shape[0] for part in parts)
    return np.concatenate([_fill(part, height, part.shape[1] + GAP) for part in parts], axis=1)


def beneath(*parts: np.ndarray) -> np.ndarray:
    """Parts from top to bottom, aligned at the left."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_fill(part, part.shape[0], width) for part in parts])


def _fill(part: np.ndarray, height: int, width: int) -> np.ndarray:
    missing = [(0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)]
    return np.pad(part, missing, constant_values=BACKGROUND)


def _shorten(caption: str, fits: Callable[[str], bool], max_characters: int) -> str:
    if fits(caption):
        return caption
    for num_kept in range(min(len(caption) - 1, max_characters), 0, -1):
        end = len(caption) - (num_kept - num_kept // 2)
        shown = f"{caption[: num_kept // 2]}...{caption[end:]}"
        if fits(shown):
            return shown
    return ""
