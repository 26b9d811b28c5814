"""Speed of dragging beside bare synthesis with gradients: `python -m benchmarks.dragging`.

A step of a drag runs the synthesis up to a middle layer, forward and backward, and compares
features. The bare run is the whole synthesis, forward and backward, for the gradients of the same
styles. Both compute in float32.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from dataclasses import dataclass

import click
import torch

from benchmarks import options, timing
from benchmarks.networks import build_generator
from dnnlib import cli
from editing.dragging import Dragging
from generation.images import map_seeds
from torch_utils.networks import Generator, device_of
from training.config import Cfg

RESOLUTIONS = ("32", "64", "256")
HEADER = (
    "config",
    "image",
    "layer",
    "steps/sec",
    "sec/step",
    "spread",
    "bare sec",
    "ratio",
    "runs",
)


@click.command(cls=cli.Command)
@options.names("--configs", ("stylegan2", "stylegan3-t"), "Networks to measure.")
@options.names("--resolutions", RESOLUTIONS, "Sizes of the images.")
@options.number("--points", "Points that are dragged.", default=1)
@options.number("--cbase", "Capacity multiplier, as for train.py.", 32768)
@options.number("--cmax", "Most feature maps per layer, as for train.py.", 512)
@options.repeat("each measurement")
@options.machine
def main(
    configs: list[Cfg],
    resolutions: list[str],
    points: int,
    cbase: int,
    cmax: int,
    repeat: int | None,
    threads: int | None,
    device: str,
) -> None:
    """Time the steps of a drag beside bare synthesis with gradients.

    Prints a table with a row per network and size. Weights are random. Each drag is checked before
    it is timed: it changes the styles.

    Example: python -m benchmarks.dragging --cbase=16384 --resolutions=32,256
    """
    torch_device = options.start(device, threads)
    rows = []
    for cfg in configs:
        for resolution in map(int, resolutions):
            click.echo(f"Measuring {cfg} at {resolution}x{resolution} ...", err=True)
            G = build_generator(cfg, resolution, cbase, cmax).to(torch_device)
            rows.append(_row(cfg, resolution, measure_dragging(G, points, repeat)))
    click.echo(timing.describe_machine(torch_device))
    click.echo(f"points: {points}, cbase {cbase}, cmax {cmax}, float32")
    click.echo()
    click.echo(timing.format_table(HEADER, rows))


@dataclass(frozen=True)
class DraggingResult:
    """Measurement of a drag: the layer of its features, its steps, and bare synthesis."""

    layer: str
    steps: timing.Timing
    bare: timing.Timing


def measure_dragging(
    G: Generator, num_points: int = 1, num_runs: int | None = None
) -> DraggingResult:
    """Check and time the steps of a drag with a mask, and bare synthesis with gradients.

    Args:
        G: Generator, on the device to measure; its parameters must not need gradients.
        num_points: Points, which are dragged through half of the image.
        num_runs: Timed runs, see `timing.measure`.

    Raises:
        RuntimeError: If the drag changes nothing.
    """
    device, size = device_of(G), G.img_resolution
    ws = map_seeds(G, [0], None)
    heights = [(idx + 0.5) * size / num_points for idx in range(num_points)]
    mask = torch.ones([size, size], dtype=torch.bool)
    mask[:, -size // 8 :] = False
    dragging = Dragging(
        G, ws, [(size / 4, y) for y in heights], [(size * 3 / 4, y) for y in heights], mask=mask
    )
    if torch.equal(dragging.step().ws, ws):
        raise RuntimeError("a step of the drag does not change the styles")
    steps = timing.measure(dragging.step, device, num_runs)

    ws = ws.detach().clone().requires_grad_()

    def bare() -> None:
        img = G.synthesis(ws, noise_mode="const", force_fp32=True)
        torch.autograd.grad(img.square().mean(), ws)

    return DraggingResult(dragging.layer, steps, timing.measure(bare, device, num_runs))


def _row(cfg: Cfg, resolution: int, result: DraggingResult) -> list[str]:
    steps, bare = result.steps, result.bare
    return [
        cfg,
        f"{resolution}x{resolution}",
        result.layer,
        f"{1 / steps.median_sec:.3g}",
        f"{steps.median_sec:.3g}",
        f"{steps.spread:.0%}",
        f"{bare.median_sec:.3g}",
        f"{steps.median_sec / bare.median_sec:.2f}",
        f"{len(steps.runs_sec)}+{len(bare.runs_sec)}",
    ]


if __name__ == "__main__":
    main()
