"""Pairs of a generated image and its nearest training image: their names, and a sheet of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from dnnlib.text import printable
from metrics import metric_utils
from metrics.dataset import evaluated_images
from metrics.metric_utils import MetricOptions
from torch_utils import images, layout

COLUMNS = 4  # pairs in a row
MIN_SIDE, MAX_SIDE = 128, 256  # pixels: other images are enlarged or made smaller
TITLE = (
    "Left: a generated image. Right: its nearest training image.",
    "The number: their distance, as a share of the training image's own nearest distance.",
)


@dataclass(frozen=True)
class Pair:
    """A generated image and the training image that is nearest to it.

    Attributes:
        generated: Number of the generated image.
        training: Number of the training image.
        is_mirrored: Whether its mirrored copy is nearer.
        ratio: Distance, as a share of the training image's own nearest distance.
    """

    generated: int
    training: int
    is_mirrored: bool
    ratio: float


def name_generated(opts: MetricOptions, indices: Sequence[int]) -> list[str]:
    """Names of images that a metric has seen as generated: of their files, or their numbers."""
    files = evaluated_images(opts)
    if files is None:
        return [f"sample {idx}" for idx in indices]
    dataset = files.open()
    return [dataset.name_of(idx) for idx in indices]


def write(
    path: Path, opts: MetricOptions, num_gen: int, pairs: Sequence[Pair], dataset: Any
) -> None:
    """Write a sheet as PNG.

    Args:
        path: The file; its folder must exist.
        opts: Options of the metric that has seen the images.
        num_gen: Number of generated images that it has seen.
        pairs: What the sheet shows, row by row.
        dataset: The training images.
    """
    chosen = [pair.generated for pair in pairs]
    names, made = name_generated(opts, chosen), _get_generated(opts, num_gen, chosen)
    cells = []
    for pair, name, image in zip(pairs, names, made, strict=True):
        real, of_mirrored = dataset[pair.training][0], ""
        if pair.is_mirrored:
            real, of_mirrored = real[:, :, ::-1], " (mirrored)"
        both = layout.beside(*(_scale(layout.as_rgb(pixels)) for pixels in (image, real)))
        captions = (
            f"{pair.ratio:.3f}  {printable(name)}",
            f"{printable(dataset.name_of(pair.training))}{of_mirrored}",
        )
        cells.append(layout.beneath(both, *(layout.text(x, both.shape[1]) for x in captions)))
    rows = [
        layout.beside(*cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)
    ]
    title = [layout.text(line, rows[0].shape[1]) for line in TITLE]
    images.save_png(layout.beneath(*title, *rows).transpose(2, 0, 1), path)


def _get_generated(opts: MetricOptions, num_gen: int, indices: Sequence[int]) -> list[np.ndarray]:
    """Images that a metric has seen as generated, uint8 `[C, H, W]`.

    Those of a network are made again, together with all other images of their batches.
    """
    if (files := evaluated_images(opts)) is not None:
        dataset = files.open()
        return [dataset[idx][0] for idx in indices]
    batches = metric_utils.GeneratedBatches(opts, num_gen)
    found: dict[int, np.ndarray] = {}
    with torch.no_grad():
        for number in sorted({idx // batches.size for idx in indices}):
            made = batches.make(number)[0].cpu().numpy()
            start = number * batches.size
            found.update(
                (idx, made[idx - start]) for idx in indices if 0 <= idx - start < len(made)
            )
    return [found[idx] for idx in indices]


def _scale(image: np.ndarray) -> np.ndarray:
    """An image `[H, W, 3]` in a size to look at."""
    side = len(image)
    if side <= MAX_SIDE:
        return layout.enlarge(image, -(-MIN_SIDE // side))
    picture = PIL.Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((MAX_SIDE, MAX_SIDE), PIL.Image.Resampling.LANCZOS))
