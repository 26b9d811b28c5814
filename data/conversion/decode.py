"""Decode images for conversion and inspection: grey or RGB, without transparency."""

from collections import Counter

from data import decoding
from data.decoding import Picture
from data.reading import unusable


def read_image(data: bytes, keep_profile_values: bool = False) -> tuple[Picture, Counter[str]]:
    """Decode an image file to mode L or RGB; see `data.decoding`.

    Returns:
        The picture, and counts of changes and omissions.

    Raises:
        UnusableImage: If the file cannot be decoded, or is partly transparent.
    """
    notes: Counter[str] = Counter()
    picture = decoding.decode(data, notes, keep_profile_values)
    if picture.mode in ("LA", "RGBA"):
        raise unusable(
            "is partly transparent",
            "put it on a background first (for example: magick IN.png -background white -flatten"
            " OUT.png)",
        )
    return picture, notes
