"""Read grey TIFFs of 9 to 16 bits that Pillow does not know. Cameras and scanners write them.

Uncompressed, one sample per pixel, in strips (TIFF 6.0, Sections 3, 4 and 7). Pillow itself reads
12 and 16 bits if zero is black, and 16 bits in one byte order if zero is white.
"""

import io
import warnings
from typing import NamedTuple

import numpy as np
import PIL.Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from data.deep_samples import (
    BITS_PER_SAMPLE,
    PHOTOMETRIC,
    SAMPLE_FORMAT,
    UNSIGNED,
    WHITE_IS_ZERO,
)

SIGNATURES = (b"II*\0", b"MM\0*")
BITS = range(9, 17)
WIDTH, HEIGHT, COMPRESSION, FILL_ORDER = 256, 257, 259, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_SIZES, PROFILE = 273, 274, 277, 279, 34675
EXPECTED = {
    COMPRESSION: 1,
    FILL_ORDER: 1,
    SAMPLES: 1,
    SAMPLE_FORMAT: UNSIGNED,
}  # values of these tags, which are also their defaults
BITS_AT_ONCE = 2**24  # each is unpacked to a byte


class DeepTiff(NamedTuple):
    """The first page of a file."""

    image: PIL.Image.Image  # I;16, as stored
    bits: int
    is_inverted: bool  # zero is white
    orientation: int  # EXIF's
    profile: bytes | None
    num_pages: int


def describe(data: bytes) -> str | None:
    """The kind of TIFF, for people; `None` if the file is no TIFF, or has lost its directory."""
    tags = _directory(data)
    bits = () if tags is None else _values(tags, BITS_PER_SAMPLE)
    return f"a TIFF with {max(bits)} bits per sample" if bits else None


def read(data: bytes) -> DeepTiff | None:
    """Read the first page; `None` if the file is of another kind, or damaged."""
    tags = _directory(data)
    if tags is None:
        return None
    width, height, bits = (_number(tags, tag) for tag in (WIDTH, HEIGHT, BITS_PER_SAMPLE))
    is_grey = _number(tags, PHOTOMETRIC) in (0, 1)
    is_known = all(_number(tags, tag, value) == value for tag, value in EXPECTED.items())
    limit = 2 * (PIL.Image.MAX_IMAGE_PIXELS or 2**32)  # as Pillow's
    is_sensible = width > 0 and height > 0 and width * height <= limit
    if not is_grey or not is_known or bits not in BITS or not is_sensible:
        return None
    strips = list(zip(_values(tags, STRIP_OFFSETS), _values(tags, STRIP_SIZES), strict=False))
    if any(offset < 0 or size < 0 for offset, size in strips):
        return None
    packed = b"".join(data[offset : offset + size] for offset, size in strips)
    row_size = -(-width * bits // 8)
    if len(packed) < height * row_size:
        return None
    rows = np.frombuffer(packed, np.uint8, height * row_size).reshape(height, row_size)
    if bits == 16:
        samples = rows.view(">u2" if data.startswith(b"MM") else "<u2").astype(np.uint16)
    else:
        step = max(BITS_AT_ONCE // (width * bits), 1)
        parts = (rows[i : i + step] for i in range(0, height, step))
        samples = np.concatenate([_unpack(part, width, bits) for part in parts])
    return DeepTiff(
        PIL.Image.fromarray(samples),
        bits,
        _number(tags, PHOTOMETRIC) == WHITE_IS_ZERO,
        _number(tags, ORIENTATION, 1),
        _profile(tags),
        _count_pages(tags, data),
    )


def _unpack(rows: np.ndarray, width: int, bits: int) -> np.ndarray:
    """Unpack samples of `bits` bits, highest bit first; rows are padded to whole bytes."""
    digits = np.unpackbits(rows, axis=1)[:, : width * bits].reshape(len(rows), width, bits)
    return digits @ (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)


def _directory(data: bytes, start: int | None = None) -> ImageFileDirectory_v2 | None:
    """The tags of the page at `start`, by default of the first page."""
    if not data.startswith(SIGNATURES):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags = ImageFileDirectory_v2(data[:8])
            file = io.BytesIO(data)
            file.seek(tags.next if start is None else start)
            tags.load(file)
    except Exception:  # damaged bytes can raise nearly anything
        return None
    return tags


def _profile(tags: ImageFileDirectory_v2) -> bytes | None:
    profile = tags.get(PROFILE)
    return profile if isinstance(profile, bytes) else None


def _count_pages(tags: ImageFileDirectory_v2, data: bytes) -> int:
    seen: set[int] = set()
    page: ImageFileDirectory_v2 | None = tags
    while page is not None and page.next and page.next not in seen:
        seen.add(page.next)
        page = _directory(data, page.next)
    return 1 + len(seen)


def _values(tags: ImageFileDirectory_v2, tag: int) -> tuple[int, ...]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = tags.get(tag, ())  # decodes the values
    except Exception:  # damaged values can raise nearly anything
        return ()
    values = values if isinstance(values, tuple) else (values,)
    return values if all(isinstance(value, int) for value in values) else ()


def _number(tags: ImageFileDirectory_v2, tag: int, default: int = -1) -> int:
    """The only value of a tag; -1 if there are several."""
    if tag not in tags:
        return default
    values = _values(tags, tag)
    return values[0] if len(values) == 1 else -1
