"""Whole iterations of small networks on the CPU, beside another checkout of this project.

An iteration is what `benchmarks/iteration.py` says: loading, phases, optimizers, health, averages.
The two checkouts take turns (`training_step_worker.py`), and what counts is the time of the
processor rather than of the clock, so that other programs on the machine do not decide.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import dataclasses
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import click
import torch

from benchmarks import PROJECT_DIR, checkout, options, timing
from benchmarks.networks import Setup
from dnnlib import cli
from dnnlib.errors import MachineError
from dnnlib.options import version_option

WORKER = Path(__file__).with_name("training_step_worker.py")
Precision = Literal["fp32", "bf16"]
CYCLE = 16  # iterations, in which each phase is due in its share
# Of the first scores, relative to their size; they are the same to rounding.
MAX_DIFFERENCE = {"fp32": 1e-3, "bf16": 0.1}
HEADER = ("setting", "augmentation", "before ms", "ms", "spread", "speedup")

SETTINGS: dict[str, Setup] = {
    "t-32": Setup("stylegan3-t", resolution=32, batch=4, cbase=512, cmax=32, precision="fp32"),
    "t-32-batch32": Setup(
        "stylegan3-t", resolution=32, batch=32, cbase=512, cmax=32, precision="fp32"
    ),
    "r-32": Setup("stylegan3-r", resolution=32, batch=4, cbase=512, cmax=32, precision="fp32"),
    "stylegan2-32": Setup(
        "stylegan2", resolution=32, batch=4, cbase=1024, cmax=64, precision="fp32"
    ),
    "t-64": Setup("stylegan3-t", resolution=64, batch=8, cbase=8192, cmax=256, precision="fp32"),
}
AUGMENTATIONS = ("noaug", "ada")


@click.command(cls=cli.Command)
@click.option(
    "--checkout",
    "folder",
    type=cli.LocalPath(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of the version of this project that comes before this one.",
)
@options.names("--settings", SETTINGS, "Networks and sizes.")
@options.names("--augmentations", AUGMENTATIONS, "As for --aug of train.py.")
@options.number("--rounds", "Turns of each version.", default=5)
@options.number("--iterations", "Iterations of a turn.", default=CYCLE)
@options.number("--threads", "CPU threads.", default=1)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    show_default=True,
    help="Of this version; the other one computes in float32.",
)
@version_option
def main(
    folder: Path,
    settings: list[str],
    augmentations: list[str],
    rounds: int,
    iterations: int,
    threads: int,
    precision: Precision,
) -> None:
    """Compare the processor time of a training iteration with that of another version.

    Prints milliseconds per iteration of both versions, the median of the turns, how far the turns
    of this version lie apart (relative to the median), and before / after. In a turn of 16
    iterations, each phase is due in its share. The scores of the first iteration must agree, so
    that both versions compute the same.

    \b
    Examples:
      git worktree add /tmp/before 57e5f2c
      python -m benchmarks.training_step --checkout=/tmp/before --settings=t-32,stylegan2-32
      # What bfloat16 gives; float32 takes 20 seconds an iteration here
      python -m benchmarks.training_step --checkout=/tmp/before --settings=t-64 \\
          --augmentations=noaug --precision=bf16 --iterations=2 --rounds=3
    """
    rows = []
    for name in settings:
        for aug in augmentations:
            click.echo(f"Measuring {name}, {aug} ...", err=True)
            before, after = compare(
                folder.resolve(), SETTINGS[name], aug, rounds, threads, iterations, precision
            )
            ms, ms_before = median(after) * 1e3, median(before) * 1e3
            spread = (max(after) - min(after)) / median(after)
            row = name, aug, f"{ms_before:.1f}", f"{ms:.1f}", f"{spread:.0%}"
            rows.append((*row, f"{ms_before / ms:.2f}"))
    torch.set_num_threads(threads)
    click.echo(timing.describe_machine(torch.device("cpu")))
    click.echo(f"Processor time of an iteration in {precision}; before, in fp32: {folder}")
    click.echo()
    click.echo(timing.format_table(HEADER, rows))


def compare(
    folder: Path,
    setup: Setup,
    aug: str,
    rounds: int,
    threads: int = 1,
    number: int = CYCLE,
    precision: Precision = "fp32",
) -> tuple[list[float], list[float]]:
    """Seconds per iteration of another version and of this one, in each turn.

    Raises:
        MachineError: If one of them fails, or the two compute something else.
    """
    settings = dict(aug=aug, threads=threads, number=number)
    setups = setup, dataclasses.replace(setup, precision=precision)
    sides: list[checkout.Side] = []
    found: tuple[list[float], list[float]] = [], []
    try:
        losses = []
        for where, of_side in zip((folder, PROJECT_DIR), setups, strict=True):
            settings["setup"] = dataclasses.asdict(of_side)
            sides.append(checkout.Side(where, settings, WORKER))
            losses.append(sides[-1].wait_until_ready()["losses"])
        before, after = losses
        check_same(before, after, MAX_DIFFERENCE[precision])
        for _ in range(rounds):
            for side, seconds in zip(sides, found, strict=True):
                seconds.append(side.measure()[0])
    except checkout.CheckoutError as error:
        raise MachineError(f"{where}: {error}") from error
    finally:
        for side in sides:
            side.close()
    return found


def check_same(before: dict[str, Any], after: dict[str, Any], max_difference: float) -> None:
    """Compare the first scores of two versions.

    Raises:
        MachineError: If they differ by more than rounding explains.
    """
    for name, expected in before.items():
        if not abs(after[name] - expected) <= max_difference * max(abs(expected), 1):
            raise MachineError(
                f"{name} of the first iteration is {after[name]:g}, before {expected:g}"
            )


if __name__ == "__main__":
    main()
