"""Cost of the watch over a run: `python -m benchmarks.watching`.

The watch (`training.watch`) measures the diversity of images once per tick, but at most once per
thousand images; the rest of its work takes no time worth measuring. The benchmark times a
measurement beside iterations of the same run, and prints the share of the time that it takes.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import click
import torch

from benchmarks import iteration, options, timing
from benchmarks.networks import Setup
from dnnlib import cli
from dnnlib.text import format_table
from training import diversity
from training.config import CFGS, Cfg
from training.watch import DIVERSITY_NIMG

TICKS_KIMG = (1, 4)  # values of --tick; 4 is the default of train.py
HEADER = ("work", "s", "spread", "runs")


@click.command(cls=cli.Command)
@click.option(
    "--cfg", type=click.Choice(CFGS), default="stylegan3-t", show_default=True, help="Network."
)
@options.sizes(resolution=64, cbase=8192, cmax=256)
@options.number("--batch", "Images per batch.", 32)
@options.number("--batch-gpu", "Images per pass.", 8)
@options.number("--iterations", "Iterations in a timed run.", 16)
@options.repeat("each kind of work", default="one")
@options.machine
def main(
    cfg: Cfg,
    resolution: int,
    cbase: int,
    cmax: int,
    batch: int,
    batch_gpu: int,
    iterations: int,
    repeat: int | None,
    threads: int | None,
    device: str,
) -> None:
    """Time what watches a run, beside the iterations of the run."""
    torch_device = options.start(device, threads)
    click.echo(timing.describe_machine(torch_device))
    setup = Setup(cfg, resolution, batch, cbase, cmax)
    with iteration.dataset(resolution) as data:
        config = iteration.config_of(setup, data, torch_device, batch_gpu=batch_gpu)
        with iteration.started(config, torch_device) as run:
            run.warm_up(iterations)
            steps = run.measure(iterations, repeat or 1)
            num = diversity.NUM_IMAGES
            z = torch.randn([num, run.G.z_dim], device=torch_device)
            c = torch.zeros([num, run.G.c_dim], device=torch_device)
            real = torch.randint(256, [num, 3, resolution, resolution], dtype=torch.uint8)
            watch = timing.measure(
                lambda: diversity.measure(run.G_ema, run.D, z, c, real, batch_gpu),
                torch_device,
                repeat or 1,
            )
    rows = [
        [name, f"{time.median_sec:.4g}", f"{time.spread:.0%}", str(len(time.runs_sec))]
        for name, time in (("iteration", steps), ("diversity", watch))
    ]
    click.echo(format_table(list(HEADER), rows))
    for kimg in TICKS_KIMG:
        num_iterations = max(kimg * 1000, DIVERSITY_NIMG) / batch
        share = watch.median_sec / (num_iterations * steps.median_sec)
        click.echo(f"With --tick={kimg}, watching takes {share:.2%} of the time of the iterations.")


if __name__ == "__main__":
    main()
