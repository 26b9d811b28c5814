"""A report about the kernels on a GPU: `python -m benchmarks.gpu_report`.

The report says whether the kernels are correct on the GPU, how fast they are in every layer
relative to the limits of the machine, how long compiling takes, and how fast synthesis and training
are. The command measures the kernels of a CPU, too.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import datetime
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import click
import torch

from benchmarks import gpu_sections, options, timing
from benchmarks.gpu_sections import Plan
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.report import Report, Section, write_report
from dnnlib import cli
from dnnlib.options import device_option, version_option
from torch_utils import devices
from torch_utils.ops.cuda import compiler as cuda_compiler
from training.config import CFGS

SECTIONS = ("correctness", "compile", "layers", "synthesis", "training")
TOTAL_SEC = 450  # with the start of the program, less than 8 minutes


@click.command(cls=cli.Command)
@click.option(
    "--out", type=cli.LocalPath(dir_okay=False, path_type=Path), help="Also write the report there."
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
@device_option
@version_option
@click.pass_context
def main(
    ctx: click.Context,
    out: Path | None,
    sections: list[str],
    quick: bool,
    seconds: float,
    device: str,
) -> None:
    """Check and measure kernels, synthesis and training on a GPU, and write a Markdown report.

    Takes less than 8 minutes: each section has a share of the time, and lists the parts that it
    leaves out for lack of time. A part that fails becomes a row with the error; the exit code is
    then 1.

    \b
    Examples:
      python -m benchmarks.gpu_report --out=report.md
      # Does it run at all?
      python -m benchmarks.gpu_report --quick --device=cpu --sections=correctness,layers
    """
    start = time.perf_counter()
    torch_device = devices.resolve_device(device)
    # Trying cuDNN's algorithms takes minutes.
    devices.configure_backends(torch_device, cudnn_benchmark=False)
    plan = Plan.tiny(torch_device) if quick else Plan(torch_device)
    if torch_device.type == "cpu":  # which has no kernels for float16
        plan = replace(plan, dtypes=tuple(t for t in plan.dtypes if t != torch.float16))
    report = make_report(plan, sections, seconds, out, start)
    click.echo(report.text)
    if report.failures:
        ctx.exit(1)


def make_report(
    plan: Plan, names: list[str], seconds: float, out: Path | None, start: float | None = None
) -> Report:
    """Measure the sections `names` and write what is finished to `out` each time.

    Args:
        plan: Sizes of the measurements.
        names: Some of `SECTIONS`.
        seconds: Time that this may take.
        out: File for the Markdown, or `None`.
        start: When the time began, see `report.write_report`.
    """
    peaks = measure_peaks(plan.device, torch.float32, *plan.peak_sizes)
    head = describe_setup(plan.device, peaks)
    sections = [section for section in all_sections(plan, peaks) if section.name in names]

    def save(text: str) -> None:
        if out is not None:
            out.write_text(text, encoding="utf-8")

    return write_report(head, sections, seconds, save, start)


def all_sections(plan: Plan, peaks: Peaks) -> list[Section]:
    """The sections of the report, in order; their shares add up to `TOTAL_SEC`."""
    return [
        Section(
            "correctness",
            "Correctness",
            "Largest error of all calls (those of the networks with few channels, and unusual "
            "ones) relative to the reference in float64: the norm of the difference over the norm. "
            "Kernels are the different ones that were launched; calls without any used the "
            "reference.",
            gpu_sections.CORRECTNESS_HEADER,
            60,
            lambda: gpu_sections.correctness_items(plan),
        ),
        Section(
            "compile",
            "Cold start",
            "All phases of training run once in a new process: with an empty cache of kernels, and "
            "again with what the first process left there.",
            gpu_sections.COMPILE_HEADER,
            60,
            lambda: [gpu_sections.compile_item(plan, cfg) for cfg in CFGS],
        ),
        Section(
            "layers",
            "Every layer",
            f"Batch {plan.layer_batch}; the floor of a call is its arithmetic at the rate of a "
            "float32 matrix product or its memory traffic at that of a copy, whichever takes "
            "longer (bound); the share is the floor relative to the time.",
            gpu_sections.LAYERS_HEADER,
            80,
            lambda: gpu_sections.layer_items(plan, peaks),
        ),
        Section(
            "synthesis",
            "Synthesis",
            "Images per second with a batch that fills the memory, beside the bare convolutions. "
            "In this section and the next, cuDNN chooses algorithms without trying them.",
            gpu_sections.SYNTHESIS_HEADER,
            70,
            lambda: gpu_sections.network_items(plan, gpu_sections.synthesis_rows),
        ),
        Section(
            "training",
            "Training",
            "Forward and backward passes of all phases, augmented, with a batch that fills the "
            "memory, beside the bare convolutions and their gradients.",
            gpu_sections.TRAINING_HEADER,
            180,
            lambda: gpu_sections.network_items(plan, gpu_sections.training_rows),
        ),
    ]


def describe_setup(device: torch.device, peaks: Peaks) -> str:
    """Machine, versions, date and measured peaks, as the head of a report."""
    lines = ["# Report of the kernels", "", f"- {timing.describe_machine(device)}"]
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        lines.append(f"- Memory {memory / 1e9:.1f} GB, driver {_driver_version()}")
        lines.append(f"- NVRTC {_nvrtc_version()}")
    lines.append(f"- {datetime.datetime.now().astimezone().isoformat(timespec='minutes')}")
    lines.append(f"- Measured peaks: {peaks}")
    return "\n".join(lines) + "\n"


def _driver_version() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown (no nvidia-smi)"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return next(iter(result.stdout.split()), "unknown")


def _nvrtc_version() -> str:
    try:
        return cuda_compiler.core().nvrtc_version
    except RuntimeError as error:
        return f"missing: {error}"


if __name__ == "__main__":
    main()
