"""A report about training on a GPU: `python -m benchmarks.gpu_report`.

The report says what the machine lacks, whether the kernels are correct on the GPU, how fast they
are in every layer relative to the limits of the machine, how fast training and synthesis are, what
takes the time, and which of several ways to compute is the fastest. Every row is written as soon as
it is measured. The command measures a CPU, too.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

if __name__ == "__main__":  # the other imports need packages
    from benchmarks import environment

    environment.require_packages()

import contextlib
import datetime
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import torch

from benchmarks import (
    checkout,
    comparisons,
    environment,
    gpu_iterations,
    gpu_sections,
    gpu_tests,
    graphs,
    options,
    side_by_side,
    timing,
)
from benchmarks.gpu_plan import Plan
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.report import Report, Section, write_report
from dnnlib import cli
from dnnlib.options import device_option, version_option
from torch_utils import devices

SECTIONS = (
    *("kernels", "correctness", "tests", "layers", "training", "profile", "comparisons"),
    *("graphs", "checkout", "synthesis", "start"),
)
TOTAL_SEC = 510  # with the start of the program, less than 9 minutes


@click.command(cls=cli.Command)
@click.option(
    "--out",
    type=cli.LocalPath(dir_okay=False, path_type=Path),
    help="Also append the report to this file, row by row.",
)
@options.names("--sections", SECTIONS, "Parts of the report.")
@click.option("--quick", is_flag=True, help="Tiny networks and few runs, as a test.")
@click.option(
    "--seconds",
    type=cli.FiniteFloat(min=0),
    default=TOTAL_SEC,
    show_default=True,
    help="Time that the report may take.",
)
@click.option(
    "--checkout",
    "other",
    type=cli.LocalPath(file_okay=False, exists=True, path_type=Path),
    help="Compare with another checkout that has the same public names, e.g. the published one.",
)
@device_option
@version_option
@click.pass_context
def main(
    ctx: click.Context,
    out: Path | None,
    sections: list[str],
    quick: bool,
    seconds: float,
    other: Path | None,
    device: str,
) -> None:
    """Check and measure kernels, training and synthesis on a GPU, and write a Markdown report.

    Takes less than 9 minutes: each section has a share of the time, and lists the parts that it
    leaves out for lack of time. Every row is written when it is measured, so a report that is
    stopped has lost nothing. A part that fails becomes a row with the error; the exit code is then
    1. The first line says which packages and tools are missing.

    \b
    Examples:
      python -m benchmarks.gpu_report --out=report.md
      # Does it run at all?
      python -m benchmarks.gpu_report --quick --device=cpu
      # Beside another implementation.
      python -m benchmarks.gpu_report --sections=training,checkout --checkout=../stylegan3
    """
    start = time.perf_counter()
    torch_device = devices.resolve_device(device)
    if other is not None:
        other = other.resolve()
        checkout.check(other)
    # Trying cuDNN's algorithms for every call of the reference would take minutes.
    devices.configure_backends(torch_device, cudnn_benchmark=False)
    plan = Plan.tiny(torch_device) if quick else Plan(torch_device)
    if torch_device.type == "cpu":  # which has no kernels for float16
        plan = replace(plan, dtypes=tuple(t for t in plan.dtypes if t != torch.float16))
    report = make_report(plan, sections, seconds, out, start, other)
    if report.failures:
        ctx.exit(1)


def make_report(
    plan: Plan,
    names: list[str],
    seconds: float,
    out: Path | None,
    start: float | None = None,
    other: Path | None = None,
) -> Report:
    """Measure the sections `names`; print every row at once, and append it to `out`.

    Args:
        plan: Sizes of the measurements.
        names: Some of `SECTIONS`.
        seconds: Time that this may take.
        out: File for the Markdown, or `None`.
        start: When the time began, see `report.write_report`.
        other: Another checkout to compare with, or `None`.
    """
    with contextlib.ExitStack() as stack:
        write = writer(stack, out)
        write(f"{environment.missing_line(plan.device.type)}\n\n")
        if other is not None and "checkout" in names:
            stack.callback(checkout.build_plugins(plan, other).close)
        peaks = measure_peaks(plan.device, torch.float32, *plan.peak_sizes)
        head = describe_setup(plan.device, peaks)
        sections = [
            section for section in all_sections(plan, peaks, other) if section.name in names
        ]
        return write_report(head, sections, seconds, write, start)


def writer(stack: contextlib.ExitStack, out: Path | None) -> Callable[[str], None]:
    """A function that prints a text and appends it to a file, and keeps nothing back."""
    file = None if out is None else stack.enter_context(out.open("a", encoding="utf-8"))

    def write(text: str) -> None:
        if file is not None:
            file.write(text)
            file.flush()
        click.echo(text, nl=False)  # flushes

    return write


def all_sections(plan: Plan, peaks: Peaks, other: Path | None = None) -> list[Section]:
    """The sections of the report, in order."""
    size = f"{plan.resolution}x{plan.resolution}"
    sections = [
        Section(
            "kernels",
            "Kernels",
            "The CUDA kernels that the other sections launch, found by running networks and ops on "
            "the meta device; those that the cache lacks are compiled on all cores. The kernels of "
            "training are in the cache when those of the next row are looked for.",
            gpu_sections.BUILDS_HEADER,
            30,
            lambda: gpu_sections.build_items(plan),
        ),
        Section(
            "correctness",
            "Correctness",
            "Largest error of all calls (those of the networks with few channels, and unusual "
            "ones) relative to the reference in float64: the norm of the difference over the norm. "
            "Kernels are the different ones that are launched on CUDA; calls without any use the "
            "reference.",
            gpu_sections.CORRECTNESS_HEADER,
            50,
            lambda: gpu_sections.correctness_items(plan),
        ),
        Section(
            "tests",
            "Tests",
            "The tests marked `gpu`, and launches under compute-sanitizer.",
            gpu_tests.HEADER,
            90,
            lambda: gpu_tests.items(plan),
        ),
        Section(
            "layers",
            "Every layer",
            f"{size}, batch {plan.layer_batch}; the floor of a call is its arithmetic at the rate "
            "of a float32 matrix product or its memory traffic at that of a copy, whichever takes "
            "longer (bound); the share is the floor relative to the time.",
            gpu_sections.LAYERS_HEADER,
            50,
            lambda: gpu_sections.layer_items(plan, peaks),
        ),
        Section(
            "training",
            "Training",
            f"Whole iterations at {size}, as `train.py` runs them: data, phases, optimizers, "
            f"average of the weights, adaptive augmentation. Mean of {plan.num_iterations}, beside "
            "the bare convolutions and their gradients. From here on, cuDNN tries its algorithms.",
            gpu_iterations.ITERATIONS_HEADER,
            80,
            lambda: gpu_iterations.iteration_items(plan),
        ),
        Section(
            "profile",
            "The dearest kernels",
            "Of one iteration without R1 and path length, by the profiler of PyTorch.",
            gpu_iterations.PROFILE_HEADER,
            40,
            lambda: gpu_iterations.profile_items(plan),
        ),
        Section(
            "comparisons",
            "Comparisons",
            "The sides take turns in one process. T and R: whole iterations without R1, or forward "
            "and backward passes of single operations.",
            side_by_side.HEADER,
            110,
            lambda: comparisons.items(plan),
        ),
        Section(
            "graphs",
            "CUDA graphs",
            f"Forward and backward passes of a phase in batches of {plan.graph_batch}, launched by "
            "Python and repeated by a graph. Gradients: their norm relative to the usual one, with "
            "other random numbers.",
            graphs.HEADER,
            45,
            lambda: graphs.items(plan),
        ),
        Section(
            "checkout",
            "Beside another checkout",
            "The same iterations (phases, optimizers, average of the weights) in a process per "
            "checkout; the processes take turns. Ratio: time relative to this checkout.",
            checkout.HEADER,
            110,
            lambda: [] if other is None else checkout.items(plan, other),
        ),
        Section(
            "synthesis",
            "Synthesis",
            f"Images of {size} per second, beside the bare convolutions.",
            gpu_sections.SYNTHESIS_HEADER,
            30,
            lambda: gpu_sections.synthesis_items(plan),
        ),
        Section(
            "start",
            "Cold start",
            "All phases of training run once in a new process: with an empty cache of kernels, and "
            "again with what the first process left there.",
            gpu_sections.COMPILE_HEADER,
            40,
            lambda: gpu_sections.start_items(plan),
        ),
    ]
    return [section for section in sections if section.name != "checkout" or other is not None]


def describe_setup(device: torch.device, peaks: Peaks) -> str:
    """Machine, versions, date and measured peaks, as the head of a report."""
    lines = ["# Report of a GPU", "", f"- {timing.describe_machine(device)}"]
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        lines.append(f"- Memory {memory / 1e9:.1f} GB")
    lines += [f"- {line}" for line in environment.version_lines(device.type)]
    lines.append(f"- {datetime.datetime.now().astimezone().isoformat(timespec='minutes')}")
    lines.append(f"- Measured peaks: {peaks}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
