"""Kernel launches of training, counted without a GPU: `python -m benchmarks.launches`.

Training in batches of 32 images of 256x256 pixels runs on the meta device, see `launch_counts.py`.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks import PROJECT_DIR, in_checkout, launch_counts, options, timing
from benchmarks.launch_counts import LIMITS, NETWORKS, OTHERS, PLACES
from dnnlib import cli
from dnnlib.options import version_option
from training.config import Cfg

HEADER = ("config", "phase", "interval", *PLACES, "total")
PER_ITERATION = "per iteration"
Result = dict[str, Any]  # of `launch_counts.measure`


@click.command(cls=cli.Command)
@options.networks(resolution=256)
@options.number("--batch", "Images per iteration, in one pass.", default=32)
@options.number(
    "--cuda", "Version of CUDA, 12 or 13: how many tensors PyTorch takes per launch.", 13
)
@options.number("--repeat", "Timed iterations.", default=5)
@options.checkout
@version_option
def main(
    configs: list[Cfg],
    resolution: int,
    batch: int,
    cbase: int,
    cmax: int,
    cuda: int,
    repeat: int,
    checkout: Path | None,
) -> None:
    """Count the kernels that an iteration of training launches on a GPU; needs no GPU.

    Prints one row per phase, with the launches by place, and one for an average iteration, to which
    a lazy phase contributes less because it runs less often. "iteration" is what belongs to no
    phase. Processor time is that of an iteration without lazy phases on the meta device, where the
    host does about the same as with a GPU, but never calls CUDA: the least of several runs.

    With --checkout, the other version comes first in each cell: before > after.

    \b
    Examples:
      python -m benchmarks.launches
      # Beside the version before.
      python -m benchmarks.launches --configs=stylegan3-t --checkout=../before
    """
    if cuda not in LIMITS:
        raise click.BadParameter(f"must be 12 or 13, got {cuda}", param_hint="--cuda")
    checkouts = [PROJECT_DIR] if checkout is None else [checkout.resolve(), PROJECT_DIR]
    rows: list[Sequence[str]] = []
    summaries = []
    for cfg in configs:
        click.echo(f"Measuring {cfg} ...", err=True)
        arguments = dict(
            cfg=cfg,
            resolution=resolution,
            batch=batch,
            cbase=cbase,
            cmax=cmax,
            cuda=cuda,
            num_runs=repeat,
        )
        results = [measure(path, arguments) for path in checkouts]
        rows += _rows(cfg, results)
        summaries.append(_summary(cfg, results))
    click.echo(timing.describe_machine(torch.device("cpu")))
    click.echo(
        f"{resolution}x{resolution} images, batch {batch}, cbase {cbase}, cmax {cmax}, augmented; "
        f"launches as of CUDA {cuda}"
    )
    click.echo()
    click.echo(timing.format_table(HEADER, rows))
    click.echo()
    click.echo("\n".join(summaries))


def measure(checkout: Path, arguments: dict[str, Any]) -> Result:
    """Call `launch_counts.measure` in a checkout, see `in_checkout.run_script`."""
    script = Path(launch_counts.__file__)
    return in_checkout.run_script(script, checkout, json.dumps(arguments))


def per_iteration(result: Result, places: Sequence[str]) -> float:
    """Launches of an average iteration at some places."""
    return sum(
        sum(by_place[place] for place in places) / result["intervals"][phase]
        for phase, by_place in result["launches"].items()
    )


def _rows(cfg: str, results: list[Result]) -> list[Sequence[str]]:
    """One row per phase, and the sum; results are side by side in each cell."""

    def cells(numbers: Callable[[Result, list[str]], float]) -> list[str]:
        columns = [*([place] for place in PLACES), list(PLACES)]
        return [" > ".join(f"{numbers(r, c):.0f}" for r in results) for c in columns]

    rows: list[Sequence[str]] = []
    for phase, interval in results[-1]["intervals"].items():

        def of_phase(result: Result, places: list[str], phase: str = phase) -> float:
            return sum(result["launches"][phase][place] for place in places)

        rows.append([cfg, phase, f"{interval}", *cells(of_phase)])
    return [*rows, [cfg, PER_ITERATION, "", *cells(per_iteration)]]


def _summary(cfg: str, results: list[Result]) -> str:
    parts = [
        f"{name} {' > '.join(f'{number(r):.{digits}f}' for r in results)}{_ratio(number, results)}"
        for name, digits, number in (
            ("launches of networks and losses", 0, lambda r: per_iteration(r, NETWORKS)),
            ("others", 1, lambda r: per_iteration(r, OTHERS)),
            ("processor time [ms]", 0, lambda r: r["cpu_sec"] * 1e3),
        )
    ]
    return f"{cfg}: {'; '.join(parts)}"


def _ratio(number: Callable[[Result], float], results: list[Result]) -> str:
    if len(results) == 1:
        return ""
    before, after = map(number, results)
    return f" ({before / after:.2f}x)"


if __name__ == "__main__":
    main()
