"""How well pictures project: `python -m benchmarks.projection --network=PKL`.

The pictures are the network's own, whose styles exist, or those of a dataset. Own pictures can be
moved and turned first, for StyleGAN3.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
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
    network_option,
    seed_option,
    value_option,
)
from editing import features as feature_spaces
from editing import parts
from editing.projection import Projection, Settings, project
from editing.tuning import TuningSettings, tune
from generation.images import map_seeds
from network_files.load import load_network
from torch_utils import images, latents
from torch_utils.networks import Generator, device_of

HEADER = ("over the pictures", "worst", "25%", "median", "75%", "best")
LEVELS = (0, 0.25, 0.5, 0.75, 1)
MAX_SHIFT = 0.15  # of the image width, in each direction
ANGLES = np.linspace(-12, 12, 25)  # degrees tried around a result
SHIFTS = np.linspace(-2, 2, 9)  # pixels


@dataclass(frozen=True)
class Picture:
    """A picture to project: `[C, H, W]` in [-1, 1], and its label `[1, c_dim]`."""

    img: Tensor
    label: Tensor | None


@click.command(cls=cli.Command)
@network_option
@click.option(
    "--data",
    type=cli.LocalPath(exists=True, path_type=Path),
    metavar="ZIP|DIR",
    help="Project pictures of a dataset in place of the network's own.",
)
@click.option(
    "--move", is_flag=True, help="Move own pictures first, and turn those of config R by any angle."
)
@click.option("--pti", is_flag=True, help="Also tune the network for each picture.")
@value_option(
    "--features",
    click.Choice(["auto", "vgg16", "D", "pixels"]),
    "Where to compare, as in projector.py.",
    default="D",
)
@count_option("--num", "Pictures.", default=20)
@count_option("--num-steps", "Steps of each projection.", default=1000)
@seed_option("First seed of own pictures.")
@allow_untrusted_option
@options.machine
def main(
    network: str,
    data: Path | None,
    move: bool,
    pti: bool,
    features: feature_spaces.Kind,
    num: int,
    num_steps: int,
    seed: int,
    allow_untrusted: bool,
    threads: int | None,
    device: str,
) -> None:
    """Project pictures, and print how like them the results are.

    For own pictures that were moved, the table has what is left to do: the turn and the shift of
    the result that bring it closest to the picture. (The transform itself may differ from that of
    the picture: a disc looks the same in any turn.)

    \b
    Examples:
      python -m benchmarks.projection --network=pretrained:faces-stylegan2
      python -m benchmarks.projection --network=r.pkl --move
      python -m benchmarks.projection --network=pretrained:shapes-t --data=held-out.zip --pti
    """
    if data is not None and (move or seed != 0):
        raise click.UsageError("--move and --seed are for the network's own pictures: leave --data")
    torch_device = options.start(device, threads)
    contents = load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G = contents["G_ema"].to(torch_device).eval().requires_grad_(False)
    if move and not parts.abilities_of(G).can_move:
        raise InputError("--move: this network has no input transform, so its content cannot move")
    chosen = feature_spaces.choose(features, contents, torch_device)
    settings = Settings(num_steps=num_steps, restarts=1)
    if data is None:
        pictures = _own_pictures(G, range(seed, seed + num), move)
    else:
        pictures = _dataset_pictures(data, num, G)
    rows: dict[str, list[float]] = {"PSNR [dB]": [], "seconds": []}
    for picture in tqdm(pictures, "Projecting", total=num, leave=False, disable=None):
        start = time.perf_counter()
        found = project(G, picture.img, chosen.compute, settings, label=picture.label)
        rows["PSNR [dB]"].append(found.psnr)
        rows["seconds"].append(time.perf_counter() - start)
        if move and data is None:
            turn, shift = left_to_do(G, found, picture.img)
            rows.setdefault("turn left [degrees]", []).append(turn)
            rows.setdefault("shift left [pixels]", []).append(shift)
        if pti:
            tuned = tune(
                G,
                found.ws,
                picture.img,
                chosen.compute,
                TuningSettings(),
                transform=found.transform,
                label=picture.label,
            )
            rows.setdefault("PSNR after tuning [dB]", []).append(tuned.psnr)
    click.echo(f"{timing.describe_machine(torch_device)}\n{chosen.sentence}\n")
    click.echo(timing.format_markdown(HEADER, [_row(name, found) for name, found in rows.items()]))


@torch.no_grad()
def _own_pictures(G: Generator, seeds: range, moves: bool) -> Iterator[Picture]:
    """Pictures of seeds, classes in turn, moved and turned at random."""
    abilities = parts.abilities_of(G)
    for seed in seeds:
        class_idx = seed % G.c_dim if G.c_dim else None
        rng = np.random.RandomState(seed)
        shift, angle = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2), rng.uniform(-180, 180)
        can_move, can_turn = moves and abilities.can_move, moves and abilities.can_turn
        matrix = latents.make_transform(
            (shift[0], shift[1]) if can_move else (0, 0), angle if can_turn else 0
        )
        ws = map_seeds(G, [seed], class_idx)
        with latents.content_transform(G, matrix):
            img = G.synthesis(ws, noise_mode="const")
        label = latents.label_from_class(class_idx, G.c_dim, device=device_of(G))
        yield Picture(_rounded(img)[0], label if G.c_dim else None)


def _dataset_pictures(path: Path, num: int, G: Generator) -> Iterator[Picture]:
    """Pictures of a dataset, evenly spread."""
    dataset = ImageFolderDataset(path, use_labels=G.c_dim > 0)
    for idx in np.linspace(0, len(dataset) - 1, num).round().astype(int):
        pixels, label = dataset[int(idx)]
        img = torch.from_numpy(pixels).to(torch.float32) / 127.5 - 1
        yield Picture(img, torch.from_numpy(label)[None] if G.c_dim else None)


@torch.no_grad()
def left_to_do(G: Generator, found: Projection, img: Tensor) -> tuple[float, float]:
    """How far a result must be turned and moved to come closest to its picture.

    Returns:
        Degrees, and pixels in the direction that needs more.
    """
    can_turn = parts.abilities_of(G).can_turn
    step: tuple[float, ...] = (0.0, 0.0, 0.0)
    angles = ANGLES if can_turn else np.zeros(1)
    target, ws = img[None].to(device_of(G)), found.ws.to(device_of(G))
    own = np.eye(3) if found.transform is None else found.transform

    def error(angle: float, x: float, y: float) -> float:
        moved = latents.make_transform((x / G.img_resolution, y / G.img_resolution), angle)
        with latents.content_transform(G, moved @ own):
            result = G.synthesis(ws, noise_mode="const")
        return float((result - target).square().mean())

    for factor in (1, 1, 0.25):  # from coarse to fine, one number after the other
        for axis, offsets in ((0, angles), (1, SHIFTS), (2, SHIFTS)):
            smallest_first = sorted(offsets, key=abs)  # no step, where none makes a difference
            tried = [
                (*step[:axis], step[axis] + offset * factor, *step[axis + 1 :])
                for offset in smallest_first
            ]
            step = min(tried, key=lambda candidate: error(*candidate))
    return abs(step[0]), max(abs(step[1]), abs(step[2]))


def _rounded(img: Tensor) -> Tensor:
    """As a PNG would hold it."""
    return images.to_uint8(img).to(torch.float32) / 127.5 - 1


def _row(name: str, values: list[float]) -> list[str]:
    levels = np.quantile(values, LEVELS)
    if not name.startswith("PSNR"):
        levels = levels[::-1]  # low is good
    return [name, *(f"{level:.2f}" for level in levels)]


if __name__ == "__main__":
    main()
