"""Decode an image file to upright 8-bit sRGB or grey pixels, or say why that is impossible.

Conversion, inspection, training and metrics all decode here, so they see the same picture.
"""

import contextlib
import io
import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np
import PIL.Image
from PIL.ExifTags import Base
from PIL.Image import Transpose
from PIL.TiffImagePlugin import SAMPLESPERPIXEL

from data import colour, deep_samples, deep_tiff, formats, plain_png, png_header
from data.reading import UnusableImage, unusable

try:
    import pyspng
except ImportError:
    pyspng = None  # Pillow reads PNG too, at a third of the speed

HEAD_BYTES = 4096  # enough to `probe` most files
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}  # by mode of a `Picture`
MODES = {channels: mode for mode, channels in CHANNELS.items()}
# Formats whose further pictures are frames or pages. In PSD they are layers, in ICO sizes.
FRAMES = ("GIF", "PNG", "WEBP", "AVIF", "TIFF", "MPO", "FLI", "DCX", "HEIF")
TRANSPOSES = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}  # by EXIF's orientation: the transposition that sets a picture upright
TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
# Formats with their own rules for turning, which ignore EXIF (ISO 23008-12, ISO 18181-2).
WITHOUT_EXIF_ORIENTATION = ("HEIF", "JXL")

UPRIGHT = "turned upright (EXIF)"
OPAQUE = "with an opaque alpha channel, which was dropped"
FURTHER = "further frames or pages"
FURTHER_CHANNELS = "with channels besides grey or RGB and alpha, which were dropped"


class Picture:
    """An image of mode L, RGB, LA or RGBA; the last two are partly transparent.

    Attributes:
        had_alpha: Whether the file has an alpha channel. An alpha channel without any transparency
            is dropped.
    """

    def __init__(self, picture: np.ndarray | PIL.Image.Image, had_alpha: bool = False) -> None:
        # Each is made from the other when it is needed.
        self._pixels = picture if isinstance(picture, np.ndarray) else None
        self._image = None if isinstance(picture, np.ndarray) else picture
        self.had_alpha = had_alpha

    @property
    def pixels(self) -> np.ndarray:
        """Pixels, uint8 `[H, W, C]`, which must not be changed."""
        if self._pixels is None:
            pixels = np.asarray(self._image)
            self._pixels = pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]
        return self._pixels

    @property
    def image(self) -> PIL.Image.Image:
        """The picture as an image of Pillow."""
        if self._image is None:
            pixels = self.pixels
            self._image = PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self._image

    @property
    def mode(self) -> str:
        return MODES[self.pixels.shape[2]] if self._image is None else self._image.mode

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        if self._image is not None:
            return self._image.size
        height, width, _ = self.pixels.shape
        return width, height


class Probe(NamedTuple):
    """Properties of a picture that can be read from the start of its file."""

    channels: int
    height: int
    width: int
    has_alpha: bool  # if it is opaque, the decoded picture has one channel less than `channels`


def decode(
    data: bytes,
    notes: Counter[str] | None = None,
    keep_profile_values: bool = False,
    check: bool = True,
) -> Picture:
    """Decode an image file.

    Pictures are turned upright (EXIF), palettes expanded, colours converted to sRGB by the file's
    profile, 1-bit and deeper grey made 8-bit grey; of several frames or pages the first counts.

    Args:
        data: The file.
        notes: Counts changes of values, and omissions.
        keep_profile_values: Drop the colour profile instead of converting by it.
        check: Verify the checksums of PNGs, which is needed once for a file.

    Raises:
        UnusableImage: If the file is damaged, far too large, or its colours have no plain meaning
            as grey or RGB (CMYK, LAB, floating point, ...).
    """
    pixels = plain_png.find_pixels(data)
    header = png_header.parse(data) if pixels is None else None
    if header is not None:
        _check_size(header.width, header.height)
    is_png = pixels is not None or header is not None
    if check and is_png and not png_header.is_intact(data):
        reason = "damaged: it ends early, or a checksum differs"
        raise unusable(f"cannot be read ({reason})", "replace it")
    if header is not None:
        pixels = _decode_fast(data, header)
    if pixels is None:
        return _decode_with_pillow(data, notes, keep_profile_values)
    has_alpha = pixels.shape[2] == 4
    if has_alpha and pixels[:, :, 3].min() == 255:
        pixels = np.ascontiguousarray(pixels[:, :, :3])
        if notes is not None:
            notes[OPAQUE] += 1
    return Picture(pixels, has_alpha)


