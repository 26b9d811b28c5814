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
from metrics.nearest import compare_training, find_nearest
from network_files.load import load_network
from torch_utils.distributed import Worker
from torch_utils.images import make_grid, save_png

HEADER = ("nearest training image of", "5%", "25%", "median", "75%")
QUANTILES = (0.05, 0.25, 0.5, 0.75)
COLUMNS = 16
BLOCK = (100, 10000)  # pictures that are compared with images at a time


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
    others that differ from it. Images that are mirrored in training count in both directions. The
    sheet shows the first 16 pictures, and below them the 16 pictures that are nearest to a training
    image.

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
    views = [real, real.flip(3)] if kwargs.get("xflip", False) else [real]
    worker = Worker(device=torch_device)
    with cli.blame("--data"):
        training = compare_training(worker, [view.flatten(1) for view in views], *BLOCK)

    batches = generated_images(G, num, seed, batch, torch_device)
    progress = tqdm(batches, "Generating", math.ceil(num / batch), leave=False, disable=None)
    with cli.blame("--network"):
        pictures = torch.cat(list(progress))
    nearest = find_nearest(worker, pictures.flatten(1), training, *BLOCK)
    found, others = (x / math.sqrt(real[0].numel()) for x in (nearest.distance, training.own))
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
        images = torch.stack(views)[nearest.view, nearest.idx]
        save_png(make_sheet(pictures, images, found), save)
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


def make_sheet(pictures: Tensor, images: Tensor, distance: Tensor) -> Tensor:
    """Four rows: some pictures and their nearest images; the nearest pictures and their images.

    Args:
        pictures: Generated pictures, uint8 `[N, C, H, W]`.
        images: The nearest training image of each, uint8 `[N, C, H, W]`.
        distance: Distance between the two, `[N]`.

    Returns:
        uint8 `[C, 4 * H, columns * W]`.
    """
    columns = min(COLUMNS, len(pictures))
    closest = distance.argsort()[:columns]
    rows = [pictures[:columns], images[:columns], pictures[closest], images[closest]]
    return make_grid(torch.cat(rows), (columns, len(rows)))


def _quantiles(values: Tensor) -> list[str]:
    return [f"{value:.1f}" for value in values.quantile(torch.tensor(QUANTILES)).tolist()]


if __name__ == "__main__":
    main()
