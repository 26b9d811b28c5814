"""Colour profiles of the matrix kind (ICC.1:2001), and what they mean, in NumPy."""

import struct
from collections.abc import Callable

import numpy as np

D65 = np.array([0.3127, 0.3290])
SRGB = np.array([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]])  # red, green, blue, as x and y
DISPLAY_P3 = np.array([[0.680, 0.320], [0.265, 0.690], [0.150, 0.060]])
ADOBE_RGB = np.array([[0.64, 0.33], [0.21, 0.71], [0.15, 0.06]])
D50_XYZ = np.array([0.9642, 1, 0.8249])
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

Curve = Callable[[np.ndarray], np.ndarray]  # samples in [0, 1] to linear light


def srgb_curve(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def gamma(exponent: float) -> Curve:
    return lambda values: values**exponent


def to_xyz(primaries: np.ndarray) -> np.ndarray:
    """Matrix from linear RGB to XYZ relative to D65."""
    columns = _xyz(primaries).T
    return columns * np.linalg.solve(columns, _xyz(D65))


def rgb_profile(name: str, primaries: np.ndarray, curve: Curve) -> bytes:
    """A profile of a display with these primaries and a D65 white."""
    scale = np.diag((BRADFORD @ D50_XYZ) / (BRADFORD @ _xyz(D65)))
    columns = (np.linalg.inv(BRADFORD) @ scale @ BRADFORD @ to_xyz(primaries)).T
    tags = {b"wtpt": _xyz_tag(D50_XYZ)}
    for key, xyz in zip((b"r", b"g", b"b"), columns, strict=True):
        tags |= {key + b"XYZ": _xyz_tag(xyz), key + b"TRC": _curve_tag(curve)}
    return _profile(name, b"RGB ", tags)


def grey_profile(name: str, curve: Curve) -> bytes:
    return _profile(name, b"GRAY", {b"wtpt": _xyz_tag(D50_XYZ), b"kTRC": _curve_tag(curve)})


def convert(pixels: np.ndarray, primaries: np.ndarray, curve: Curve) -> np.ndarray:
    """What uint8 pixels `[..., 3]` are in sRGB, clipped to it; uint8."""
    linear = curve(pixels / 255) @ to_xyz(primaries).T @ np.linalg.inv(to_xyz(SRGB)).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def _xyz(xy: np.ndarray) -> np.ndarray:
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([x / y, np.ones_like(x), (1 - x - y) / y], axis=-1)


def _xyz_tag(xyz: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + np.rint(xyz * 65536).astype(">i4").tobytes()


def _curve_tag(curve: Curve) -> bytes:
    values = np.rint(curve(np.linspace(0, 1, 1024)) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(values)) + values.tobytes()


def _profile(name: str, space: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(8 + 3 + 67)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", **tags}
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for key, content in tags.items():
        table += struct.pack(">4sII", key, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s12s4s", size, b"", 0x02100000, b"mntr", space, b"XYZ ",
                         struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp")  # fmt: skip
    header += bytes(28) + np.rint(D50_XYZ * 65536).astype(">i4").tobytes()  # perceptual intent
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
