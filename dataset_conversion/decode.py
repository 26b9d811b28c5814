"""One image file to upright 8-bit grey or RGB pixels, or a reason why not."""

import functools
import io
import warnings

import numpy as np
import PIL.Image
import PIL.ImageOps

MAX_FILE_BYTES = 2**30
# EPS is a program for Ghostscript, WMF for Windows: neither is run for whoever made the file.
PROGRAM_FORMATS = ("EPS", "WMF")


def read_image(data: bytes) -> PIL.Image.Image:
    """Decode an image file to mode L or RGB.

    EXIF rotation is applied; palettes are expanded; 1-bit and 16-bit grey become 8-bit grey; an
    alpha channel that is opaque throughout is dropped.

    Raises:
        ValueError: If the file is damaged, far too large, or its colours have no plain meaning as
            grey or RGB (transparency, CMYK, floating point, ...).
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns at half the size that it refuses; the size it accepts is fine here.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(io.BytesIO(data), formats=_safe_formats()) as image:
                image.load()
                upright = PIL.ImageOps.exif_transpose(image)
    except PIL.Image.DecompressionBombError as error:
        raise ValueError(
            "has too many pixels, as decompression bombs do; shrink it, or leave such files out"
            " with --on-error=skip"
        ) from error
    except Exception as error:  # Pillow raises nearly anything on damaged files
        reason = "not an image" if isinstance(error, PIL.UnidentifiedImageError) else error
        raise ValueError(
            f"cannot be read ({reason}); replace it, or leave such files out with --on-error=skip"
        ) from error
    return _to_grey_or_rgb(upright)


@functools.cache
def _safe_formats() -> tuple[str, ...]:
    PIL.Image.init()
    return tuple(name for name in PIL.Image.ID if name not in PROGRAM_FORMATS)


def _to_grey_or_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode == "PA" or (image.mode in ("P", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode == "P" or image.mode == "RGBX":
        image = image.convert("RGB")
    elif image.mode == "L" and "transparency" in image.info:  # one grey level stands for nothing
        image = image.convert("LA")
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint32)
        return PIL.Image.fromarray(((samples * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema()[0] == 255:
            return image.convert(image.mode[:-1])
        raise ValueError(
            "is partly transparent; put it on a background first (for example: magick IN.png"
            " -background white -flatten OUT.png), or leave such files out with --on-error=skip"
        )
    raise ValueError(
        f"has {image.mode} pixels; convert it to RGB or 8-bit grey first (for example: magick IN"
        " -colorspace sRGB OUT.png), or leave such files out with --on-error=skip"
    )
