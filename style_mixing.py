"""Mix the styles of images: layout from one, details from another."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import re
import warnings
from pathlib import Path
from typing import Any, Literal

import click
import torch
from torch import Tensor

from dnnlib import cli, options
from dnnlib.errors import InputError
from editing import mixing
from generation import latent_files
from generation.images import check_class, draw_styles, map_seeds, prepare_outdir
from network_files.load import load_network
from torch_utils import devices, images
from torch_utils.networks import Generator


@click.command(cls=cli.Command)
@options.network_option
@options.value_option("--rows", cli.SeedRange(), "Seeds of the rows, e.g. 0,1,4-7.", metavar="LIST")
@options.value_option("--cols", cli.SeedRange(), "Seeds of the columns.", metavar="LIST")
@options.latents_option("--row-latents", "Latents of rows, after the seeds.")
@options.latents_option("--col-latents", "Latents of columns, after the seeds.")
@options.value_option(
    "--col-styles",
    cli.LayerRange(mixing.PARTS),
    "Layers that take the style of the column: numbers, or a third of the layers.",
    default="coarse",
    metavar="LIST|coarse|middle|fine",
)
@options.trunc_option
@options.class_option
@options.noise_mode_option
@click.option("--outdir", type=cli.LocalPath(path_type=Path), required=True, help="Result folder.")
@click.option(
    "--no-sheet", is_flag=True, help="Write each image to a file instead of one sheet, grid.png."
)
@options.count_option("--batch", "Images per pass.", default=1)
@options.allow_untrusted_option
@options.device_option
@options.version_option
def main(
    network: str,
    rows: list[int] | None,
    cols: list[int] | None,
    row_latents: Path | None,
    col_latents: Path | None,
    col_styles: Any,
    trunc: float,
    class_idx: int | None,
    noise_mode: Literal["const", "random", "none"],
    outdir: Path,
    no_sheet: bool,
    batch: int,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Draw a table of images: each row's image, with some styles of each column's image.

    The first row and the first column show the images themselves. Latents come from files of
    projector.py, or from any program that writes an array `w`; see docs/editing.md.

    \b
    Examples:
      # Layout of the columns, details of the rows
      python style_mixing.py --network=net.pkl --rows=0-3 --cols=4-9 --outdir=out
      # Colours of the columns, for a face that projector.py has found
      python style_mixing.py --network=net.pkl --row-latents=projected_w.npz --cols=0-7 \\
          --col-styles=fine --outdir=out
      # Chosen layers, one file for each image
      python style_mixing.py --network=net.pkl --rows=0 --cols=1-3 --col-styles=0-6 --no-sheet \\
          --outdir=out
    """
    for seeds, file, axis in ((rows, row_latents, "row"), (cols, col_latents, "col")):
        if not seeds and file is None:
            raise click.UsageError(f"Missing option '--{axis}s' (or '--{axis}-latents').")
    torch_device = devices.resolve_device(device)
    devices.configure_backends(torch_device)
    click.echo(f"Loading {network} ...")
    G = load_network(network, option="--network", allow_untrusted=allow_untrusted)["G_ema"]
    G = G.to(torch_device)
    with cli.blame("--col-styles"):
        layers = mixing.layers_of(col_styles, G)
    if rows or cols or class_idx is not None:
        check_class(G, class_idx)
    if not (rows or cols) and (trunc != 1 or class_idx is not None):
        warnings.warn("--trunc and --class have no effect on latents", stacklevel=1)
    row_ws, row_names = _styles(G, rows, row_latents, "--row-latents", trunc, class_idx)
    col_ws, col_names = _styles(G, cols, col_latents, "--col-latents", trunc, class_idx)

    table = mixing.mix(row_ws, col_ws, layers)
    first_row = col_ws[None]
    first_column = torch.cat([torch.zeros_like(row_ws[:1]), row_ws])[:, None]
    whole = torch.cat([first_column, torch.cat([first_row, table])], dim=1)  # [1 + R, 1 + C, ...]
    names = [f"{row}-{col}" for row in ["", *row_names] for col in ["", *col_names]]
    names = [name.strip("-") for name in names]
    if no_sheet and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"--no-sheet: two images would be called {twice}.png; rename the latents")
    outdir = prepare_outdir(outdir)
    pixels = draw_styles(G, whole.flatten(0, 1)[1:], names[1:], noise_mode, batch)
    if no_sheet:
        for name, img in zip(names[1:], pixels, strict=True):
            images.save_png(img, outdir / f"{name}.png")
        click.echo(f"Wrote {len(names) - 1} files to {outdir}")
        return
    cells = list(pixels)
    cells.insert(0, torch.full_like(cells[0], 255))
    grid = images.make_grid(torch.stack(cells), (1 + len(col_ws), 1 + len(row_ws)))
    images.save_png(grid, outdir / "grid.png")
    which = ", ".join(map(str, layers))
    click.echo(f"Wrote {outdir / 'grid.png'}; layers {which} of {G.num_ws} are the columns'")


@torch.no_grad()
def _styles(
    G: Generator,
    seeds: list[int] | None,
    path: Path | None,
    option: str,
    trunc: float,
    class_idx: int | None,
) -> tuple[Tensor, list[str]]:
    """Styles of seeds, then those of a file, and their names."""
    ws, names = [], []
    if seeds:
        ws.append(map_seeds(G, seeds, class_idx, truncation_psi=trunc).cpu())
        names += [str(seed) for seed in seeds]
    if path is not None:
        found = latent_files.load(path)
        latent_files.check(found, G, option)
        if found.transforms is not None:
            warnings.warn(f"{path}: mixing leaves the transforms out", stacklevel=2)
        ws.append(found.ws)
        axis = option.removeprefix("--").removesuffix("-latents")
        given = found.names or [f"{axis}{i}" for i in range(len(found))]
        names += [re.sub(r"[^\w.]", "_", name).strip(".") for name in given]  # become file names
    return torch.cat(ws), names


if __name__ == "__main__":
    main()
