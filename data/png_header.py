"""Read the chunks of a PNG file that describe its pixels (ISO/IEC 15948), without decoding."""

import struct
import zlib
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
IHDR = struct.Struct(">8s4x4sIIBB")  # signature; length and type; width, height, depth, colours
CHUNK = struct.Struct(">I4s")
TRUECOLOUR, PALETTE, GREY_ALPHA = 2, 3, 4
# Channels by colour type: grey, truecolour, palette, grey with alpha, truecolour with alpha.
CHANNELS = {0: 1, TRUECOLOUR: 3, PALETTE: 3, GREY_ALPHA: 2, 6: 4}

# Chunks that change what pixels mean: orientation, colour space, transparency, animation.
# A text can hold an orientation, too: XMP, or EXIF as ImageMagick writes it.
MEANINGFUL = frozenset({b"eXIf", b"iCCP", b"cICP", b"tRNS", b"acTL"})
# Values by which many programs state sRGB; x and y of white, red, green, blue.
SRGB_GAMMA, SRGB_PRIMARIES = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
CODED_SRGB = (1, 13, 0)  # in cICP: primaries, transfer function, matrix (ITU-T H.273)
TOLERANCE = 500
UNITS = 1e5  # of the chunks for 1
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
MEANINGFUL_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")


class PngHeader(NamedTuple):
    """The first chunk, and whether other chunks change the meaning of pixels."""

    width: int
    height: int
    depth: int  # bits per sample
    colour_type: int
    is_plain: bool  # no chunk in `data` changes the meaning of pixels

    @property
    def channels(self) -> int:
        """Channels after palettes are expanded."""
        return CHANNELS.get(self.colour_type, 0)


def parse(data: bytes, whole: bool = True) -> PngHeader | None:
    """Read the header of a PNG; `None` for other files.

    Args:
        data: The file, or its start.
        whole: Check all chunks, or else only chunks before the pixels. `is_plain` is False if
            `data` ends before the last chunk to check.
    """
    if len(data) < IHDR.size:
        return None
    signature, kind, width, height, depth, colour_type = IHDR.unpack_from(data)
    if signature != SIGNATURE or kind != b"IHDR":
        return None
    return PngHeader(width, height, depth, colour_type, _is_plain(data, whole))


def _is_plain(data: bytes, whole: bool) -> bool:
    pos = len(SIGNATURE)
    while pos + CHUNK.size <= len(data):
        size, kind = CHUNK.unpack_from(data, pos)
        if kind == (b"IEND" if whole else b"IDAT"):
            return True
        if kind in MEANINGFUL:
            return False
        if kind in (b"gAMA", b"cHRM") and not states_srgb(data[pos + 8 : pos + 8 + size]):
            return False
        if kind in TEXTS and data.startswith(MEANINGFUL_TEXTS, pos + CHUNK.size):
            return False
        pos += size + 12  # length, type and checksum
    return False


def find_chunk(data: bytes, wanted: bytes) -> bytes | None:
    """The content of the first chunk of this kind; `None` if `data` has none."""
    pos = len(SIGNATURE)
    while pos + CHUNK.size <= len(data):
        size, kind = CHUNK.unpack_from(data, pos)
        if kind == wanted:
            return data[pos + CHUNK.size :][:size]
        pos += size + 12  # length, type and checksum
    return None


def is_intact(data: bytes) -> bool:
    """Whether the file has its last chunk, and the right checksums in all critical chunks.

    Programs may ignore other chunks; their names start with a small letter.
    """
    pos = len(SIGNATURE)
    view = memoryview(data)
    while pos + CHUNK.size + 4 <= len(data):
        size, kind = CHUNK.unpack_from(data, pos)
        end = pos + CHUNK.size + size
        checksum = int.from_bytes(data[end : end + 4], "big")
        if kind[:1].isupper() and zlib.crc32(view[pos + 4 : end]) != checksum:
            return False
        if kind == b"IEND":
            return True
        pos = end + 4
    return False


def states_srgb(values: bytes) -> bool:
    """Whether the content of a gAMA or cHRM chunk states sRGB, up to rounding."""
    expected = (SRGB_GAMMA,) if len(values) == 4 else SRGB_PRIMARIES
    if len(values) != 4 * len(expected):
        return False
    found = struct.unpack(f">{len(expected)}I", values)
    return all(abs(a - b) <= TOLERANCE for a, b in zip(found, expected, strict=True))
