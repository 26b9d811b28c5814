"""Synthetic images for first experiments: warm shapes over dark skies, drawn on demand."""

import math

import numpy as np

CLASSES = ("disc", "square", "triangle", "ring", "star", "cross")

# Gradients of colours, sRGB in [0, 1]; an image picks random positions along them.
SKY = np.array([[8, 14, 46], [24, 30, 92], [66, 38, 132], [126, 52, 148]]) / 255
WARM = np.array([[240, 72, 108], [255, 112, 84], [255, 158, 66], [255, 206, 96]]) / 255
LIGHT = np.array([255, 244, 222]) / 255
SHADOW = np.array([6, 6, 28]) / 255

CROSS_CORNERS = np.array([
    (-0.34, -1), (0.34, -1), (0.34, -0.34), (1, -0.34), (1, 0.34), (0.34, 0.34),
    (0.34, 1), (-0.34, 1), (-0.34, 0.34), (-1, 0.34), (-1, -0.34), (-0.34, -0.34),
])  # fmt: skip


def draw_image(index: int, seed: int, resolution: int) -> tuple[np.ndarray, int]:
    """Draw image `index` of the endless dataset `seed`.

    The picture depends only on `index` and `seed`. Other resolutions show the same picture.

    Returns:
        Pixels, uint8 `[resolution, resolution, 3]`, and the class: an index into `CLASSES`. Classes
        take turns, so that any run of images has them in equal numbers.
    """
    rng = np.random.default_rng([seed, index])
    label = index % len(CLASSES)
    centres = (np.arange(resolution) + 0.5) / resolution * 2 - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")  # [-1, 1], y downwards

    image = _draw_sky(x, y, rng)
    centre_x, centre_y = 0.16 * (2 * rng.random(2) - 1)
    radius = 0.52 + 0.16 * rng.random()
    angle = 2 * math.pi * rng.random()
    x, y = x - centre_x, y - centre_y

    shadow_distance = _distance(label, x - 0.06, y - 0.10, radius, angle)
    image = _blend(image, SHADOW, 0.55 / (1 + np.exp(np.clip(shadow_distance / 0.05, -50, 50))))
    paint = _pick_colour(WARM, rng.random())
    shine = np.clip(0.25 - 0.35 * (x + y) / radius, 0, 0.6)  # light from the top left
    coverage = np.clip(0.5 - _distance(label, x, y, radius, angle) * resolution / 2, 0, 1)
    image = _blend(image, _blend(np.broadcast_to(paint, image.shape), LIGHT, shine), coverage)
    return np.rint(image * 255).astype(np.uint8), label


def _draw_sky(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two colours of the sky, graded smoothly in a random direction, `[H, W, 3]`."""
    dark = _pick_colour(SKY, 0.45 * rng.random())
    bright = _pick_colour(SKY, 0.55 + 0.45 * rng.random())
    angle = 2 * math.pi * rng.random()
    t = np.clip((x * math.cos(angle) + y * math.sin(angle)) / 2.4 + 0.5, 0, 1)
    return _blend(np.broadcast_to(dark, (*x.shape, 3)), bright, t * t * (3 - 2 * t))


def _distance(label: int, x: np.ndarray, y: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Signed distance to the outline of a shape, negative inside."""
    from_centre = np.hypot(x, y)
    match CLASSES[label]:
        case "disc":
            return from_centre - radius
        case "ring":
            return np.abs(from_centre - 0.78 * radius) - 0.24 * radius
        case "square":
            corners = _star_corners(4, 1.08, 1.08 * math.cos(math.pi / 4))
        case "triangle":
            corners = _star_corners(3, 1.12, 1.12 * math.cos(math.pi / 3))
        case "star":
            corners = _star_corners(5, 1.12, 0.56)
        case _:
            corners = CROSS_CORNERS
    rounding = 0.08 * radius
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return _polygon_distance(x, y, (radius - rounding) * corners @ turn) - rounding


def _star_corners(points: int, outer: float, inner: float) -> np.ndarray:
    angles = math.pi / points * np.arange(2 * points)
    radii = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def _polygon_distance(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
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


def _pick_colour(stops: np.ndarray, t: float) -> np.ndarray:
    """Colour at `t` in [0, 1] along equally spaced stops."""
    positions = np.linspace(0, 1, len(stops))
    return np.array([np.interp(t, positions, stops[:, channel]) for channel in range(3)])


def _blend(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return below + (above - below) * opacity[..., np.newaxis]
