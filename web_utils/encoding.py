"""Pictures as files for a browser: small ones while the picture moves, exact ones when it rests."""

import io

import numpy as np
import PIL.Image

SMALL = 64  # pictures up to this width and height are always exact
PNG = "image/png"


def check(image: np.ndarray) -> None:
    """Refuse what is no picture.

    Raises:
        ValueError: If `image` is not uint8 `[H, W, C]` with 1 (grey), 3 or 4 channels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"a picture is uint8 [H, W, 1 or 3 or 4], got {image.dtype} {list(image.shape)}"
        )
    if image.size == 0:
        raise ValueError(f"a picture has pixels, got {list(image.shape)}")


def is_small(image: np.ndarray) -> bool:
    """Whether the exact file of a picture costs no more than a file with loss."""
    return max(image.shape[:2]) <= SMALL


def exact(image: np.ndarray) -> tuple[bytes, str]:
    """A PNG of uint8 `[H, W, C]`, and its media type."""
    return _file(_picture(image), "PNG", compress_level=1), PNG


def moving(image: np.ndarray, quality: int, reduction: int) -> tuple[bytes, str]:
    """A file with loss, and its media type.

    JPEG, because WebP takes about ten times as long for files that are a quarter smaller (1024x1024
    pixels: 2 ms and 131 kB against 17 ms and 100 kB). Only WebP has an alpha channel.

    Args:
        image: uint8 `[H, W, C]`.
        quality: 1 to 100.
        reduction: Width and height are divided by this number.
    """
    picture = _picture(image)
    if reduction > 1:
        picture = picture.reduce(reduction)
    if picture.mode == "RGBA":
        return _file(picture, "WEBP", quality=quality, method=0), "image/webp"
    return _file(picture, "JPEG", quality=quality), "image/jpeg"


def shade(may_change: np.ndarray, darkness: int) -> tuple[bytes, str]:
    """A PNG that is clear where a mask is set, and black elsewhere, and its media type.

    Args:
        may_change: Bool `[H, W]`.
        darkness: Alpha of the black part, of 255.
    """
    pixels = np.zeros([*may_change.shape, 2], np.uint8)
    pixels[..., 1] = np.where(may_change, 0, darkness)
    return _file(PIL.Image.fromarray(pixels, "LA"), "PNG"), PNG


def _picture(image: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _file(picture: PIL.Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
