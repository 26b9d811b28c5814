"""Whether a network only copies its training images: `python -m benchmarks.nearest --network=PKL`.

The distance of each generated picture to the nearest training image is compared with the distance
of each training image to the nearest other one. A network that only copies comes closer to its
training images than these come to one another.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import math
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks import options, timing
from data.dataset import ImageFolderDataset
from dnnlib import cli
from dnnlib.errors import InputError
from dnnlib.options import (
    allow_untrusted_option,
    count_option,
    file_option,
    network_option,
    seed_option,
)
from generation.sources import dataset_images, generated_images
from metrics import distances
from network_files.load import load_network
from torch_utils.images import make_grid, save_png

HEADER = ("nearest training image of", "5%", "25%", "median", "75%")
QUANTILES = (0.05, 0.25, 0.5, 0.75)
COLUMNS = 16
ROWS_AT_ONCE = 100  # pictures that are compared at a time


@click.command(cls=cli.Command)
@network_option
@click.option(
    "--data",
    type=cli.LocalPath(path_type=Path),
    metavar="ZIP|DIR",
    help="The network's dataset, if it is not where the network was trained.",
)
@file_option(
    "--save",
    "Write a sheet: generated pictures, each above its nearest training image.",
    metavar="FILE.png",
)
@count_option("--num", "Pictures to generate.", default=1000)
@count_option("--batch", "Pictures per pass.", default=16)
@seed_option("First seed of the pictures.")
@allow_untrusted_option
@options.machine
def main(
    network: str,
    data: Path | None,
    save: Path | None,
    num: int,
    batch: int,
    seed: int,
    allow_untrusted: bool,
    threads: int | None,
    device: str,
) -> None:
    """Compare generated pictures with the training images that are nearest to them.

    Prints distances as root mean squares over all pixels, in levels of 8 bits: some quantiles over
    the generated pictures, and over the training images, each of which is compared with all
    others. Images that are mirrored in training count in both directions. The sheet shows the
    first 16 pictures, and below them the 16 pictures that are nearest to a training image.

    \b
    Example:
      python -m benchmarks.nearest --network=net.pkl --save=nearest.png
    """
    torch_device = options.start(device, threads)
    contents = load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G, kwargs = contents["G_ema"].to(torch_device), contents["training_set_kwargs"] or {}
    dataset = open_training_set(kwargs, data)
    if dataset.image_shape != [G.img_channels, G.img_resolution, G.img_resolution]:
        shapes = dataset.image_shape, [G.img_channels, G.img_resolution, G.img_resolution]
        raise InputError("--data: images are {}, those of the network {}".format(*shapes))
    real = torch.cat(list(dataset_images(dataset, 100, torch_device)))
    if len(real) < 2:
        raise InputError("--data: there must be two images at least, to compare with each other")
    mirrored = real.flip(3) if kwargs.get("xflip", False) else real[:0]

    batches = generated_images(G, num, seed, batch, torch_device)
    progress = tqdm(batches, "Generating", math.ceil(num / batch), leave=False, disable=None)
    with cli.blame("--network"):
        pictures = torch.cat(list(progress))
    found, nearest = find_nearest(pictures, torch.cat([real, mirrored]))
    others, _ = find_nearest(real, torch.cat([real, mirrored]), skip_itself=True)
    click.echo(f"{timing.describe_machine(torch_device)}\n")
    rows = [
        (f"{num} generated pictures", *_quantiles(found)),
        (f"{len(real)} training images", *_quantiles(others)),
    ]
    click.echo(timing.format_table(HEADER, rows))
    median = others.median()
    click.echo(
        f"\n{(found < median).float().mean():.1%} of the pictures are nearer to a training image "
        "than the median training image is to another"
    )
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save_png(make_sheet(pictures, torch.cat([real, mirrored]), found, nearest), save)
        click.echo(f"Wrote {save}")


def open_training_set(kwargs: dict[str, Any], data: Path | None) -> ImageFolderDataset:
    """The images that a network was trained with; `data` replaces their path.

    Raises:
        InputError: If the path is unknown.
    """
    path = data or kwargs.get("path")
    if path is None:
        raise InputError("the network does not say what it was trained with; name it with --data")
    with cli.blame("--data"):
        return ImageFolderDataset(path, max_size=kwargs.get("max_size"))


def find_nearest(x: Tensor, y: Tensor, skip_itself: bool = False) -> tuple[Tensor, Tensor]:
    """For each picture of `x` the nearest of `y`, uint8 `[N, C, H, W]` and `[M, C, H, W]`.

    Args:
        x: Pictures.
        y: Pictures to choose from.
        skip_itself: `y` consists of `x`, and perhaps of mirrored copies of `x`. The picture itself
            and its mirrored copy do not count.

    Returns:
        The distances, root mean squares in levels, float32 `[N]`, and indices into `y`, `[N]`.
    """
    y = y.flatten(1).to(torch.float32)
    center = distances.middle(y)
    found: list[Tensor] = []
    for start in range(0, len(x), ROWS_AT_ONCE):
        rows = x[start : start + ROWS_AT_ONCE].flatten(1).to(torch.float32)
        distance = distances.pairwise(rows, y, center)
        if skip_itself:
            own = torch.arange(start, start + len(rows), device=x.device)
            for first in range(0, len(y), len(x)):
                distance[own - start, first + own] = torch.inf
        found.append(torch.stack(torch.min(distance, dim=1)))
    distance, idx = torch.cat(found, dim=1)
    return distance / math.sqrt(y.shape[1]), idx.long()


def make_sheet(pictures: Tensor, images: Tensor, distance: Tensor, nearest: Tensor) -> Tensor:
    """Four rows: some pictures and their nearest images; the nearest pictures and their images.

    Args:
        pictures: Generated pictures, uint8 `[N, C, H, W]`.
        images: Training images, uint8 `[M, C, H, W]`.
        distance: To the nearest image, `[N]`.
        nearest: Indices into `images`, `[N]`.

    Returns:
        uint8 `[C, 4 * H, columns * W]`.
    """
    columns = min(COLUMNS, len(pictures))
    closest = distance.argsort()[:columns]
    rows = [
        pictures[:columns],
        images[nearest[:columns]],
        pictures[closest],
        images[nearest[closest]],
    ]
    return make_grid(torch.cat(rows), (columns, len(rows)))


def _quantiles(values: Tensor) -> list[str]:
    levels = torch.tensor(QUANTILES, device=values.device)
    return [f"{value:.1f}" for value in values.quantile(levels).tolist()]


if __name__ == "__main__":
    main()
