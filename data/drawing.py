"""Means of drawing shapes without aliasing: signed distances, colours, opacity."""

import math

import numpy as np


def grid(resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres of pixels as `x` and `y`, `[resolution, resolution]`, in [-1, 1], y downwards."""
    centres = (np.arange(resolution) + 0.5) / resolution * 2 - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return x, y


def gradient(
    x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray, angle: float
) -> np.ndarray:
    """Two colours, graded smoothly in a direction, `[H, W, 3]`."""
    t = np.clip((x * math.cos(angle) + y * math.sin(angle)) / 2.4 + 0.5, 0, 1)
    return blend(np.broadcast_to(start, (*x.shape, 3)), end, t * t * (3 - 2 * t))


def cover(distance: np.ndarray) -> np.ndarray:
    """Share of each pixel that lies inside an outline, from signed distances `[H, W]`."""
    return np.clip(0.5 - distance * len(distance) / 2, 0, 1)


def soft_cover(distance: np.ndarray, softness: float) -> np.ndarray:
    """Opacity of a blurred shape, from signed distances."""
    return 1 / (1 + np.exp(np.clip(distance / softness, -50, 50)))


def pick_colour(stops: np.ndarray, t: float) -> np.ndarray:
    """Colour at `t` in [0, 1] along equally spaced stops."""
    positions = np.linspace(0, 1, len(stops))
    return np.array([np.interp(t, positions, stops[:, channel]) for channel in range(3)])


def blend(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Put the colour or image `above` on the image `below`, `[H, W, 3]`; `opacity` is `[H, W]`."""
    return below + (above - below) * opacity[..., np.newaxis]


def star_corners(points: int, outer: float, inner: float) -> np.ndarray:
    """Corners of a star around the origin, `[2 * points, 2]`; the first one is at the top."""
    angles = math.pi / points * np.arange(2 * points)
    radii = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def polygon_distance(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Signed distance to a closed polygon, `corners` `[N, 2]`, negative inside."""
    squared = np.full(x.shape, np.inf)
    is_inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = bx - ax, by - ay
        t = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        squared = np.minimum(squared, (x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2)
        # A ray to the left crosses the edges of an enclosing polygon an odd number of times.
        spans_row = (ay > y) != (by > y)
        is_inside ^= spans_row & (((x - ax) * dy - (y - ay) * dx) * dy > 0)
    return np.where(is_inside, -1, 1) * np.sqrt(squared)
