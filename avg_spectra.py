"""Average power spectra of datasets and of what networks generate: compute them, and plot them.

Whether a network reproduces the statistics of its training images shows in the frequencies; see
Karras et al. 2021, "Alias-Free Generative Adversarial Networks", Fig. 4 and Appendix A.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import scipy.ndimage
import torch
from torch import Tensor
from tqdm import tqdm

from data import notes
from data.dataset import ImageFolderDataset
from dnnlib import cli
from dnnlib.errors import InputError, MachineError
from dnnlib.util import is_url, open_atomic
from network_files.load import load_network
from torch_utils import distributed, images, latents, npz

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS_DB = np.arange(-40, 21, 5)  # contours of heat maps
SLICE_LIMITS_DB = (-50, 30)
MAX_CELLS = 1024  # more than the pixels of a heat map would only take time
FFT_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}  # transformed together: caches, or many cores
SMALLEST_POWER = 1e-30  # -300 dB, in place of zero

source_option = click.option(
    "--source",
    type=cli.Address(),
    metavar="PKL|ZIP|DIR",
    required=True,
    help="Network (path or URL), or dataset (ZIP or folder).",
)
num_option = click.option(
    "--num",
    metavar="INT",
    type=cli.WholeNumber(min=1),
    help="Number of images; required for networks.  [default: all there are]",
)
seed_option = click.option(
    "--seed",
    type=cli.WholeNumber(0, cli.MAX_SEED),
    default=0,
    show_default=True,
    help="Decides which images of a dataset; the first of the seeds of a network.",
)
batch_option = click.option(
    "--batch",
    type=cli.WholeNumber(min=1),
    default=8,
    show_default=True,
    help="Images per pass.",
)
save_option = click.option(
    "--save",
    metavar="FILE",
    type=cli.LocalPath(dir_okay=False, path_type=Path),
    help="Write .png, .pdf, .svg or another format; otherwise a window opens.",
)
dpi_option = click.option(
    "--dpi",
    type=cli.FiniteFloat(min=10, max=2000),
    default=100,
    show_default=True,
    help="Resolution of the figure, in dots per inch.",
)


def smooth_option(default: float) -> Callable:
    """The option --smooth, whose default differs between plots."""
    return click.option(
        "--smooth",
        type=cli.FiniteFloat(min=0),
        default=default,
        show_default=True,
        help="Standard deviation of a Gaussian blur, in samples of the unpadded spectrum.",
    )


@click.group(cls=cli.Group)
@cli.version_option
def main() -> None:
    """Compare average power spectra of training data and generated images.

    \b
    Examples:
      # Mean and standard deviation of the dataset, for whitening both it and what is compared to it
      python avg_spectra.py stats --source=photos.zip
      # The spectra of the dataset and of as many generated images, with these two numbers
      python avg_spectra.py calc --source=photos.zip --dest=data.npz --mean=112.7 --std=69.5
      python avg_spectra.py calc --source=net.pkl --num=70000 --dest=net.npz --mean=112.7 --std=69.5
      # A heat map of one; slices of both
      python avg_spectra.py heatmap net.npz --save=heatmap.png
      python avg_spectra.py slices data.npz net.npz --save=slices.png
    """


@main.command()
@source_option
@num_option
@seed_option
@batch_option
@cli.allow_untrusted_option
@cli.device_option
@cli.version_option
def stats(
    source: str, num: int | None, seed: int, batch: int, allow_untrusted: bool, device: str
) -> None:
    """Print mean and standard deviation of all pixels, as options for `calc`.

    \b
    Examples:
      python avg_spectra.py stats --source=photos.zip
      python avg_spectra.py stats --source=net.pkl --num=10000
    """
    torch_device = distributed.resolve_device(device)
    batches, _ = open_source(source, num, seed, batch, torch_device, allow_untrusted)
    mean, std = measure_stats(batches)
    click.echo(f"--mean={mean:g} --std={std:g}")


@main.command()
@source_option
@click.option(
    "--dest",
    metavar="FILE.npz",
    type=cli.LocalPath(dir_okay=False, path_type=Path),
    required=True,
    help="File to write.",
)
@click.option(
    "--mean", type=cli.FiniteFloat(), required=True, help="Of the dataset, as `stats` prints it."
)
@click.option(
    "--std",
    type=cli.FiniteFloat(min=0, min_open=True),
    required=True,
    help="Of the dataset, as `stats` prints it.",
)
@num_option
@seed_option
@click.option(
    "--beta",
    type=cli.FiniteFloat(min=0),
    default=8,
    show_default=True,
    help="Shape of the Kaiser window; 0 for none.",
)
@click.option(
    "--interp",
    type=cli.WholeNumber(1, 64),
    default=4,
    show_default=True,
    help="Samples of the spectrum for each one of the image.",
)
@batch_option
@cli.allow_untrusted_option
@cli.device_option
@cli.version_option
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

    Take --mean and --std of the training data for everything that is to be compared.

    \b
    Examples:
      python avg_spectra.py calc --source=photos.zip --dest=data.npz --mean=112.7 --std=69.5
      python avg_spectra.py calc --source=net.pkl --num=70000 --dest=net.npz --mean=112.7 --std=69.5
    """
    if dest.suffix != ".npz":
        raise click.BadParameter(f"{str(dest)!r} does not end in .npz", param_hint="--dest")
    torch_device = distributed.resolve_device(device)
    batches, image_size = open_source(source, num, seed, batch, torch_device, allow_untrusted)
    dest.parent.mkdir(parents=True, exist_ok=True)
    # Opened now: what cannot be written is known before the work.
    with cli.exit_when_terminated(), open_atomic(dest) as file:
        spectrum = average_spectrum(batches, image_size, mean, std, beta, interp)
        np.savez(file, spectrum=spectrum, image_size=image_size)
    click.echo(f"Wrote {dest}")


