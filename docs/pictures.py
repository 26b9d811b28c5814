"""Draws the pictures of README.md that need trained networks: `python -m docs.pictures`.

There are two figures: images of a small network in the course of its training, and images whose
content moves and turns, for all three configurations.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import torch
from scipy import ndimage
from torch import Tensor

from demo import run, train
from dnnlib import cli, options
from network_files.load import load_network
from torch_utils import devices, images, latents
from torch_utils.images import save_png
from torch_utils.networks import Generator, device_of

RESOLUTION = 32
SHEET = (6, 6)  # columns and rows of each sheet in the course of training
GAP = 8  # pixels between the parts of a figure
FONT_SIZE = 15  # pixels
BACKGROUND, INK = 255, (60, 60, 60)

SCALE = 3  # enlargement in the figure of moving content
NUM_FRAMES = 6
NUM_STEPS = 97  # steps of the motion in a slice
MAX_SHIFT = 0.2  # fraction of the image, to both sides
MAX_ANGLE = 90  # degrees
RADIUS = 0.3  # of the circle on which turning images are sampled, in fractions of the image

NAMES = {"stylegan2": "StyleGAN2", "stylegan3-t": "StyleGAN3-T", "stylegan3-r": "StyleGAN3-R"}
GAMMA = {"stylegan2": 0.2, "stylegan3-t": 1, "stylegan3-r": 1}


@click.command(cls=cli.Command)
@click.option(
    "--outdir",
    type=cli.LocalPath(path_type=Path),
    default="pictures",
    show_default=True,
    help="Folder for dataset, runs and figures.",
)
@options.count_option("--kimg", "Length of the trainings, in thousands of images.", default=8)
@options.seed_option("Seed of the moving images.")
@options.count_option("--cbase", "Capacity multiplier, as for train.py.", default=512)
@options.count_option("--cmax", "Most feature maps per layer, as for train.py.", default=32)
@options.device_option
@options.version_option
def main(outdir: Path, kimg: int, seed: int, cbase: int, cmax: int, device: str) -> None:
    """Train StyleGAN2, StyleGAN3-T and StyleGAN3-R on drawn shapes, and draw figures with them.

    Existing networks are not trained again. Copy the figures to docs/images when you like them.

    \b
    Examples:
      # About 40 minutes on two CPU cores
      python -m docs.pictures --outdir=pictures
      # The same figures of other images, in seconds
      python -m docs.pictures --outdir=pictures --seed=5
    """
    data = outdir / "shapes.zip"
    if not data.exists():
        size = f"--resolution={RESOLUTION}x{RESOLUTION}"
        run("dataset_tool.py", "--source=synthetic", f"--dest={data}", size, "--max-images=2000")
    settings = ["--batch=4", "--snap=1", f"--cbase={cbase}", f"--cmax={cmax}", f"--device={device}"]
    networks = {
        cfg: train(outdir / cfg, cfg, data, kimg, [f"--gamma={gamma}", *settings])
        for cfg, gamma in GAMMA.items()
    }

    torch_device = devices.resolve_device(device)
    generators = {
        cfg: load_network(network)["G_ema"].to(torch_device) for cfg, network in networks.items()
    }
    figures = {
        "progress.png": progress_figure(networks["stylegan3-t"].parent),
        "equivariance.png": equivariance_figure(generators, seed),
    }
    for name, figure in figures.items():
        save_png(figure.transpose(2, 0, 1), outdir / name)
        click.echo(outdir / name)


def progress_figure(run_dir: Path) -> np.ndarray:
    """Corners of a run's sheets of images, each after twice as many images as the last.

    Returns:
        An image, uint8 `[H, W, 3]`.
    """
    width, height = (n * RESOLUTION for n in SHEET)
    last_kimg = max(int(path.stem[-6:]) for path in run_dir.glob("fakes[0-9]*.png"))
    panels, kimg = [("untrained", "fakes_init.png")], 2
    while kimg <= last_kimg:
        panels.append((f"{kimg},000 images", f"fakes{kimg:06d}.png"))
        kimg *= 2
    panels.append(("real images", "reals.png"))
    drawn = []
    for caption, name in panels:
        sheet = np.array(PIL.Image.open(run_dir / name))
        drawn.append(beneath(text(caption, width), sheet[:height, :width]))
    return beside(*drawn)


@torch.no_grad()
def equivariance_figure(generators: dict[str, Generator], seed: int) -> np.ndarray:
    """Rows of images whose content moves or turns, and slices through them over time."""
    rows = []
    for cfg, G in generators.items():
        row = motion_row(G, seed, moved, read_line)
        rows.append(beneath(text(f"{NAMES[cfg]}: input moved sideways", row.shape[1]), row))
    for cfg, G in generators.items():
        if latents.transform_buffer(G) is not None:
            row = motion_row(G, seed, turned, read_circle)
            rows.append(beneath(text(f"{NAMES[cfg]}: input turned", row.shape[1]), row))
    return beneath(*rows)


def motion_row(
    G: Generator,
    seed: int,
    transform: Callable[[float], np.ndarray],
    read: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """A few images of a motion, and a slice: the pixels of `read` at each time, time downwards."""
    z = latents.z_from_seed(seed, G.z_dim).float().to(device_of(G))
    ws = G.mapping(z, None)
    frames = []
    for time in np.linspace(0, 1, NUM_STEPS):
        with moving_input(G, transform(time)):
            img = images.to_uint8(G.synthesis(ws, noise_mode="const"))
        frames.append(img[0].permute(1, 2, 0).cpu().numpy())
    shown = frames[:: NUM_STEPS // (NUM_FRAMES - 1)][:NUM_FRAMES]
    enlarged = [frame.repeat(SCALE, axis=0).repeat(SCALE, axis=1) for frame in shown]
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


def text(caption: str, width: int) -> np.ndarray:
    """A line of text, `[.., width, 3]`."""
    line = PIL.Image.new("RGB", (width, FONT_SIZE + GAP), (BACKGROUND,) * 3)
    font = PIL.ImageFont.load_default(FONT_SIZE)
    PIL.ImageDraw.Draw(line).text((0, 0), caption, fill=INK, font=font)
    return np.array(line)


def beside(*parts: np.ndarray) -> np.ndarray:
    """Parts from left to right, with gaps, aligned at the top."""
    height = max(part.shape[0] for part in parts)
    return np.concatenate([_fill(part, height, part.shape[1] + GAP) for part in parts], axis=1)


def beneath(*parts: np.ndarray) -> np.ndarray:
    """Parts from top to bottom, aligned at the left."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_fill(part, part.shape[0], width) for part in parts])


def _fill(part: np.ndarray, height: int, width: int) -> np.ndarray:
    missing = [(0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)]
    return np.pad(part, missing, constant_values=BACKGROUND)


if __name__ == "__main__":
    main()