def probe(head: bytes, notes: Counter[str] | None = None) -> Probe | None:
    """Properties of a picture by the first `HEAD_BYTES` of its file; `None` if it must be decoded.

    Raises:
        UnusableImage: If the picture is far too large.
    """
    header = png_header.parse(head, whole=len(head) < HEAD_BYTES)
    if header is not None and header.is_plain and header.depth <= 8:
        _check_size(header.width, header.height)
        has_alpha = header.channels in (2, 4)
        return Probe(header.channels, header.height, header.width, has_alpha)
    if header is not None or not head.startswith(b"\xff\xd8"):
        return None
    # Pillow reads all metadata of a JPEG when it opens the file, and fails if some are missing. A
    # warning is left to decoding, which counts it.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        image = _open(head)
        if image.mode not in CHANNELS:
            return None
        found: Counter[str] = Counter()
        width, height = image.size
        if _orientation(image, found) in TURNED:
            width, height = height, width
        blank = PIL.Image.new(image.mode, (1, 1))
        if profile := image.info.get("icc_profile"):
            colour.to_srgb(blank, profile, found)
        else:
            colour.note_stated_space(image, head, found)
        _count_frames(image.format, head, found)
        if notes is not None:
            notes.update(found)
        return Probe(CHANNELS[image.mode], height, width, False)
    return None


def _decode_fast(data: bytes, header: png_header.PngHeader) -> np.ndarray | None:
    """Pixels `[H, W, C]` of a plain PNG by pyspng; `None` leaves the file to Pillow."""
    if pyspng is None or not header.is_plain or header.depth > 8:
        return None
    if header.colour_type == png_header.GREY_ALPHA:  # pyspng cannot read it
        return None
    try:
        pixels = pyspng.load(data)
    except (RuntimeError, ValueError):
        return None
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def _decode_with_pillow(
    data: bytes, notes: Counter[str] | None, keep_profile_values: bool
) -> Picture:
    is_counting = notes is not None
    notes = Counter() if notes is None else notes
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # Pillow already warns at half of the size that it refuses; these sizes are fine here.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            image = _open(data)
            profile = image.info.get("icc_profile")
            header = png_header.parse(data)
            scale = deep_samples.scale_of(image, data)
            num_samples, depth = _samples(image, header)
            orientation = _orientation(image, notes)
            image.load()
    except UnusableImage:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise _too_many_pixels() from error
    except PIL.UnidentifiedImageError as error:
        if (deep := deep_tiff.read(data)) is not None:
            return _decode_deep_tiff(deep, notes, keep_profile_values)
        raise unusable(f"cannot be read ({_describe_unknown(data)})", "replace it") from error
    except Exception as error:  # Pillow raises nearly anything on damaged files
        raise unusable(f"cannot be read ({error})", "replace it") from error
    if is_counting:
        notes.update(f"with a warning of Pillow ({str(w.message).strip()[:60]})" for w in caught)
        _count_frames(image.format, data, notes)
        if not profile:
            colour.note_stated_space(image, data, notes)
    if orientation in TRANSPOSES and image.format != "TIFF":  # Pillow has turned TIFFs already
        transposed = image.transpose(TRANSPOSES[orientation])
        transposed.info = image.info
        image = transposed
    if scale is not None:
        image = deep_samples.to_8_bits(image, scale, notes)
    picture, has_alpha = _to_grey_or_rgb(image, header)
    if num_samples > CHANNELS[picture.mode] + (has_alpha and picture.mode in ("L", "RGB")):
        notes[FURTHER_CHANNELS] += 1
    if scale is None and depth > 8:
        deep_samples.note_reduction(np.asarray(picture), depth, notes)
    picture = _in_srgb(picture, profile, keep_profile_values, notes)
    if has_alpha and picture.mode in ("L", "RGB"):
        notes[OPAQUE] += 1
    return Picture(picture, has_alpha)


