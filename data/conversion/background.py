"""Put transparent pictures on a background of one colour."""

import difflib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from PIL import ImageColor

from data.decoding import Picture
from dnnlib.errors import InputError

_PUT_ON = "partly transparent, put on "  # before the name of the colour, in counts of changes


@dataclass(frozen=True)
class Background:
    """A colour, as the user calls it and as 8-bit sRGB."""

    name: str
    rgb: tuple[int, int, int]

    @property
    def note(self) -> str:
        """The key under which `Counter`s of changes count the pictures put on this background."""
        return _PUT_ON + self.name


def parse_colour(text: str) -> Background:
    """Read a colour, as Pillow and CSS name it: `white`, `#fff`, `#ffffff`, `rgb(255,255,255)`.

    Raises:
        ValueError: If the colour is unknown, or is itself transparent.
    """
    try:
        colour = ImageColor.getrgb(text)
    except ValueError as error:
        close = difflib.get_close_matches(text.lower(), ImageColor.colormap, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(
            f"{text!r} is no colour like white, black, skyblue or #87ceeb{hint}"
        ) from error
    if len(colour) == 4:
        raise InputError(
            f"{text!r} is a colour with transparency, and a background has none; leave out the "
            "fourth number"
        )
    return Background(text, colour)


def put_on(picture: Picture, background: Background, notes: Counter[str]) -> Picture:
    """Blend a picture with a background: `colour * alpha + background * (1 - alpha)`.

    The 8-bit sRGB values are blended, as browsers and Pillow do, and rounded to the nearest.

    Args:
        picture: Any mode. An opaque picture is returned unchanged.
        background: The colour. A grey picture stays grey on a grey background, such as white, and
            becomes RGB on others.
        notes: Counts the picture if it changes.
    """
    if picture.mode not in ("LA", "RGBA"):
        return picture
    notes[background.note] += 1
    is_grey = picture.mode == "LA" and len(set(background.rgb)) == 1
    behind = np.array(background.rgb[:1] if is_grey else background.rgb, np.uint16)
    pixels = picture.pixels.astype(np.uint16)  # 255 * 255 + 127 fits
    colour, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    blended = (colour * alpha + behind * (255 - alpha) + 127) // 255
    return Picture(blended.astype(np.uint8))
