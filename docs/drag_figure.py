"""Draws the figure of dragging in docs/editing.md: `python -m docs.drag_figure`."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import PIL.Image
import PIL.ImageDraw
import torch
from torch import Tensor

from dnnlib import cli, options
from editing.dragging import Point, drag
from generation.images import map_seeds
from network_files.load import load_network
from torch_utils import images
from torch_utils.layout import as_rgb, beneath, beside, enlarge, text
from torch_utils.networks import Generator

SCALE = 6
COLOR, SHADOW = (255, 60, 60), (255, 255, 255)
DEST = Path(__file__).parent / "images" / "dragging.png"


@dataclass(frozen=True)
class Example:
    """A drag to show: an image, ways of points, and where the image may change.

    Attributes:
        network: Address of the network.
        seed: Seed of the image.
        class_idx: Class of the image.
        points: Points.
        targets: Their targets.
        radius: The image may change within this many pixels of a point or target; `None` for
            everywhere.
    """

    network: str
    seed: int
    class_idx: int | None
    points: tuple[Point, ...]
    targets: tuple[Point, ...]
    radius: float | None = None

    def mask(self, size: int) -> np.ndarray | None:
        """Where the image may change, bool `[size, size]`."""
        if self.radius is None:
            return None
        x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
        ends = (*self.points, *self.targets)
        return np.any([np.hypot(x - a, y - b) < self.radius for a, b in ends], axis=0)


EXAMPLES = (
    Example("pretrained:shapes-t", 2, 4, ((8, 13.5),), ((3.5, 12),), radius=8),
    Example("pretrained:faces-stylegan2", 4, None, ((14, 2.5),), ((14.5, 6.5),), radius=9),
)


@click.command(cls=cli.Command)
@options.file_option("--dest", "The figure.", metavar="FILE.png")
@options.version_option
def main(dest: Path | None) -> None:
    """Draw images, the drags of points in them, and what becomes of the images.

    Example: python -m docs.drag_figure
    """
    dest = dest or DEST
    panels = [panel for example in EXAMPLES for panel in draw(example)]
    images.save_png(beside(*panels).transpose(2, 0, 1), dest)
    click.echo(dest)


def draw(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """The image with the ways of the points, and the image after the drag."""
    G = load_network(example.network)["G_ema"]
    ws = map_seeds(G, [example.seed], example.class_idx)
    mask = example.mask(G.img_resolution)
    state = drag(G, ws, example.points, example.targets, mask=mask)
    before, after = enlarge(render(G, ws), SCALE), enlarge(render(G, state.ws), SCALE)
    with_arrows = draw_arrows(before, example.points, example.targets)
    width = before.shape[1]
    return (
        beneath(with_arrows, text(f"seed {example.seed}", width)),
        beneath(after, text(f"after {state.num_steps} steps", width)),
    )


@torch.no_grad()
def render(G: Generator, ws: Tensor) -> np.ndarray:
    """Image of styles, uint8 `[H, W, 3]`."""
    return as_rgb(images.to_uint8(G.synthesis(ws, noise_mode="const"))[0].numpy())


def draw_arrows(
    image: np.ndarray, points: tuple[Point, ...], targets: tuple[Point, ...]
) -> np.ndarray:
    """Mark each point in an enlarged image, and draw an arrow to its target."""
    picture = PIL.Image.fromarray(image)
    pen = PIL.ImageDraw.Draw(picture)
    for point, target in zip(points, targets, strict=True):
        start, end = np.multiply(point, SCALE), np.multiply(target, SCALE)
        along = (end - start) / np.linalg.norm(end - start)
        across = np.array([-along[1], along[0]])
        head = [tuple(end + 9 * (side * across / 2 - along)) for side in (1, -1)]
        for color, width in ((SHADOW, 6), (COLOR, 3)):
            pen.line([tuple(start), tuple(end)], fill=color, width=width)
            pen.line([head[0], tuple(end), head[1]], fill=color, width=width)
            pen.circle(tuple(start), 2 + width / 2, fill=color)
    return np.array(picture)


if __name__ == "__main__":
    main()
