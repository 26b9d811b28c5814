"""Draws the sheets beside the networks in pretrained/: `python -m docs.sheets`.

A sheet is what the network makes of the first seeds, without truncation and without a choice: a row
for each class, or rows of images if there are no classes.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from pathlib import Path

import click
import numpy as np
import torch

from dnnlib import cli, options, pretrained
from network_files.load import load_network
from torch_utils import devices, images, latents
from torch_utils.networks import Generator, device_of

COLUMNS, ROWS = 12, 6  # ROWS without classes
MAX_CLASSES = 12
SIDE = 64  # pixels of each image, at least; small images are enlarged by repeating pixels


@click.command(cls=cli.Command)
@click.option(
    "--network",
    type=cli.NetworkAddress(),
    metavar=options.NETWORK_METAVAR,
    help="Draw this network instead of all in pretrained/; needs --dest.",
)
@options.file_option("--dest", "The sheet of --network.", metavar="FILE.png")
@options.device_option
@options.version_option
def main(network: str | None, dest: Path | None, device: str) -> None:
    """Draw the sheets of the networks in pretrained/, beside their files.

    \b
    Examples:
      python -m docs.sheets
      python -m docs.sheets --network=network-snapshot-000500.pkl --dest=sheet.png
    """
    if (network is None) != (dest is None):
        raise click.UsageError("--network and --dest need each other.")
    in_the_box = {
        address: pretrained.path_of(address).with_suffix(".png")
        for address in pretrained.addresses()
    }
    chosen = in_the_box if network is None or dest is None else {network: dest}
    if not chosen:
        raise click.UsageError(f"There is no network in {pretrained.FOLDER}.")
    torch_device = devices.resolve_device(device)
    for address, path in chosen.items():
        G = load_network(address, option="--network")["G_ema"].to(torch_device)
        images.save_png(draw_sheet(G).transpose(2, 0, 1), path)
        click.echo(f"{address}: {path}")


@torch.no_grad()
def draw_sheet(G: Generator) -> np.ndarray:
    """Images of the first seeds, uint8 `[H, W, C]`; a row shows the same seeds for each class."""
    num_rows = min(G.c_dim, MAX_CLASSES) or ROWS
    rows = []
    for row in range(num_rows):
        class_idx = row if G.c_dim else None
        first = 0 if G.c_dim else row * COLUMNS
        z = latents.z_from_seeds(range(first, first + COLUMNS), G.z_dim).float().to(device_of(G))
        c = latents.label_from_class(class_idx, G.c_dim, COLUMNS, device_of(G))
        img = G(z, c, noise_mode="const")
        rows.append(np.concatenate([*images.to_uint8(img).cpu().numpy()], axis=2))
    sheet = np.concatenate(rows, axis=1).transpose(1, 2, 0)
    factor = -(-SIDE // G.img_resolution)
    return sheet.repeat(factor, axis=0).repeat(factor, axis=1)


if __name__ == "__main__":
    main()
