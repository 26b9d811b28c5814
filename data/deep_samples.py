"""Images with more than 8 bits per sample: scale to 8 bits; refuse those that Pillow misreads."""

import struct
from collections import Counter

import numpy as np
import PIL.Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from data import png_header
from data.reading import UnusableImage, unusable

# Tags of TIFF 6.0, Sections 4 to 8 and 19.
BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT = 258, 262, 284, 339
WHITE_IS_ZERO, SEPARATE_PLANES, UNSIGNED, VOID = 0, 2, 1, 4
CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ, with which the pixels of JPEG 2000 start
SIZ_COMPONENTS = 4 + 36  # where SIZ counts components; three bytes for each follow (ISO 15444-1)

DARK = 4  # no sample of a dark image reaches the largest value divided by this
Scale = tuple[int, bool]  # the largest value of a sample, and whether this value means black


def scale_of(image: PIL.Image.Image, data: bytes) -> Scale | None:
    """The largest possible value of a sample; `None` if samples have 8 bits or fewer.

    Args:
        image: As opened, before its pixels are loaded.
        data: The file.

    Raises:
        UnusableImage: If Pillow would return other values than the file has.
    """
    checks = {"TIFF": _check_tiff, "JPEG2000": _check_jpeg2000, "PPM": _check_ppm}
    if image.format in checks:
        return checks[image.format](image, data)
    if image.format == "PNG" and image.mode == "RGB" and "transparency" in image.info:
        header = png_header.parse(data)
        if header is not None and header.depth > 8:  # Pillow compares all 16 bits of the colour
            raise _misread("16 bits per sample and a transparent colour")
        return None
    if image.format == "FITS" and image.mode != "L":
        raise _misread("signed or big-endian samples")
    return (65535, False) if image.mode.startswith("I;16") else None


def to_8_bits(
    image: PIL.Image.Image, scale: Scale, notes: Counter[str] | None = None
) -> PIL.Image.Image:
    """Convert grey of mode I or I;16 to L, rounded to the nearest of 256 levels.

    The result has mode LA if one level stands for transparency. `notes` counts the image.
    """
    largest, is_inverted = scale
    samples = np.asarray(image).astype(np.uint32).clip(max=largest)
    if notes is not None:
        note_reduction(samples, largest.bit_length(), notes, largest)
    transparent = image.info.get("transparency")  # of a PNG: the level that is transparent
    mask = samples != transparent
    if is_inverted:
        samples = largest - samples
    grey = PIL.Image.fromarray(((samples * 255 + largest // 2) // largest).astype(np.uint8))
    if isinstance(transparent, int):
        grey.putalpha(PIL.Image.fromarray(mask.astype(np.uint8) * 255))
    return grey


def note_reduction(
    samples: np.ndarray, depth: int, notes: Counter[str], largest: int = 255
) -> None:
    """Count an image with more than 8 bits per sample, and count it again if it is dark.

    Args:
        samples: Samples before or after scaling.
        depth: Bits per sample of the file.
        notes: Where to count.
        largest: The largest value that `samples` could have.
    """
    notes[f"scaled from {depth} to 8 bits"] += 1
    if 0 < samples.max() < largest / DARK:
        notes[f"dark: no sample reaches 1/{DARK} of the largest value (fewer bits in use?)"] += 1


def bits_of_tiff(image: PIL.Image.Image) -> tuple[int, ...]:
    """Bits of each sample of a pixel."""
    return values_of_tag(image, BITS_PER_SAMPLE, 1)


def _check_tiff(image: PIL.Image.Image, data: bytes) -> Scale | None:
    bits = max(bits_of_tiff(image))
    formats = values_of_tag(image, SAMPLE_FORMAT, UNSIGNED)
    if image.mode not in ("F", "I") and any(kind not in (UNSIGNED, VOID) for kind in formats):
        raise _misread("signed samples")
    planes = values_of_tag(image, PLANAR, 0)
    if bits > 8 and len(image.getbands()) > 1 and planes == (SEPARATE_PLANES,):
        raise _misread(f"{bits} bits per sample in separate planes")
    if not image.mode.startswith("I;16"):
        return None
    return 2**bits - 1, values_of_tag(image, PHOTOMETRIC, -1) == (WHITE_IS_ZERO,)


def values_of_tag(image: PIL.Image.Image, tag: int, default: int) -> tuple[int, ...]:
    """The values of a TIFF's tag, as a tuple even if there is one."""
    assert isinstance(image, TiffImageFile)
    values = image.tag_v2.get(tag, default)
    return values if isinstance(values, tuple) else (values,)


def _check_jpeg2000(image: PIL.Image.Image, data: bytes) -> Scale | None:
    start = data.find(CODESTREAM)
    depths = [8]
    if start >= 0 and start + SIZ_COMPONENTS + 2 <= len(data):
        (count,) = struct.unpack_from(">H", data, start + SIZ_COMPONENTS)
        depths = list(data[start + SIZ_COMPONENTS + 2 :][: 3 * count : 3]) or [7]
        if any(depth & 0x80 for depth in depths):
            raise _misread("signed samples")
        depths = [(depth & 0x7F) + 1 for depth in depths]
    if max(depths) > 8 and not image.mode.startswith("I;16"):
        raise _misread(f"{max(depths)} bits per sample")
    # Pillow shifts samples up to 16 bits.
    return ((2 ** depths[0] - 1) << (16 - depths[0]), False) if max(depths) > 8 else None


def _check_ppm(image: PIL.Image.Image, data: bytes) -> Scale | None:
    assert isinstance(image, ImageFile)
    args = image.tile[0].args if image.tile else ()
    largest = args[-1] if isinstance(args, tuple) and isinstance(args[-1], int) else 255
    is_binary = bool(image.tile) and image.tile[0].codec_name == "ppm"
    if is_binary and image.mode == "RGB" and largest > 255 and largest != 65535:
        raise _misread(f"samples up to {largest}")
    return (65535, False) if image.mode == "I" else None


def _misread(what: str) -> UnusableImage:
    return unusable(
        f"has {what}, which would be misread",
        "convert it to 8 bits first (for example: magick IN -depth 8 OUT.png)",
    )
