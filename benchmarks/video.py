"""Cost of videos beside the bare synthesis of their images: `python -m benchmarks.video`.

Bare synthesis is the calls of the synthesis network alone, with the styles and the batch of the
video. A video adds the path through the styles, the conversion to 8 bits, the layout of the grid,
the transfer to ffmpeg, and the processor time that ffmpeg uses.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import imageio_ffmpeg
import numpy as np
import torch

import gen_video
from benchmarks import options, timing
from benchmarks.networks import build_generator
from dnnlib import cli
from torch_utils import devices, latents
from torch_utils.networks import Generator
from training.config import Cfg

HEADER = ("config", "frame", "sec/frame", "bare sec/frame", "ratio", "lowest", "highest", "frames")
ENCODER_SETTINGS: dict[str, Any] = {"macro_block_size": 2, "ffmpeg_log_level": "quiet"}


@click.command(cls=cli.Command)
@options.networks(resolution=256)
@click.option(
    "--grid", type=cli.Size(), default="2x2", show_default=True, help="Images in a frame."
)
@options.number("--frames", "Frames of the video.", default=120)
@options.number("--batch", "Images per pass.", default=1)
@options.number("--repeat", "Pairs of runs.", default=3)
@options.machine
def main(
    configs: list[Cfg],
    resolution: int,
    grid: tuple[int, int],
    frames: int,
    batch: int,
    cbase: int,
    cmax: int,
    repeat: int,
    threads: int | None,
    device: str,
) -> None:
    """Time videos beside the bare synthesis of their images.

    The video and the bare synthesis run in turn, --repeat times. The ratio is computed for each
    pair, because other load on the machine slows down both. Prints the medians, and the lowest and
    the highest ratio. Weights are random. Each video is checked for the number and size of frames.

    \b
    Examples:
      # All configurations at 256x256; on two CPU cores it takes hours.
      python -m benchmarks.video --device=cuda --batch=8
      # A small network, where the encoder matters most
      python -m benchmarks.video --configs=stylegan3-t --cbase=4096 --cmax=32 --frames=12
    """
    torch_device = options.start(device, threads)

    rows = []
    for cfg in configs:
        click.echo(f"Measuring {cfg} ...", err=True)
        G = build_generator(cfg, resolution, cbase, cmax).to(torch_device)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            pairs = [measure_pair(G, path, grid, frames, batch) for _ in range(repeat)]
        ratios = [video_sec / bare_sec for video_sec, bare_sec in pairs]
        video_sec, bare_sec = (median(seconds) / frames for seconds in zip(*pairs, strict=True))
        size = f"{resolution * grid[0]}x{resolution * grid[1]}"
        numbers = (video_sec, bare_sec)
        rows.append(
            [cfg, size]
            + [f"{number:.4g}" for number in numbers]
            + [f"{ratio:.3f}" for ratio in (median(ratios), min(ratios), max(ratios))]
            + [f"{frames}"]
        )
    click.echo(timing.describe_machine(torch_device))
    click.echo(f"grid {grid[0]}x{grid[1]}, batch {batch}, cbase {cbase}, cmax {cmax}")
    click.echo()
    click.echo(timing.format_table(HEADER, rows))


@torch.no_grad()
def measure_pair(
    G: Generator, path: Path, grid: tuple[int, int], num_frames: int, batch: int
) -> tuple[float, float]:
    """Measure the seconds for a video, and for the bare synthesis of its images.

    Raises:
        RuntimeError: If the video does not have the frames that it should have.
    """
    device = next(G.parameters()).device
    cells = grid[0] * grid[1]
    seeds = range(cells)
    z = latents.z_from_seeds(seeds, G.z_dim).to(torch.float32).to(device)
    ws = G.mapping(z, None)  # any styles: all cost the same
    ws = ws.repeat(-(-num_frames * batch // cells), 1, 1)
    sizes = [min(batch, num_frames * cells - i) for i in range(0, num_frames * cells, batch)]

    G.synthesis(ws[:batch], noise_mode="const")  # warm-up, as the video has one
    devices.synchronize(device)
    start = time.perf_counter()
    for size in sizes:
        G.synthesis(ws[:size], noise_mode="const")
    devices.synchronize(device)
    bare_sec = time.perf_counter() - start

    start = time.perf_counter()
    gen_video.gen_interp_video(
        G, path, seeds, w_frames=num_frames, grid_dims=grid, batch=batch, **ENCODER_SETTINGS
    )
    video_sec = time.perf_counter() - start
    check_video(path, (G.img_resolution * grid[0], G.img_resolution * grid[1]), num_frames)
    return video_sec, bare_sec


def check_video(path: Path, size: tuple[int, int], num_frames: int) -> None:
    """Decode a video and refuse another size or number of frames.

    Raises:
        RuntimeError: If it is not as expected.
    """
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    found = sum(np.frombuffer(frame, np.uint8).size == size[0] * size[1] * 3 for frame in reader)
    if tuple(meta["size"]) != size or found != num_frames:
        raise RuntimeError(
            f"the video has {found} frames of {meta['size']}, expected {num_frames} of {size}"
        )


if __name__ == "__main__":
    main()
