"""Average power spectra of datasets and of generated images: compute them, and plot them.

Spectra show whether a network reproduces the statistics of its training images; see
Karras et al. 2021, "Alias-Free Generative Adversarial Networks", Fig. 4 and Appendix A.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from torch import Tensor

from dnnlib import cli, moved, options
from dnnlib.util import open_atomic
from generation import figures, sources, spectra
from torch_utils import devices

__getattr__ = moved.names_of(__name__)

source_option = options.value_option(
    "--source",
    cli.NetworkAddress(),
    "Network (path, URL or pretrained:NAME), or dataset (ZIP or folder).",
    metavar="PKL|ZIP|DIR",
    required=True,
)
num_option = options.value_option(
    "--num",
    cli.WholeNumber(min=1),
    "Number of images; required for networks.  [default: all images of a dataset]",
    metavar="INT",
)
seed_option = options.seed_option("Chooses the images of a dataset; the first seed for a network.")
batch_option = options.count_option("--batch", "Images per pass.", default=8)
save_option = options.file_option(
    "--save",
    "Write .png, .pdf, .svg or another format; otherwise a window opens.",
    metavar="FILE",
)
dpi_option = options.value_option(
    "--dpi",
    cli.FiniteFloat(min=10, max=2000),
    "Resolution of the figure, in dots per inch.",
    default=100,
)


def smooth_option(default: float) -> options.Decorator:
    """The option --smooth, with a default for each kind of plot."""
    return options.value_option(
        "--smooth",
        cli.FiniteFloat(min=0),
        "Standard deviation of a Gaussian blur, in samples of the unpadded spectrum.",
        default=default,
    )


@click.group(cls=cli.Group)
@options.version_option
def main() -> None:
    """Compare average power spectra of training data and generated images.

    \b
    Examples:
      # Mean and standard deviation of the dataset, to whiten all images of the comparison
      python avg_spectra.py stats --source=photos.zip
      # The spectra of the dataset and of as many generated images, with these two numbers
      python avg_spectra.py calc --source=photos.zip --dest=data.npz --mean=112.7 --std=69.5
      python avg_spectra.py calc --source=net.pkl --num=70000 --dest=net.npz --mean=112.7 --std=69.5
      # A heat map of one spectrum; slices of both
      python avg_spectra.py heatmap net.npz --save=heatmap.png
      python avg_spectra.py slices data.npz net.npz --save=slices.png
    """


@main.command()
@source_option
@num_option
@seed_option
@batch_option
@options.allow_untrusted_option
@options.device_option
@options.version_option
def stats(
    source: str, num: int | None, seed: int, batch: int, allow_untrusted: bool, device: str
) -> None:
    """Print mean and standard deviation of all pixels, as options for `calc`.

    \b
    Examples:
      python avg_spectra.py stats --source=photos.zip
      python avg_spectra.py stats --source=net.pkl --num=10000
    """
    torch_device = devices.resolve_device(device)
    batches, _ = _open_source(source, num, seed, batch, torch_device, allow_untrusted)
    mean, std = spectra.measure_stats(batches)
    click.echo(f"--mean={mean:g} --std={std:g}")


@main.command()
@source_option
@options.file_option("--dest", "File to write.", metavar="FILE.npz", required=True)
@options.value_option(
    "--mean", cli.FiniteFloat(), "Mean of the dataset, as `stats` prints it.", required=True
)
@options.value_option(
    "--std",
    cli.FiniteFloat(min=0, min_open=True),
    "Standard deviation of the dataset, as `stats` prints it.",
    required=True,
)
@num_option
@seed_option
@options.value_option(
    "--beta", cli.FiniteFloat(min=0), "Shape of the Kaiser window; 0 for none.", default=8
)
@options.value_option(
    "--interp",
    cli.WholeNumber(1, 64),
    "Samples of the spectrum for each sample of the image.",
    default=4,
)
@batch_option
@options.allow_untrusted_option
@options.device_option
@options.version_option
def calc(
    source: str,
    dest: Path,
    mean: float,
    std: float,
    num: int | None,
    seed: int,
    beta: float,
    interp: int,
    batch: int,
    allow_untrusted: bool,
    device: str,
) -> None:
    """Compute the average power spectrum of images and save it.

    Use --mean and --std of the training data for all spectra that you compare.

    \b
    Examples:
      python avg_spectra.py calc --source=photos.zip --dest=data.npz --mean=112.7 --std=69.5
      python avg_spectra.py calc --source=net.pkl --num=70000 --dest=net.npz --mean=112.7 --std=69.5
    """
    if dest.suffix != ".npz":
        raise click.BadParameter(f"{str(dest)!r} does not end in .npz", param_hint="--dest")
    torch_device = devices.resolve_device(device)
    batches, image_size = _open_source(source, num, seed, batch, torch_device, allow_untrusted)
    dest.parent.mkdir(parents=True, exist_ok=True)
    # Opened now, to refuse a file that cannot be written before the work begins.
    with cli.exit_when_terminated(), open_atomic(dest) as file:
        spectrum = spectra.average_spectrum(batches, image_size, mean, std, beta, interp)
        np.savez(file, spectrum=spectrum, image_size=image_size)
    click.echo(f"Wrote {dest}")


@main.command()
@click.argument("npz-file", type=cli.LocalPath(exists=True, dir_okay=False, path_type=Path))
@save_option
@dpi_option
@smooth_option(1.25)
@options.version_option
def heatmap(npz_file: Path, save: Path | None, dpi: float, smooth: float) -> None:
    """Plot a spectrum in two dimensions.

    \b
    Example:
      python avg_spectra.py heatmap net.npz --save=heatmap.png
    """
    hmap, image_size = spectra.construct_heatmap(npz_file, smooth)
    name = npz_file.stem
    _show(lambda figure: figures.draw_heatmap(figure, hmap, name, image_size), save, dpi)


@main.command()
@click.argument(
    "npz-files",
    nargs=-1,
    required=True,
    type=cli.LocalPath(exists=True, dir_okay=False, path_type=Path),
)
@save_option
@dpi_option
@smooth_option(0)
@options.version_option
def slices(npz_files: tuple[Path, ...], save: Path | None, dpi: float, smooth: float) -> None:
    """Plot horizontal and diagonal slices of one or more spectra.

    \b
    Example:
      python avg_spectra.py slices data.npz net.npz --save=slices.png
    """
    heatmaps = {}
    for path in npz_files:
        name = path.stem if path.stem not in heatmaps else str(path)
        heatmaps[name], _ = spectra.construct_heatmap(path, smooth)
    _show(lambda figure: figures.draw_slices(figure, heatmaps), save, dpi)


def _open_source(source: str, num: int | None, *args: Any) -> tuple[Iterator[Tensor], int]:
    if num is None and not sources.is_dataset(source):
        raise click.UsageError("Missing option '--num': how many images the network generates.")
    return sources.open_source(source, num, *args)


def _show(draw: Callable[[Any], None], save: Path | None, dpi: float) -> None:
    figures.make_figure(draw, save, dpi)
    if save is not None:
        click.echo(f"Wrote {save}")


if __name__ == "__main__":
    main()
