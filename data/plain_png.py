"""PNG files without compression, whose pixels are at known positions and are read by copying.

PNG compresses rows of pixels with zlib, and each row starts with the number of a filter. Here no
row is filtered, and each row is an uncompressed block of its own, so all rows have equal length.
Any program can read such a file, and this module finds its pixels without unpacking. Formats: PNG
(ISO/IEC 15948), zlib (RFC 1950), deflate (RFC 1951).
"""

import functools
import struct
import zlib

import numpy as np

from dnnlib.errors import InputError

COLOUR_TYPES = {1: 0, 3: 2}  # PNG's numbers for grey and RGB, by channels
CHANNELS = {kind: channels for channels, kind in COLOUR_TYPES.items()}
HEADER_SIZE = 33  # signature and IHDR
DATA_START = HEADER_SIZE + 8 + 2  # length and type of IDAT, header of zlib
ROW_START = 6  # header of a block, number of a filter
MAX_ROW_SIZE = 2**16 - 1  # of a block
TAIL_SIZE = 4 + 4 + 12  # checksums of zlib and of IDAT, IEND


def encode(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 pixels, `[H, W, C]` or `[H, W]`, grey or RGB.

    Raises:
        ValueError: If a row is longer than 65534 bytes.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    head, row_starts = _frame(height, width, channels)
    rows = np.empty([height, ROW_START + width * channels], np.uint8)
    rows[:, :ROW_START] = row_starts
    rows[:, ROW_START:] = pixels.reshape(height, -1)
    checksum = zlib.adler32(rows[:, ROW_START - 1 :].tobytes())
    data = b"".join([head[HEADER_SIZE + 8 :], rows.data, struct.pack(">I", checksum)])
    return head[:HEADER_SIZE] + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def find_pixels(data: bytes) -> np.ndarray | None:
    """Pixels `[H, W, C]` of a file that `encode` wrote, as a view; `None` for other files.

    Checksums are not compared.
    """
    if len(data) < DATA_START + TAIL_SIZE or data[12:16] != b"IHDR":
        return None
    width, height, depth, colour_type = struct.unpack_from(">IIBB", data, 16)
    channels = CHANNELS.get(colour_type)
    if depth != 8 or channels is None:
        return None
    stride = ROW_START + width * channels
    if len(data) != DATA_START + height * stride + TAIL_SIZE or stride > ROW_START + MAX_ROW_SIZE:
        return None
    head, row_starts = _frame(height, width, channels)
    if not data.startswith(head):
        return None
    found: np.ndarray = np.ndarray([height, ROW_START], np.uint8, data, DATA_START, [stride, 1])
    if not np.array_equal(found, row_starts):
        return None
    start = DATA_START + ROW_START
    return np.ndarray([height, width, channels], np.uint8, data, start, [stride, channels, 1])


@functools.lru_cache(maxsize=8)
def _frame(height: int, width: int, channels: int) -> tuple[bytes, np.ndarray]:
    """Bytes in front of all rows, and in front of each row, uint8 `[H, 6]`."""
    row_size = 1 + width * channels
    if row_size > MAX_ROW_SIZE:
        raise InputError(f"a row of {width} pixels is too long")
    ihdr = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    data_size = 2 + height * (ROW_START - 1 + row_size) + 4
    head = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", ihdr)
    head += struct.pack(">I", data_size) + b"IDAT" + b"\x78\x01"
    row_start = struct.pack("<BHHB", 0, row_size, row_size ^ 0xFFFF, 0)
    row_starts = np.tile(np.frombuffer(row_start, np.uint8), [height, 1])
    row_starts[-1, 0] = 1  # the last block
    return head, row_starts


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)])
