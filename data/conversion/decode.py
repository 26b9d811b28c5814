"""Decode images for conversion and inspection: grey or RGB, without transparency."""

from collections import Counter
from dataclasses import dataclass

from data import decoding
from data.conversion import background
from data.conversion.background import Background
from data.decoding import Picture
from data.reading import unusable


@dataclass(frozen=True)
class DecodeOptions:
    """How a conversion decodes its images.

    Attributes:
        keep_profile_values: Take pixel values as they are and ignore colour profiles.
        background: What transparent images are put on; `None` refuses them.
    """

    keep_profile_values: bool = False
    background: Background | None = None


def read_image(data: bytes, options: DecodeOptions | None = None) -> tuple[Picture, Counter[str]]:
    """Decode an image file to mode L or RGB; see `data.decoding`.

    Returns:
        The picture, and counts of changes and omissions.

    Raises:
        UnusableImage: If the file cannot be decoded, or is partly transparent and there is no
            background.
    """
    options = options or DecodeOptions()
    notes: Counter[str] = Counter()
    picture = decoding.decode(data, notes, options.keep_profile_values)
    if options.background is not None:
        picture = background.put_on(picture, options.background, notes)
    if picture.mode in ("LA", "RGBA"):
        raise unusable("is partly transparent", "--background=white puts it on white")
    return picture, notes
