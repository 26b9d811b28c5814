"""Find directions in the latent space along which images change in one respect."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from dnnlib import cli, options
from dnnlib.errors import InputError
from editing import directions as found_directions
from editing import mixing
from editing.directions import Directions
from generation import latent_files
from generation.images import check_class, draw_styles, map_seeds
from network_files.load import load_network
from torch_utils import devices, images, layout
from torch_utils.networks import Generator

STEPS = 7  # images of each direction on the sheet
NUM_FOR_CLASSES = 10_000  # styles of each class


@click.group(cls=cli.Group)
@options.version_option
def main() -> None:
    """Find directions in W: principal components, weights, labels, or your own pictures.

    Each command writes a file of directions, which gen_images.py takes, and a sheet that shows
    the directions.

    \b
    Examples:
      # What varies most (GANSpace)
      python directions.py pca --network=net.pkl --dest=pca.npz
      python gen_images.py --network=net.pkl --seeds=0-7 --direction=pca.npz:pc0=2 --outdir=out
      # What the weights of some layers respond to (SeFa)
      python directions.py weights --network=net.pkl --layers=middle --dest=weights.npz
      # Towards each class of a conditional network
      python directions.py labels --network=net.pkl --dest=classes.npz
      # From a table that you filled in: seed,label
      python directions.py labels --network=net.pkl --table=smiles.csv --dest=smiles.npz
      # From two folders of pictures that projector.py has projected
      python directions.py pictures --network=net.pkl --without=plain/projected_w.npz \\
          --with=glasses/projected_w.npz --name=glasses --dest=glasses.npz
    """


def _common_options(command: Callable) -> Callable:
    """The options that all commands have."""
    for decorate in (
        options.version_option,
        options.device_option,
        options.allow_untrusted_option,
        options.class_option,
        options.seed_option("Random seed of the styles, and the seed of the images on the sheet."),
        options.value_option("--sheet", click.BOOL, "Draw a sheet beside the file.", default=True),
        options.file_option("--dest", "File to write.", metavar="FILE.npz", required=True),
        options.network_option,
    ):
        command = decorate(command)
    return command


_num_option = options.count_option("--num", "Number of directions.", default=8)


@main.command()
@_common_options
@_num_option
@options.count_option("--samples", "Styles to look at.", default=100_000)
def pca(num: int, samples: int, **common: Any) -> None:
    """Principal components of W: what varies most (GANSpace)."""
    _run(
        common,
        lambda G: found_directions.find_pca(
            G, num, samples, class_idx=common["class_idx"], seed=common["seed"]
        ),
    )


@main.command()
@_common_options
@_num_option
@options.value_option(
    "--layers",
    cli.LayerRange(mixing.PARTS),
    "Layers that count, and change: numbers, or a third of the layers.  [default: all]",
    metavar="LIST|coarse|middle|fine",
)
def weights(num: int, layers: Any, **common: Any) -> None:
    """Eigenvectors of the weights: what the network responds to most (SeFa)."""

    def find(G: Generator) -> Directions:
        with cli.blame("--layers"):
            chosen = None if layers is None else mixing.layers_of(layers, G)
        return found_directions.find_weights(
            G, num, chosen, class_idx=common["class_idx"], seed=common["seed"]
        )

    _run(common, find)


@main.command()
@_common_options
@options.value_option(
    "--table",
    cli.LocalPath(exists=True, dir_okay=False, path_type=Path),
    "Labels of seeds, with the columns seed and label; takes scikit-learn.  [default: classes]",
    metavar="FILE.csv",
)
def labels(table: Path | None, **common: Any) -> None:
    """Towards each class of a conditional network, or each label of a table of seeds."""
    given = None if table is None else _read_table(table)
    if given is None:
        _note_class(common)

    def find(G: Generator) -> Directions:
        if given is None:
            return found_directions.find_classes(G, NUM_FOR_CLASSES, common["seed"])
        return found_directions.find_labels(G, given, common["class_idx"])

    _run(common, find)


@main.command()
@_common_options
@options.latents_option("--without", "Latents of pictures that lack something.", required=True)
@options.latents_option("--with", "Latents of pictures that have it.", required=True)
@options.value_option("--name", click.STRING, "Name of the direction.", default="difference")
def pictures(without: Path, name: str, **common: Any) -> None:
    """From the mean of some projected pictures to the mean of others."""
    loaded = [latent_files.load(path) for path in (without, common["with"])]
    _note_class(common)

    def find(G: Generator) -> Directions:
        for latents, option in zip(loaded, ("--without", "--with"), strict=True):
            latent_files.check(latents, G, option)
        return found_directions.find_difference(loaded[0].ws, loaded[1].ws, name)

    _run(common, find)


def _note_class(common: dict[str, Any]) -> None:
    """Say that the class does not decide what is found."""
    if common["class_idx"] is not None:
        where = "on the sheet only" if common["sheet"] else "here"
        click.echo(f"Note: --class has {'an' if common['sheet'] else 'no'} effect {where}")


def _run(common: dict[str, Any], find: Callable[[Generator], Directions]) -> None:
    network, dest, class_idx = common["network"], common["dest"], common["class_idx"]
    if dest.suffix != ".npz" or not dest.parent.is_dir():
        raise click.BadParameter(
            f"{str(dest)!r} must end in .npz, and its folder must exist", param_hint="--dest"
        )
    device = devices.resolve_device(common["device"])
    devices.configure_backends(device)
    click.echo(f"Loading {network} ...")
    data = load_network(network, option="--network", allow_untrusted=common["allow_untrusted"])
    G = data["G_ema"].to(device)
    if class_idx is not None:
        check_class(G, class_idx)
    found = find(G)
    found_directions.save(dest, found)
    click.echo(f"Wrote {dest}: {len(found)} directions, {found.method}")
    if common["sheet"]:
        path = dest.with_suffix(".png")
        images.save_png(_draw_sheet(G, found, common["seed"], class_idx).transpose(2, 0, 1), path)
        click.echo(
            f"Wrote {path}: amounts from {-found.reach:g} to {found.reach:g}, seed {common['seed']}"
        )


def _draw_sheet(G: Generator, found: Directions, seed: int, class_idx: int | None) -> np.ndarray:
    """A row of images for each direction, uint8 `[H, W, 3]`."""
    first = class_idx if class_idx is not None or G.c_dim == 0 else 0
    with torch.no_grad():
        ws = map_seeds(G, [seed], first).cpu()
    amounts = np.linspace(-found.reach, found.reach, STEPS)
    offsets = [found.offset(name, a, G.num_ws) for name in found.names for a in amounts]
    names = [f"{name}={a:g}" for name in found.names for a in amounts]
    cells = draw_styles(G, ws + torch.stack(offsets), names)
    factor = -(-64 // G.img_resolution)
    rows = []
    for name in found.names:
        row = torch.cat([next(cells) for _ in amounts], dim=2).numpy()
        row = layout.enlarge(layout.as_rgb(row), factor)
        rows.append(layout.beneath(layout.text(name, row.shape[1]), row))
    return layout.beneath(*rows)


def _read_table(path: Path) -> dict[int, str]:
    """Labels by seed; rows without a label are left out, and counted."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"--table: {path} is not UTF-8; save it as CSV UTF-8") from error
    rows = csv.DictReader(lines)
    rows.fieldnames = [name.strip() for name in rows.fieldnames or []]
    if not {"seed", "label"} <= set(rows.fieldnames):
        raise InputError(f"--table: {path} must begin with a line that names seed and label")
    found: dict[int, str] = {}
    num_empty = 0
    for row in rows:
        label, text = ((row[name] or "").strip() for name in ("label", "seed"))
        if not label:
            num_empty += 1
            continue
        seed = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else -1
        where = f"--table: {path}, line {rows.line_num}"
        if not 0 <= seed <= cli.MAX_SEED:
            raise InputError(f"{where}: {text!r} is no seed")
        if found.setdefault(seed, label) != label:
            raise InputError(f"{where}: seed {seed} has two labels, {found[seed]!r} and {label!r}")
    if num_empty:
        click.echo(f"Left out: {num_empty} rows of {path} without a label")
    return found


if __name__ == "__main__":
    main()
