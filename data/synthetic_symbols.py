"""Synthetic images for transfer learning: cool symbols on light paper, drawn on demand.

Neither shapes nor colours occur in `data.synthetic_images`, and symbols stand almost upright.
"""

import math

import numpy as np

from data import drawing

CLASSES = ("heart", "crescent", "drop", "flower", "arrow", "bolt")

# Gradients of colours, sRGB in [0, 1]; an image picks random positions along them.
PAPER = np.array([[255, 246, 222], [252, 230, 226], [228, 244, 232], [222, 238, 252]]) / 255
COOL = np.array([[20, 150, 110], [0, 146, 180], [34, 98, 208], [92, 66, 196]]) / 255
LIGHT = np.array([236, 252, 255]) / 255
SHADOW = np.array([96, 92, 124]) / 255
MAX_TILT = math.radians(20)

# Outlines of radius 1, y downwards. A heart is a square on its corner with half a disc on each of
# its two upper sides; a drop is a disc with the tangents from its tip.
HEART_SIDE = 1.15
HALF_DIAGONAL = HEART_SIDE / math.sqrt(2)
HEART = 0.95 + HALF_DIAGONAL * np.array([(0, 0), (1, -1), (0, -2), (-1, -1)]) - [0.95, 0]
# A crescent lies between two circles, which meet 60 degrees to both sides of its axis.
CRESCENT_AXIS = math.radians(-10)
CRESCENT_SHIFT = 0.46  # of the inner circle's centre
DROP_CENTRE, DROP_RADIUS, DROP_TIP = 0.35, 0.65, -1.05
ARROW = np.array([
    (0, -1), (0.86, -0.06), (0.36, -0.06), (0.36, 0.95), (-0.36, 0.95), (-0.36, -0.06),
    (-0.86, -0.06),
])  # fmt: skip
BOLT = np.array([
    (0.28, -1.08), (-0.66, 0.16), (-0.1, 0.16), (-0.34, 1.08), (0.68, -0.24), (0.1, -0.24),
])  # fmt: skip


def draw_image(index: int, seed: int, resolution: int) -> tuple[np.ndarray, int]:
    """Draw image `index` of the endless dataset `seed`, as `data.synthetic_images.draw_image`."""
    rng = np.random.default_rng([seed, index])
    label = index % len(CLASSES)
    x, y = drawing.grid(resolution)

    pale, bright = (drawing.pick_colour(PAPER, rng.random()) for _ in range(2))
    image = drawing.gradient(x, y, pale, bright, 2 * math.pi * rng.random())
    centre_x, centre_y = 0.14 * (2 * rng.random(2) - 1)
    radius = 0.56 + 0.12 * rng.random()
    tilt = MAX_TILT * (2 * rng.random() - 1)
    x, y = x - centre_x, y - centre_y

    shadow_distance = _distance(label, x - 0.05, y - 0.09, radius, tilt)
    image = drawing.blend(image, SHADOW, 0.4 * drawing.soft_cover(shadow_distance, 0.05))
    paint = np.broadcast_to(drawing.pick_colour(COOL, rng.random()), image.shape)
    shine = np.clip(0.2 - 0.35 * (x + y) / radius, 0, 0.55)  # light from the top left
    coverage = drawing.cover(_distance(label, x, y, radius, tilt))
    image = drawing.blend(image, drawing.blend(paint, LIGHT, shine), coverage)
    return np.rint(image * 255).astype(np.uint8), label


def _make_crescent() -> np.ndarray:
    """Corners of a polygon along both arcs, `[N, 2]`."""
    inner_radius = math.hypot(0.5 - CRESCENT_SHIFT, math.sin(math.pi / 3))
    inner_angle = math.atan2(math.sin(math.pi / 3), 0.5 - CRESCENT_SHIFT)
    outer = np.linspace(math.pi / 3, 2 * math.pi - math.pi / 3, 24)
    inner = np.linspace(2 * math.pi - inner_angle, inner_angle, 18)[1:-1]
    outer, inner = np.exp(1j * outer), CRESCENT_SHIFT + inner_radius * np.exp(1j * inner)
    corners = np.concatenate([outer, inner]) * np.exp(1j * CRESCENT_AXIS)
    return np.stack([corners.real, corners.imag], axis=1)


CRESCENT = _make_crescent()


def _distance(label: int, x: np.ndarray, y: np.ndarray, radius: float, tilt: float) -> np.ndarray:
    """Signed distance to the outline of a symbol, negative inside; exact near the outline."""
    cos, sin = math.cos(tilt) / radius, math.sin(tilt) / radius
    x, y = cos * x + sin * y, cos * y - sin * x  # upright, of radius 1
    match CLASSES[label]:
        case "heart":
            square = drawing.polygon_distance(x, y, HEART)
            disc_y = 0.95 - 1.5 * HALF_DIAGONAL
            discs = np.hypot(np.abs(x) - 0.5 * HALF_DIAGONAL, y - disc_y) - 0.5 * HEART_SIDE
            distance = np.minimum(square, discs)
        case "crescent":
            distance = drawing.polygon_distance(x, y, CRESCENT)
        case "drop":
            height = DROP_RADIUS**2 / (DROP_CENTRE - DROP_TIP)  # of the tangents' ends
            width, end = math.sqrt(DROP_RADIUS**2 - height**2), DROP_CENTRE - height
            cone = np.array([(0, DROP_TIP), (width, end), (-width, end)])
            disc = np.hypot(x, y - DROP_CENTRE) - DROP_RADIUS
            distance = np.minimum(disc, drawing.polygon_distance(x, y, cone))
        case "flower":
            petals = drawing.star_corners(5, 0.6, 0)[::2]
            circles = [np.hypot(x - px, y - py) - 0.4 for px, py in petals]
            distance = np.minimum.reduce([np.hypot(x, y) - 0.5, *circles])
            distance = np.maximum(distance, 0.22 - np.hypot(x, y))
        case "arrow":
            distance = drawing.polygon_distance(x, y, 0.93 * ARROW) - 0.07
        case _:
            distance = drawing.polygon_distance(x, y, 0.93 * BOLT) - 0.07
    return distance * radius