def _decode_deep_tiff(
    deep: deep_tiff.DeepTiff, notes: Counter[str], keep_profile_values: bool
) -> Picture:
    image = deep.image
    if deep.orientation in TRANSPOSES:
        image = image.transpose(TRANSPOSES[deep.orientation])
        notes[UPRIGHT] += 1
    if deep.num_pages > 1:
        notes[FURTHER] += deep.num_pages - 1
    grey = deep_samples.to_8_bits(image, (2**deep.bits - 1, deep.is_inverted), notes)
    return Picture(_in_srgb(grey, deep.profile, keep_profile_values, notes))


def _in_srgb(
    picture: PIL.Image.Image, profile: bytes | None, keep_values: bool, notes: Counter[str]
) -> PIL.Image.Image:
    if profile and keep_values:
        notes["with a colour profile, which was dropped"] += 1
        return picture
    return colour.to_srgb(picture, profile, notes) if profile else picture


def _open(data: bytes) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(data), formats=formats.readable_formats())


def _count_frames(format_name: str | None, data: bytes, notes: Counter[str]) -> None:
    """Count the pictures after the first one, as far as they can be read."""
    if format_name not in FRAMES:
        return
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (num := getattr(_open(data), "n_frames", 1)) > 1:
            notes[FURTHER] += num - 1


def _samples(image: PIL.Image.Image, header: png_header.PngHeader | None) -> tuple[int, int]:
    """Samples per pixel of a TIFF (1 for other formats), and bits per sample (8 if unknown)."""
    if image.format == "TIFF":
        bits = deep_samples.bits_of_tiff(image)
        (num_samples,) = deep_samples.values_of_tag(image, SAMPLESPERPIXEL, len(bits))
        return num_samples, max(bits)
    return 1, 8 if header is None else header.depth


def _orientation(image: PIL.Image.Image, notes: Counter[str]) -> int:
    """EXIF's orientation; 1 is upright (EXIF 4.6.4)."""
    if image.format in WITHOUT_EXIF_ORIENTATION:
        return 1
    try:
        orientation = image.getexif().get(Base.Orientation, 1)
    except Exception:  # damaged EXIF can raise anything
        notes["with EXIF that cannot be read, taken as upright"] += 1
        return 1
    if orientation in TRANSPOSES:
        notes[UPRIGHT] += 1
    return orientation


def _to_grey_or_rgb(
    image: PIL.Image.Image, header: png_header.PngHeader | None
) -> tuple[PIL.Image.Image, bool]:
    """Convert to a mode of `CHANNELS`; also return whether there was an alpha channel."""
    if image.mode == "PA" or (image.mode in ("P", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode in ("P", "RGBX"):
        image = image.convert("RGB")
    elif image.mode in ("1", "L") and "transparency" in image.info:  # one grey level is transparent
        if header is not None and 1 < header.depth < 8:  # Pillow scales pixels, but not the level
            image.info["transparency"] *= 255 // (2**header.depth - 1)
        image = image.convert("LA")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode not in CHANNELS:
        # Files do not tell which numbers are black and white.
        option = "-auto-level -depth 8" if image.mode in ("I", "F") else "-colorspace sRGB"
        raise unusable(
            f"has {image.mode} pixels",
            f"convert it to RGB or 8-bit grey first (for example: magick IN {option} OUT.png)",
        )
    if image.mode in ("L", "RGB"):
        return image, False
    if header is not None and header.colour_type == png_header.GREY_ALPHA and image.mode == "RGBA":
        image = PIL.Image.merge("LA", (image.getchannel("R"), image.getchannel("A")))
    is_opaque = image.getchannel("A").getextrema()[0] == 255
    return (image.convert(image.mode[:-1]) if is_opaque else image), True


def _check_size(width: int, height: int) -> None:
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:  # Pillow refuses more
        raise _too_many_pixels()


def _too_many_pixels() -> UnusableImage:
    return unusable("has too many pixels, as decompression bombs do", "shrink it")


def _describe_unknown(data: bytes) -> str:
    """The kind of a file that Pillow does not recognise."""
    if package := formats.plugin_for_content(data):
        return f"it takes another package: pip install {package}"
    if kind := deep_tiff.describe(data):
        return f"{kind}, of a kind that Pillow does not know"
    return "not an image"