@main.command()
@click.argument("npz-file", type=cli.LocalPath(exists=True, dir_okay=False, path_type=Path))
@save_option
@dpi_option
@smooth_option(1.25)
@cli.version_option
def heatmap(npz_file: Path, save: Path | None, dpi: float, smooth: float) -> None:
    """Plot a spectrum in two dimensions.

    \b
    Example:
      python avg_spectra.py heatmap net.npz --save=heatmap.png
    """
    hmap, image_size = construct_heatmap(npz_file, smooth)
    make_figure(lambda figure: draw_heatmap(figure, hmap, npz_file.stem, image_size), save, dpi)


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
@cli.version_option
def slices(npz_files: tuple[Path, ...], save: Path | None, dpi: float, smooth: float) -> None:
    """Plot the horizontal and the diagonal of one spectrum or several.

    \b
    Example:
      python avg_spectra.py slices data.npz net.npz --save=slices.png
    """
    heatmaps = {}
    for path in npz_files:
        name = path.stem if path.stem not in heatmaps else str(path)
        heatmaps[name], _ = construct_heatmap(path, smooth)
    make_figure(lambda figure: draw_slices(figure, heatmaps), save, dpi)


# Images


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
        num: Number of images, `None` for all that a dataset has.
        seed: Of the choice of images, or of the first generated image.
        batch: Images per batch.
        device: Where the network computes, and the images (uint8 `[N, C, size, size]`) shall be.
        allow_untrusted: See `network_files.load.load_network_pkl`.

    Raises:
        ValueError: If the images are not square, or a network comes without `num`.
        OSError: If there is no such source.
    """
    is_dataset = not is_url(source, allow_file_urls=True) and (
        os.path.isdir(source) or source.lower().endswith(".zip")
    )
    if is_dataset:
        with cli.blame("--source"):
            dataset = ImageFolderDataset(source, max_size=num, random_seed=seed)
            found = dataset.check_images()
        for title, text in notes.describe(found, dataset.left_out).items():
            click.echo(f"{title} in {source}: {text}", err=True)
        _, height, width = dataset.image_shape
        if height != width:
            raise InputError(
                f"--source {source}: the images are {width}x{height}, but must be square"
            )
        return _show_progress(dataset_images(dataset, batch, device), len(dataset)), height
    if num is None:
        raise click.UsageError("Missing option '--num': how many images the network generates.")
    distributed.configure_backends(device)
    data = load_network(source, option="--source", allow_untrusted=allow_untrusted)
    G = data["G_ema"].to(device)
    return _show_progress(generated_images(G, num, seed, batch, device), num), G.img_resolution


def dataset_images(
    dataset: ImageFolderDataset, batch: int, device: torch.device
) -> Iterator[Tensor]:
    """All images, in batches: uint8 `[N, C, H, W]`."""
    for start in range(0, len(dataset), batch):
        idx = range(start, min(start + batch, len(dataset)))
        try:
            img = np.stack([dataset[i][0] for i in idx])
        except InputError as error:  # an image that differs from the others
            raise InputError(f"--source: {error}") from error
        yield torch.from_numpy(img).to(device)


@torch.no_grad()
def generated_images(
    G: torch.nn.Module, num: int, seed: int, batch: int, device: torch.device
) -> Iterator[Tensor]:
    """Images of the seeds from `seed` on, in batches: uint8 `[N, C, H, W]`.

    A seed means the same latent as everywhere, and in a conditional network also a class, drawn
    after it. The noise of StyleGAN2 is as stored: results do not depend on the batch.
    """
    seeds = [(seed + i) % (cli.MAX_SEED + 1) for i in range(num)]
    for start in range(0, num, batch):
        z, c = [], []
        for number in seeds[start : start + batch]:
            rng = np.random.RandomState(number)
            z.append(rng.randn(G.z_dim))
            class_idx = rng.randint(G.c_dim) if G.c_dim > 0 else None
            c.append(latents.label_from_class(class_idx, G.c_dim, device=device))
        z = torch.from_numpy(np.stack(z)).to(torch.float32).to(device)
        img = G(z, torch.cat(c), noise_mode="const")
        images.check_finite(img, [f"seed {number}" for number in seeds[start : start + batch]])
        yield images.to_uint8(img)


def _show_progress(batches: Iterator[Tensor], num: int) -> Iterator[Tensor]:
    with tqdm(total=num, unit="img", disable=None) as progress:
        for img in batches:
            yield img
            progress.update(len(img))


# Numbers


def measure_stats(batches: Iterator[Tensor]) -> tuple[float, float]:
    """Mean and (population) standard deviation of all values of uint8 images, computed exactly."""
    counts = torch.zeros([256], dtype=torch.int64)
    for img in batches:
        counts += torch.bincount(img.flatten().cpu(), minlength=256)
    values = np.arange(256.0)
    counts = counts.numpy()
    mean = np.average(values, weights=counts)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))


def kaiser_window(size: int, beta: float) -> Tensor:
    """One-dimensional window, symmetric, whose squares sum to one; float32 `[size]`."""
    window = np.kaiser(size, beta)
    return torch.from_numpy((window / np.sqrt(np.square(window).sum())).astype(np.float32))


def average_spectrum(
    batches: Iterator[Tensor], image_size: int, mean: float, std: float, beta: float, interp: int
) -> np.ndarray:
    """Average power spectrum of whitened and windowed images over images and channels.

    Equals the mean of `|fft2(window * (x - mean) / std)|^2` with the transform padded to
    `image_size * interp` samples, in double precision where the device has it. Padding further than
    to twice the size adds no information, and does not have to be done for each image: that of the
    average is interpolated, by way of the autocorrelation, which is as long as twice the size.

    Args:
        batches: uint8 `[N, C, image_size, image_size]`.
        image_size: Width and height of the images.
        mean, std: For whitening.
        beta: Of the Kaiser window.
        interp: Samples of the spectrum per sample of the image.

    Returns:
        float64 `[image_size * interp, image_size * interp]`, zero frequency first.

    Raises:
        ValueError: If `mean` and `std` are so far from the images that it is not finite.
    """
    fft_size = image_size * min(interp, 2)
    total = torch.zeros([fft_size, fft_size // 2 + 1], dtype=torch.float64)
    num_planes = 0
    window = kaiser_window(image_size, beta)
    for img in batches:
        chunk = max(1, FFT_BYTES.get(img.device.type, FFT_BYTES["cpu"]) // (total.numel() * 16))
        dtype = torch.float32 if img.device.type == "mps" else torch.float64
        if num_planes == 0 and dtype == torch.float64:
            total = total.to(img.device)
        window = window.to(img.device)
        for x in img.flatten(0, 1).split(chunk):  # [N * C, H, W]
            x = (x.to(dtype) - mean) / std * window[:, None] * window
            spectrum = torch.fft.rfft(x, n=fft_size)
            # Rows that are padding would transform to zeros: this transform of columns adds them.
            spectrum = torch.fft.fft(spectrum, n=fft_size, dim=1)
            power = spectrum.real.square() + spectrum.imag.square()
            total += power.sum(dim=0).to(total.device, total.dtype)
        num_planes += img.shape[0] * img.shape[1]
    half = total.cpu().numpy() / max(num_planes, 1)
    if not np.isfinite(half).all():
        raise InputError(f"--mean={mean:g} --std={std:g} make a spectrum that is not finite")
    if interp > 2:
        # The autocorrelation ends before `image_size`; behind its middle are the negative shifts.
        shifts = np.fft.fftshift(np.fft.irfft2(half, s=(fft_size, fft_size)))
        padded = np.zeros([image_size * interp] * 2)
        padded[:fft_size, :fft_size] = shifts
        shape = (-(fft_size // 2), -(fft_size // 2))
        half = np.fft.rfft2(np.roll(padded, shape, axis=(0, 1))).real.clip(min=0)
    return _both_halves(half, image_size * interp)


def _both_halves(half: np.ndarray, size: int) -> np.ndarray:
    """The whole spectrum of real images, from that of non-negative horizontal frequencies."""
    full = np.empty([size, size])
    num = half.shape[1]
    full[:, :num] = half
    mirrored = np.roll(half[::-1], 1, axis=0)  # row -k
    full[:, num:] = mirrored[:, 1 : size - num + 1][:, ::-1]  # column -k
    return full


def construct_heatmap(npz_file: str | os.PathLike, smooth: float) -> tuple[np.ndarray, int]:
    """Read a spectrum for plotting.

    Args:
        npz_file: As `calc` writes it.
        smooth: Standard deviation of a Gaussian blur, in samples of the unpadded spectrum.

    Returns:
        Decibels, float32 `[size + 1, size + 1]`, with zero frequency in the centre and the Nyquist
        frequency at all edges, and the size of the images.

    Raises:
        ValueError: If the file holds something else.
    """
    try:
        spectrum = npz.read_array(npz_file, "spectrum")
        image_size = int(npz.read_array(npz_file, "image_size"))
        size, _ = shape = spectrum.shape
        if shape != (size, size) or not 0 < image_size <= size or spectrum.dtype.kind != "f":
            raise InputError("it is no spectrum")
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{npz_file} is not a file that `calc` writes") from error
    if not np.isfinite(spectrum).all():
        raise InputError(f"{npz_file} holds NaN or infinite powers: make it again with `calc`")
    hmap = 10 * np.log10(np.maximum(spectrum, SMALLEST_POWER))
    hmap = np.pad(np.fft.fftshift(hmap), [(0, 1), (0, 1)], mode="wrap")
    if smooth > 0:
        sigma = smooth * size / image_size
        hmap = scipy.ndimage.gaussian_filter(hmap, sigma=sigma, mode="nearest")
    return hmap.astype(np.float32), image_size


def construct_slices(hmap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From zero frequency towards Nyquist: the horizontal and the diagonal of a heat map."""
    center = len(hmap) // 2
    idx = np.arange(center, len(hmap) - 1)
    return hmap[center, idx], hmap[idx, idx]


