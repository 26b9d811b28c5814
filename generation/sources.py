"""Batches of images to measure, from a dataset or a network."""

import os
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data import notes
from data.dataset import ImageFolderDataset
from dnnlib import cli
from dnnlib.addresses import is_address
from dnnlib.errors import InputError
from network_files.load import load_network
from torch_utils import devices, images, latents
from torch_utils.networks import Generator


def is_dataset(source: str) -> bool:
    """Whether a path is a dataset rather than a network."""
    return not is_address(source) and (os.path.isdir(source) or source.lower().endswith(".zip"))


def open_source(
    source: str,
    num: int | None,
    seed: int,
    batch: int,
    device: torch.device,
    allow_untrusted: bool = False,
) -> tuple[Iterator[Tensor], int]:
    """Batches of images of a dataset or a network, with a progress bar, and their size in pixels.

    Args:
        source: Folder, ZIP, or network.
        num: Number of images; `None` for all images of a dataset.
        seed: Chooses the images of a dataset; the first seed for a network.
        batch: Images per batch.
        device: Where the network computes. The images are there, uint8 `[N, C, size, size]`.
        allow_untrusted: See `network_files.load.load_network_pkl`.

    Raises:
        ValueError: If the images are not square, or a network comes without `num`.
        OSError: If the source does not exist.
    """
    if is_dataset(source):
        with cli.blame("--source"):
            dataset = ImageFolderDataset(source, max_size=num, random_seed=seed)
            found = dataset.check_images()
        for title, text in notes.describe(found, dataset.left_out).items():
            print(f"{title} in {source}: {text}", file=sys.stderr)
        _, height, width = dataset.image_shape
        if height != width:
            raise InputError(
                f"--source {source}: the images are {width}x{height}, but must be square"
            )
        return _show_progress(dataset_images(dataset, batch, device), len(dataset)), height
    if num is None:
        raise InputError("--num is missing: it says how many images the network generates")
    devices.configure_backends(device)
    networks = load_network(source, option="--source", allow_untrusted=allow_untrusted)
    G = networks["G_ema"].to(device)
    return _show_progress(generated_images(G, num, seed, batch, device), num), G.img_resolution


def dataset_images(
    dataset: ImageFolderDataset, batch: int, device: torch.device
) -> Iterator[Tensor]:
    """All images, in batches: uint8 `[N, C, H, W]`."""
    for start in range(0, len(dataset), batch):
        idx = range(start, min(start + batch, len(dataset)))
        with cli.blame("--source"):
            img = np.stack([dataset[i][0] for i in idx])
        yield torch.from_numpy(img).to(device)


@torch.no_grad()
def generated_images(
    G: Generator, num: int, seed: int, batch: int, device: torch.device
) -> Iterator[Tensor]:
    """Images of the seeds from `seed` on, in batches: uint8 `[N, C, H, W]`.

    A seed gives the same latent as everywhere. In a conditional network it also gives a class,
    drawn after the latent. The noise of StyleGAN2 is as stored: results do not depend on the batch.
    """
    seeds = [(seed + i) % (cli.MAX_SEED + 1) for i in range(num)]
    for start in range(0, num, batch):
        rows, labels = [], []
        for number in seeds[start : start + batch]:
            rng = np.random.RandomState(number)
            rows.append(rng.randn(G.z_dim))
            class_idx = int(rng.randint(G.c_dim)) if G.c_dim > 0 else None
            labels.append(latents.label_from_class(class_idx, G.c_dim, device=device))
        z = torch.from_numpy(np.stack(rows)).to(torch.float32).to(device)
        img = G(z, torch.cat(labels), noise_mode="const")
        images.check_finite(img, [f"seed {number}" for number in seeds[start : start + batch]])
        yield images.to_uint8(img)


def _show_progress(batches: Iterator[Tensor], num: int) -> Iterator[Tensor]:
    with tqdm(total=num, unit="img", disable=None) as progress:
        for img in batches:
            yield img
            progress.update(len(img))
