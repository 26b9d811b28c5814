"""Synthetic images for first experiments: warm shapes over dark skies, drawn on demand."""

import math

import numpy as np

from data import drawing

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
    x, y = drawing.grid(resolution)

    image = _draw_sky(x, y, rng)
    centre_x, centre_y = 0.16 * (2 * rng.random(2) - 1)
    radius = 0.52 + 0.16 * rng.random()
    angle = 2 * math.pi * rng.random()
    x, y = x - centre_x, y - centre_y

    shadow_distance = _distance(label, x - 0.06, y - 0.10, radius, angle)
    image = drawing.blend(image, SHADOW, 0.55 * drawing.soft_cover(shadow_distance, 0.05))
    paint = np.broadcast_to(drawing.pick_colour(WARM, rng.random()), image.shape)
    shine = np.clip(0.25 - 0.35 * (x + y) / radius, 0, 0.6)  # light from the top left
    coverage = drawing.cover(_distance(label, x, y, radius, angle))
    image = drawing.blend(image, drawing.blend(paint, LIGHT, shine), coverage)
    return np.rint(image * 255).astype(np.uint8), label


def _draw_sky(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two colours of the sky, graded smoothly in a random direction, `[H, W, 3]`."""
    dark = drawing.pick_colour(SKY, 0.45 * rng.random())
    bright = drawing.pick_colour(SKY, 0.55 + 0.45 * rng.random())
    return drawing.gradient(x, y, dark, bright, 2 * math.pi * rng.random())


def _distance(label: int, x: np.ndarray, y: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Signed distance to the outline of a shape, negative inside."""
    from_centre = np.hypot(x, y)
    match CLASSES[label]:
        case "disc":
            return from_centre - radius
        case "ring":
            return np.abs(from_centre - 0.78 * radius) - 0.24 * radius
        case "square":
            corners = drawing.star_corners(4, 1.08, 1.08 * math.cos(math.pi / 4))
        case "triangle":
            corners = drawing.star_corners(3, 1.12, 1.12 * math.cos(math.pi / 3))
        case "star":
            corners = drawing.star_corners(5, 1.12, 0.56)
        case _:
            corners = CROSS_CORNERS
    rounding = 0.08 * radius
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return drawing.polygon_distance(x, y, (radius - rounding) * corners @ turn) - rounding