# Figures


def make_figure(draw: Callable[["Figure"], None], save: Path | None, dpi: float) -> None:
    """Draw into a window until it is closed or, with `save`, into a file; that needs no display.

    Raises:
        RuntimeError: If Matplotlib or a display is missing.
        ValueError: If the file has an unknown extension.
    """
    try:
        from matplotlib import figure
    except ImportError as error:
        raise MachineError("plots take a package: pip install matplotlib") from error
    if save is None:
        from matplotlib import pyplot

        if pyplot.get_backend().lower() == "agg":
            raise MachineError("there is no display for a window: give a file with --save")
        draw(pyplot.figure(dpi=dpi, layout="constrained"))
        pyplot.show()
        return
    fig = figure.Figure(dpi=dpi, layout="constrained")
    extension, formats = save.suffix[1:].lower(), fig.canvas.get_supported_filetypes()
    if extension not in formats:
        raise InputError(f"--save {save} does not end in one of .{', .'.join(sorted(formats))}")
    draw(fig)
    save.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(save) as file:
        fig.savefig(file, format=extension, dpi=dpi)
    click.echo(f"Wrote {save}")


def draw_heatmap(fig: "Figure", hmap: np.ndarray, name: str, image_size: int) -> None:
    """Filled contours of decibels over both frequencies, with a colour bar."""
    fig.set_size_inches(7, 5.6)
    axes = fig.add_subplot()
    num_cells = len(hmap) - 1
    # Steps that end exactly at the edges.
    steps = [s for s in range(1, num_cells + 1) if num_cells % s == 0]
    step = next((s for s in steps if num_cells // s <= MAX_CELLS), 1)
    frequency = np.linspace(-0.5, 0.5, num_cells + 1)[::step]
    hmap = hmap[::step, ::step]
    filled = axes.contourf(frequency, frequency, hmap, LEVELS_DB, cmap="viridis", extend="both")
    lines = axes.contour(frequency, frequency, hmap, LEVELS_DB, colors="black", linewidths=0.5)
    axes.clabel(lines, fontsize=8, fmt="%d")
    colorbar = fig.colorbar(filled, ax=axes, ticks=LEVELS_DB[::2])
    colorbar.set_label("Power [dB]")
    ticks = np.linspace(-0.5, 0.5, 5)
    axes.set(
        title=f"Average power spectrum of {name} ({image_size}x{image_size} images)",
        xlabel="Horizontal frequency [cycles/pixel]",
        ylabel="Vertical frequency [cycles/pixel]",
        aspect="equal",
        xticks=ticks,
        yticks=ticks,
    )


def draw_slices(fig: "Figure", heatmaps: dict[str, np.ndarray]) -> None:
    """Decibels over radial frequency: a colour for each spectrum, dashed for its diagonal."""
    fig.set_size_inches(7, 5)
    axes = fig.add_subplot()
    for i, (name, hmap) in enumerate(heatmaps.items()):
        straight, diagonal = construct_slices(hmap)
        frequency = np.arange(len(straight)) / (len(hmap) - 1)
        axes.plot(frequency, straight, color=f"C{i}", label=f"{name}, 0°")
        axes.plot(
            frequency * np.sqrt(2), diagonal, color=f"C{i}", linestyle="--", label=f"{name}, 45°"
        )
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(
        "Nyquist (0°)",
        (0.5, 0.98),
        xycoords=("data", "axes fraction"),
        rotation=90,
        ha="right",
        va="top",
    )
    axes.set(
        title="Slices of average power spectra",
        xlabel="Frequency [cycles/pixel]",
        ylabel="Power [dB]",
        xlim=(0, np.sqrt(0.5)),
        ylim=SLICE_LIMITS_DB,
    )
    axes.grid(alpha=0.3)
    axes.legend()


if __name__ == "__main__":
    main()
