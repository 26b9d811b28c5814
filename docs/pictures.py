"""Draws the figures of README.md: `python -m docs.pictures`.

They come from the networks in the box, in a few minutes and without training. Two need more: the
course of a training needs the folder of the run (--run), the demo's sheet a finished demo (--demo).
`python -m tests.viz.screenshots` makes those of the viewer.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import PIL.Image
import torch
from scipy import ndimage
from torch import Tensor

from demo import run
from dnnlib import cli, options
from dnnlib.errors import InputError
from dnnlib.util import open_atomic
from generation import sources, spectra
from generation.images import map_seeds
from network_files.load import load_network
from torch_utils import devices, images, latents
from torch_utils.layout import beneath as beneath
from torch_utils.layout import beside as beside
from torch_utils.layout import enlarge
from torch_utils.layout import text as text
from torch_utils.networks import Generator
from training import transfer

NETWORKS = ("pretrained:shapes-t", "pretrained:faces-stylegan2")
SHEET = (12, 6)  # columns and rows of the sheet of each network
SHEET_SCALE = 2

STAGE = (6, 6)  # columns and rows of each sheet in the course of training
NUM_STAGES = 4  # between the untrained network and the real images

SCALE = 3  # enlargement in the figure of moving content
NUM_FRAMES = 6
NUM_STEPS = 97  # steps of the motion in a slice
MAX_SHIFT = 0.2  # fraction of the image, to both sides
MAX_ANGLE = 90  # degrees
RADIUS = 0.3  # of the circle on which turning images are sampled, in fractions of the image

NUM_MEASURED = 2000  # images in each spectrum
MAX_PALETTE_ERROR = 1.5  # root mean square, in levels
NAMES = {"stylegan2": "StyleGAN2", "stylegan3-t": "StyleGAN3-T", "stylegan3-r": "StyleGAN3-R"}


@click.command(cls=cli.Command)
@click.option(
    "--outdir",
    type=cli.LocalPath(path_type=Path),
    default="pictures",
    show_default=True,
    help="Folder for the figures.",
)
@click.option(
    "--network",
    type=cli.NetworkAddress(),
    metavar=options.NETWORK_METAVAR,
    multiple=True,
    default=NETWORKS,
    show_default=True,
    help="Network to show; can be given several times. The first one draws shapes.",
)
@click.option(
    "--run",
    "run_dir",
    type=cli.LocalPath(exists=True, file_okay=False, path_type=Path),
    help="Folder of a run, for the figure of its progress.",
)
@click.option(
    "--demo",
    "demo_dir",
    type=cli.LocalPath(exists=True, file_okay=False, path_type=Path),
    help="Folder of a finished demo, for its sheet.",
)
@click.option(
    "--class",
    "class_idx",
    type=cli.WholeNumber(min=0),
    default=4,
    show_default=True,
    help="Class of the moving images, in conditional networks.",
)
@options.seed_option("Seed of the moving images.")
@options.device_option
@options.version_option
def main(
    outdir: Path,
    network: tuple[str, ...],
    run_dir: Path | None,
    demo_dir: Path | None,
    class_idx: int,
    seed: int,
    device: str,
) -> None:
    """Draw the figures of README from trained networks: sheets, moving content, spectra.

    Copy the figures to docs/images when you like them.

    \b
    Examples:
      # From the networks in the box, in a few minutes on two CPU cores
      python -m docs.pictures --outdir=pictures
      # With the course of a training, and with the sheet of the demo
      python -m docs.pictures --run=training-runs/00000-stylegan3-t-shapes --demo=demo
    """
    torch_device = devices.resolve_device(device)
    devices.configure_backends(torch_device)
    generators = {
        address: load_network(address, option="--network")["G_ema"].to(torch_device)
        for address in network
    }
    outdir.mkdir(parents=True, exist_ok=True)

    def save(name: str, figure: np.ndarray) -> None:
        save_small(figure, outdir / name)
        click.echo(outdir / name)

    save("networks.png", networks_figure(generators))
    save("equivariance.png", equivariance_figure(list(generators.values()), seed, class_idx))
    if run_dir is not None:
        save("progress.png", progress_figure(run_dir))
    if demo_dir is not None:
        save("demo.png", np.array(PIL.Image.open(demo_dir / "sheet.png")))
    spectrum = draw_spectrum(network[0], generators[network[0]].img_resolution, outdir, device)
    save("spectrum.png", np.array(PIL.Image.open(spectrum).convert("RGB")))


@torch.no_grad()
def networks_figure(generators: dict[str, Generator]) -> np.ndarray:
    """A sheet of each network; in conditional networks, columns are classes in turns."""
    width, height = SHEET
    sheets = []
    for address, G in generators.items():
        seeds = range(width * height)
        classes = [idx % G.c_dim for idx in seeds] if G.c_dim > 0 else None
        img = G.synthesis(map_seeds(G, seeds, classes), noise_mode="const")
        sheet = images.make_grid(images.to_uint8(img), SHEET).permute(1, 2, 0).cpu().numpy()
        enlarged = enlarge(sheet, SHEET_SCALE)
        sheets.append(beneath(text(f"{address} ({name_of(G)})", enlarged.shape[1]), enlarged))
    return beside(*sheets)


def progress_figure(run_dir: Path) -> np.ndarray:
    """Corners of a run's sheets of images, each after several times as many images as the last.

    Returns:
        An image, uint8 `[H, W, 3]`.

    Raises:
        InputError: If the folder has no sheets.
    """
    found = sorted(int(path.stem[-6:]) for path in run_dir.glob("fakes[0-9]*.png"))
    stages = choose_stages([kimg for kimg in found if kimg > 0])
    if not stages:
        raise InputError(f"--run={run_dir}: there is no sheet like fakes000100.png in this folder")
    size = image_size_of(run_dir)
    width, height = (n * size for n in STAGE)
    panels = [("untrained", "fakes_init.png")]
    panels += [(f"{kimg},000 images", f"fakes{kimg:06d}.png") for kimg in stages]
    panels.append(("real images", "reals.png"))
    drawn = []
    for caption, name in panels:
        sheet = np.array(PIL.Image.open(run_dir / name))
        drawn.append(beneath(text(caption, width), sheet[:height, :width]))
    return beside(*drawn)


def choose_stages(kimg: list[int]) -> list[int]:
    """Some of the given lengths of training, from the first to the last, by equal factors."""
    if not kimg:
        return []
    wanted = np.geomspace(kimg[0], kimg[-1], NUM_STAGES)
    return sorted({min(kimg, key=lambda k: abs(np.log(k / target))) for target in wanted})


def image_size_of(run_dir: Path) -> int:
    """Width and height of the images of a run, from its options."""
    with open(run_dir / "training_options.json", encoding="utf-8") as file:
        return json.load(file)["training_set_kwargs"]["resolution"]


@torch.no_grad()
def equivariance_figure(generators: list[Generator], seed: int, class_idx: int = 0) -> np.ndarray:
    """Rows of images whose content moves or turns, and slices through them over time.

    Content turns if one of the networks is a StyleGAN3-R, beside others of StyleGAN3.
    """
    # StyleGAN2 first, so that the figure ends with what stays whole.
    ordered = sorted(generators, key=lambda G: list(NAMES.values()).index(name_of(G)))
    rows = []
    for G in ordered:
        row = motion_row(G, seed, class_idx, moved, read_line)
        rows.append(beneath(text(f"{name_of(G)}: input moved sideways", row.shape[1]), row))
    if any(name_of(G) == NAMES["stylegan3-r"] for G in ordered):
        for G in ordered:
            if latents.transform_buffer(G) is not None:
                row = motion_row(G, seed, class_idx, turned, read_circle)
                rows.append(beneath(text(f"{name_of(G)}: input turned", row.shape[1]), row))
    return beneath(*rows)


def name_of(G: Generator) -> str:
    """The configuration of a network, for people."""
    return NAMES[transfer.options_of(G)["--cfg"]]


def draw_spectrum(network: str, size: int, outdir: Path, device: str) -> Path:
    """Slices through the average spectra of drawn shapes and of as many images of a network."""
    data, figure = outdir / "drawings.zip", outdir / "spectrum.png"
    if not data.exists():
        run(
            "dataset_tool.py",
            "--source=synthetic",
            f"--dest={data}",
            f"--resolution={size}x{size}",
            f"--max-images={NUM_MEASURED}",
        )
    batches, _ = sources.open_source(str(data), None, 0, 100, torch.device("cpu"))
    mean, std = spectra.measure_stats(batches)
    files = []
    for source, name in ((str(data), "drawings"), (network, "network")):
        files.append(str(outdir / f"{name}.npz"))
        run(
            "avg_spectra.py",
            "calc",
            f"--source={source}",
            f"--dest={files[-1]}",
            f"--num={NUM_MEASURED}",
            f"--mean={mean:g}",
            f"--std={std:g}",
            f"--device={device}",
        )
    run("avg_spectra.py", "slices", *files, f"--save={figure}")
    return figure


def save_small(figure: np.ndarray, path: Path) -> None:
    """Write a PNG as small as possible; with a palette where the difference cannot be seen."""
    image = PIL.Image.fromarray(figure)
    indexed = image.quantize(256, dither=PIL.Image.Dither.NONE)
    error = np.asarray(indexed.convert("RGB"), np.float32) - figure
    if np.sqrt(np.square(error).mean()) <= MAX_PALETTE_ERROR:
        image = indexed
    with open_atomic(path) as file:
        image.save(file, format="PNG", optimize=True)


def motion_row(
    G: Generator,
    seed: int,
    class_idx: int,
    transform: Callable[[float], np.ndarray],
    read: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """A few images of a motion, and a slice: the pixels of `read` at each time, time downwards."""
    ws = map_seeds(G, [seed], class_idx)
    frames = []
    for time in np.linspace(0, 1, NUM_STEPS):
        with moving_input(G, transform(time)):
            img = images.to_uint8(G.synthesis(ws, noise_mode="const"))
        frames.append(img[0].permute(1, 2, 0).cpu().numpy())
    shown = frames[:: NUM_STEPS // (NUM_FRAMES - 1)][:NUM_FRAMES]
    enlarged = [enlarge(frame, SCALE) for frame in shown]
    size = enlarged[0].shape[0]
    lines = np.stack([read(frame) for frame in frames])
    slices = PIL.Image.fromarray(lines).resize((2 * size, size), PIL.Image.Resampling.BICUBIC)
    return beside(*enlarged, np.array(slices))


def moved(time: float) -> np.ndarray:
    """From the left to the right."""
    return latents.make_transform(((2 * time - 1) * MAX_SHIFT, 0), 0)


def turned(time: float) -> np.ndarray:
    """A quarter turn."""
    return latents.make_transform((0, 0), time * MAX_ANGLE)


def read_line(frame: np.ndarray) -> np.ndarray:
    """The pixels of the line across the middle, `[W, 3]`."""
    return frame[len(frame) // 2]


def read_circle(frame: np.ndarray) -> np.ndarray:
    """The pixels on a circle around the centre, `[4 * size, 3]`."""
    size = len(frame)
    angles = np.linspace(0, 2 * np.pi, 4 * size, endpoint=False)
    centre, radius = (size - 1) / 2, RADIUS * size
    at = [centre + radius * np.sin(angles), centre + radius * np.cos(angles)]
    channels = [ndimage.map_coordinates(frame[..., i], at, order=1) for i in range(3)]
    return np.stack(channels, axis=-1)


@contextmanager
def moving_input(G: Generator, matrix: np.ndarray) -> Iterator[None]:
    """Transform the input of a network. The input of StyleGAN2, a learned constant, can only move.

    Its 4x4 samples move as the band-limited periodic signal through them.
    """
    if latents.transform_buffer(G) is not None:
        with latents.content_transform(G, matrix):
            yield
        return
    const = G.synthesis.get_parameter("b4.const")
    original = const.data
    const.data = shift_periodically(original, matrix[0, 2], matrix[1, 2])
    try:
        yield
    finally:
        const.data = original


def shift_periodically(x: Tensor, tx: float, ty: float) -> Tensor:
    """Shift a real signal `[..., H, W]` by fractions of its size, by the Fourier shift theorem."""
    H, W = x.shape[-2:]
    fy = torch.fft.fftfreq(H, 1 / H, device=x.device, dtype=x.dtype)[:, None]
    fx = torch.fft.rfftfreq(W, 1 / W, device=x.device, dtype=x.dtype)
    phase_y, phase_x = (torch.exp(-2j * torch.pi * shift) for shift in (fy * ty, fx * tx))
    # At the highest frequency, only the cosine of the pair is visible in the samples.
    phase_y.imag[H // 2], phase_x.imag[W // 2] = 0, 0
    return torch.fft.irfft2(torch.fft.rfft2(x) * phase_y * phase_x, s=(H, W))


if __name__ == "__main__":
    main()
