"""Convert colours to sRGB by the colour profile in an image file (ICC.1)."""

import contextlib
import functools
import io
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms

from data.png_header import (
    CODED_SRGB,
    SRGB_GAMMA,
    SRGB_PRIMARIES,
    TOLERANCE,
    UNITS,
    find_chunk,
)
from dnnlib.errors import InputError

# sRGB profiles differ in their last digits; images with any sRGB profile stay unchanged.
MAX_ROUNDING = 2  # of 255 levels
LATTICE = 9  # colours per axis at which profiles are compared
SPACES = {"RGB": "RGB", "GRAY": "L"}  # of profiles, as modes of images
MAX_NAME = 40
STATED = "with a colour space other than sRGB, but no profile of it: values kept"
ADOBE_RGB = "R03"  # EXIF's code in files of cameras: "DCF optional file" (JEITA CP-3461)
INTEROPERABILITY, INTEROPERABILITY_INDEX = 0xA005, 1


def to_srgb(
    image: PIL.Image.Image, profile: bytes | None, notes: Counter[str] | None = None
) -> PIL.Image.Image:
    """Convert pixels from the colour space of `profile` to sRGB; an alpha channel is kept.

    Args:
        image: Of mode L, LA, RGB or RGBA. A grey image may have a profile for RGB.
        profile: The file's ICC profile, if it has one.
        notes: Counts conversions, and profiles that cannot be used.

    Returns:
        The converted image. The image itself if the profile is missing, unusable, or sRGB.
    """
    if not profile:
        return image
    notes = Counter() if notes is None else notes
    is_grey = image.mode.startswith("L")
    try:
        name, mode, transform = _transform(profile, is_grey)
    except (PIL.ImageCms.PyCMSError, OSError, TypeError, ValueError):
        notes["with a colour profile that cannot be used: values kept"] += 1
        return image
    if transform is None:
        return image
    notes[f"converted from {name} to sRGB"] += 1
    colours = image.convert(mode) if is_grey else image.convert("RGB")
    result = PIL.ImageCms.applyTransform(colours, transform)
    assert result is not None  # Pillow returns None only if it works in place
    result = result.getchannel("G") if is_grey else result
    if image.mode in ("LA", "RGBA"):
        result.putalpha(image.getchannel("A"))
    return result


def note_stated_space(image: PIL.Image.Image, data: bytes, notes: Counter[str]) -> None:
    """Count an image that states a colour space other than sRGB without a profile.

    Args:
        image: As opened.
        data: The file, or its start.
        notes: Where to count.
    """
    is_other = image.format == "PNG" and _png_states_another(image.info, data)
    if image.format in ("JPEG", "MPO", "TIFF"):
        with contextlib.suppress(Exception):  # damaged EXIF can raise anything
            index = image.getexif().get_ifd(INTEROPERABILITY).get(INTEROPERABILITY_INDEX)
            is_other |= str(index).startswith(ADOBE_RGB)
    if is_other:
        notes[STATED] += 1


def _png_states_another(info: Mapping[Any, Any], data: bytes) -> bool:
    """Whether a PNG states another space. cICP counts before sRGB, gAMA, cHRM (ISO/IEC 15948)."""
    coded = find_chunk(data, b"cICP")
    if coded is not None:
        return tuple(coded[: len(CODED_SRGB)]) != CODED_SRGB
    if "srgb" in info:
        return False
    expected = np.array((SRGB_GAMMA, *SRGB_PRIMARIES)) / UNITS
    stated = (info.get("gamma", expected[0]), *info.get("chromaticity", expected[1:]))
    return len(stated) != len(expected) or np.abs(stated - expected).max() > TOLERANCE / UNITS


@functools.lru_cache(maxsize=64)
def _transform(
    profile: bytes, is_grey: bool
) -> tuple[str, str, PIL.ImageCms.ImageCmsTransform | None]:
    """Name of a profile, the mode of its images, and the conversion; `None` for an sRGB profile.

    Raises:
        ValueError: If the profile is not for grey or RGB images.
    """
    source = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = SPACES.get(source.profile.xcolor_space.strip())
    if mode is None or (mode == "L" and not is_grey):
        raise InputError(f"a profile of {source.profile.xcolor_space} colours")
    transform = PIL.ImageCms.buildTransform(
        source, PIL.ImageCms.createProfile("sRGB"), mode, "RGB", PIL.ImageCms.Intent.PERCEPTUAL
    )
    levels = np.linspace(0, 255, 256 if is_grey else LATTICE).round().astype(np.uint8)
    if mode == "L":
        lattice = levels[None]
    elif is_grey:
        lattice = np.repeat(levels[None, :, None], 3, axis=2)
    else:
        lattice = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(1, -1, 3)
    before = PIL.Image.fromarray(lattice)
    after = np.asarray(PIL.ImageCms.applyTransform(before, transform), np.int16)
    difference = np.abs(after - np.asarray(before.convert("RGB"), np.int16)).max()
    name = _one_line(PIL.ImageCms.getProfileDescription(source)) or "a profile without a name"
    return name, mode, None if difference <= MAX_ROUNDING else transform


def _one_line(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip()[:MAX_NAME]
