"""Generate images from a trained network: one PNG per seed, or one contact sheet."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
from torch import Tensor

from dnnlib import cli, moved, options
from editing import directions
from generation import latent_files
from generation.images import generate_images
from network_files.load import load_network
from torch_utils import devices
from torch_utils.networks import Generator

__getattr__ = moved.names_of(__name__)


@click.command(cls=cli.Command)
@options.network_option
@options.seeds_option("Random seeds, e.g. 0,1,4-7; required without --latents.")
@options.trunc_option
@click.option(
    "--class",
    "classes",
    type=cli.ClassRange(),
    metavar="LIST",
    help="Class, for conditional networks; several, such as 0-5, take turns.",
)
@options.noise_mode_option
@options.translate_option
@options.rotate_option
@click.option("--outdir", type=cli.LocalPath(path_type=Path), required=True, help="Result folder.")
@options.count_option(
    "--batch", "Images per pass; values above 1 may change pixels by a rounding error.", default=1
)
@options.size_option("--grid", "Write one contact sheet, grid.png, instead.")
@click.option(
    "--latents",
    "--projected-w",
    "latents",
    metavar="FILE.npz",
    type=cli.LocalPath(exists=True, dir_okay=False, path_type=Path),
    help="Take latents from a file instead of seeds: styles `w`, and what else is in it.",
)
@click.option(
    "--direction",
    "moves",
    type=cli.DirectionAmount(),
    multiple=True,
    metavar="FILE:NAME=AMOUNT",
    help="Go along a direction that directions.py has found, in its scales; several add up.",
)
@options.allow_untrusted_option
@options.device_option
@options.version_option
def main(
    network: str,
    seeds: list[int] | None,
    trunc: float,
    classes: list[int] | None,
    noise_mode: Literal["const", "random", "none"],
    translate: tuple[float, float],
    rotate: float,
    outdir: Path,
    batch: int,
    grid: tuple[int, int] | None,
    latents: Path | None,
    moves: tuple[tuple[Path, str, float], ...],
    allow_untrusted: bool,
    device: str,
) -> None:
    """Generate images with a trained network.

    Writes seed0000.png and so on to --outdir. The network can be a pickle of this project, of the
    published StyleGAN2, StyleGAN2-ADA and StyleGAN3, or a safetensors file; see legacy.py.

    \b
    Examples:
      # A network in the box
      python gen_images.py --network=pretrained:shapes-t --class=0 --seeds=0-7 --outdir=out
      # Eight images; --trunc moves them closer to the average image
      python gen_images.py --network=net.pkl --seeds=0-7 --trunc=0.7 --outdir=out
      # A contact sheet of class 3
      python gen_images.py --network=net.pkl --seeds=0-7 --grid=4x2 --class=3 --outdir=out
      # Six columns, one for each class
      python gen_images.py --network=net.pkl --seeds=0-23 --grid=6x4 --class=0-5 --outdir=out
      # Rotated by 30 degrees
      python gen_images.py --network=r.pkl --seeds=2 --rotate=30 --outdir=out
      # Along a direction of directions.py, with another one added
      python gen_images.py --network=net.pkl --seeds=0-7 --direction=pca.npz:pc0=2 \\
          --direction=pca.npz:pc3=-1 --outdir=out
      # From projected styles
      python gen_images.py --network=net.pkl --latents=projected_w.npz --outdir=out
    """
    if seeds is None and latents is None:
        raise click.UsageError("Missing option '--seeds' (or '--latents').")
    if latents is not None and (seeds is not None or classes is not None or trunc != 1):
        warnings.warn("--seeds, --class and --trunc have no effect with --latents", stacklevel=1)
    torch_device = devices.resolve_device(device)
    devices.configure_backends(torch_device)
    loaded = None if latents is None else latent_files.load(latents)

    click.echo(f"Loading {network} ...")
    networks = load_network(network, option="--network", allow_untrusted=allow_untrusted)
    G = networks["G_ema"].to(torch_device)
    if loaded is not None:
        latent_files.check(loaded, G, "--latents")
    written = generate_images(
        G,
        seeds,
        outdir,
        truncation_psi=trunc,
        class_idx=classes,
        noise_mode=noise_mode,
        translate=translate,
        rotate=rotate,
        batch=batch,
        grid=grid,
        ws=None if loaded is None else loaded.ws,
        transforms=None if loaded is None else loaded.transforms,
        offset=_offset(G, moves),
    )
    what = "1 file" if len(written) == 1 else f"{len(written)} files"
    click.echo(f"Wrote {what} to {outdir}")


def _offset(G: Generator, moves: Sequence[tuple[Path, str, float]]) -> Tensor | None:
    """What the directions of the command line add to all styles together."""
    total = None
    for path, name, amount in moves:
        with cli.blame("--direction"):
            offset = directions.load_offset(path, name, amount, G)
        total = offset if total is None else total + offset
    return total


if __name__ == "__main__":
    main()
