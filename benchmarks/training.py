"""Speed and memory of the phases of training: `python -m benchmarks.training`.

A phase runs the loss, networks and augmentation as `training_loop` runs them: a forward and a
backward pass of one batch, without accumulation. The benchmark leaves out loading images and the
step of the optimizer, which takes the same few milliseconds with any implementation of the ops.
Augmentation applies every transform of the standard pipeline to every image (p = 1; the cost does
not depend on p). The blur that config R starts with is over.

Every measurement runs in a fresh process. Peak memory of the CPU is the largest resident set size
(`VmHWM` of Linux) less what was resident after training a tiny network: weights, activations,
gradients and everything that the allocator or a library keeps besides, but not Python and PyTorch
themselves. That of CUDA is `torch.cuda.max_memory_allocated`, of the timed runs.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import dataclasses
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import click
import numpy as np
import torch

from benchmarks import calls, options, timing
from benchmarks.memory import gigabytes, peak_bytes, reset_peak, resident_bytes
from benchmarks.networks import PHASES, Setup, Training
from dnnlib import cli
from torch_utils import devices, training_stats
from torch_utils.ops.selection import force_reference
from training.config import Cfg

# Of gradients and losses. Some activations of a large network are so close to zero that rounding
# decides about their slope; on cuda, networks use float16.
MAX_ERROR = {"cpu": 1e-2, "cuda": 0.1, "mps": 1e-2}
HEADER = (
    "config",
    "phase",
    "sec/iter",
    "spread",
    "bare convs",
    "ratio",
    "ref sec/iter",
    "speedup",
    "peak GB",
    "ref GB",
    "memory",
    "grad error",
    "runs",
)


@click.command(cls=cli.Command)
@options.networks(resolution=64, minimum=8, cbase=16384, cmax=256)
@options.names("--phases", PHASES, "Phases to measure; only stylegan2 has Greg.")
@options.number("--batch", "Images per pass.", default=4)
@click.option("--skip-reference", is_flag=True, help="Measure without the reference ops.")
@options.repeat(
    "each measurement, after one that is checked",
    default="as many as fit into 2 seconds, {} at least; one of the reference",
)
@options.machine
def main(
    configs: list[Cfg],
    phases: list[str],
    resolution: int,
    batch: int,
    cbase: int,
    cmax: int,
    skip_reference: bool,
    repeat: int | None,
    threads: int | None,
    device: str,
) -> None:
    """Time the phases of training, and measure their peak memory, beside the reference ops.

    Prints one row per network and phase: the median time of an iteration, the time of its
    convolutions and their gradients alone (the limit that the machine sets), and the ratio of the
    two; the time with the reference ops; peak memory with the kernels and with the reference ops,
    and the ratio of the two. The row "mean" is an average iteration, to which the phases of lazy
    regularisation contribute less because they run less often, and the highest peak.

    Losses and gradients of the kernels are compared with those of the reference ops; "grad error"
    is the norm of the difference of all gradients relative to the norm of the gradients.

    \b
    Examples:
      # All configurations; takes about ten minutes on two CPU cores, most of it the reference.
      python -m benchmarks.training
      # The generator of one of them, without waiting for the reference.
      python -m benchmarks.training --configs=stylegan3-t --phases=Gmain --skip-reference
    """
    torch_device = devices.resolve_device(device)

    rows = []
    for cfg in configs:
        setup = Setup(cfg, resolution, batch, cbase, cmax)
        native, reference = {}, {}
        for phase in (name for name in setup.phases if name in phases):
            click.echo(f"Measuring {phase} of {cfg} ...", err=True)
            arguments = setup, phase, torch_device.type, threads
            native[phase] = in_fresh_process(measure_phase, *arguments, False, repeat)
            if not skip_reference:
                reference[phase] = in_fresh_process(measure_phase, *arguments, True, repeat or 1)
                check_close(native[phase], reference[phase], MAX_ERROR[torch_device.type])
            rows.append(_row(cfg, phase, native[phase], reference.get(phase)))
        if native:
            rows.append(_mean_row(setup, native, reference))
    if not rows:
        raise click.BadParameter("none of these takes place in --configs", param_hint="--phases")
    if threads is not None:
        torch.set_num_threads(threads)
    click.echo(timing.describe_machine(torch_device))
    click.echo(
        f"{resolution}x{resolution} images, batch {batch}, cbase {cbase}, cmax {cmax}, augmented; "
        "forward and backward passes, without the optimizer"
    )
    click.echo()
    click.echo(timing.format_table(HEADER, rows))


@dataclass(frozen=True)
class PhaseResult:
    """Measurement of a phase.

    Attributes:
        timed: Durations of the iterations.
        peak_bytes: Peak memory, `None` where it cannot be measured.
        bare_convs_sec: Duration of the convolutions alone; 0 with the reference ops, where it is
            not measured.
        losses: Means of what the loss reported in the first iteration.
        gradients: Gradients of the first iteration.
    """

    timed: timing.Timing[None]
    peak_bytes: int | None
    bare_convs_sec: float
    losses: dict[str, float]
    gradients: np.ndarray


def measure_phase(
    setup: Setup,
    phase: str,
    device_type: str,
    threads: int | None,
    use_reference: bool,
    num_runs: int | None,
) -> PhaseResult:
    """Run a phase once for its results, then time it. Call this in a fresh process.

    Args:
        setup: Networks and sizes.
        phase: A phase that takes place in it.
        device_type: Where.
        threads: CPU threads, `None` as PyTorch chooses.
        use_reference: Take the reference ops in place of the kernels.
        num_runs: Timed runs, see `timing.measure`.

    Raises:
        RuntimeError: If a gradient is not finite.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    device = devices.resolve_device(device_type)
    devices.configure_backends(device)
    training_stats.init_multiprocessing(0, None)
    with force_reference(use_reference):
        tiny = dataclasses.replace(setup, resolution=8, cbase=64, cmax=8)
        Training(tiny, device).run(phase)  # loads all libraries
        baseline = resident_bytes("VmRSS")
        training = Training(setup, device)
        collector = training_stats.Collector(regex="Loss/.*", keep_previous=False)
        collector.update()  # forgets the reports of the tiny run
        training.run(phase)
        gradients = training.gradients(phase)
        collector.update()
        losses = {name: collector.mean(name) for name in collector.names()}
        if not np.isfinite(gradients).all():
            raise RuntimeError(f"the gradients of {phase} of {setup.cfg} are not finite")
        reset_peak(device)  # the first run tried algorithms for convolutions
        timed = timing.measure(lambda: training.run(phase), device, num_runs, num_warmup=0)
    peak = peak_bytes(device)
    highest = resident_bytes("VmHWM")
    if device.type == "cpu" and baseline is not None and highest is not None:
        peak = highest - baseline
    bare_convs_sec = 0.0
    if not use_reference:
        bare_convs_sec = measure_convolutions(training, phase, device, num_runs)
    return PhaseResult(timed, peak, bare_convs_sec, losses, gradients)


def measure_convolutions(
    training: Training,
    phase: str,
    device: torch.device,
    num_runs: int | None = None,
    budget_sec: float = 2,
) -> float:
    """Seconds that the convolutions of a phase and their gradients take by themselves."""
    with calls.ConvolutionCallRecorder() as recorder:
        training.run(phase)
    training.module(phase).zero_grad(set_to_none=True)
    return calls.measure_calls(recorder.calls, device, num_runs, budget_sec)


def check_close(result: PhaseResult, reference: PhaseResult, max_error: float) -> None:
    """Compare losses and gradients with those of the reference ops.

    Raises:
        RuntimeError: If they differ by more than `max_error`, relative to their size.
    """
    if result.losses.keys() != reference.losses.keys() or not result.losses:
        raise RuntimeError(f"reported {list(result.losses)}, reference {list(reference.losses)}")
    for name, expected in reference.losses.items():
        if abs(result.losses[name] - expected) > max_error * max(abs(expected), 1):
            raise RuntimeError(
                f"{name} is {result.losses[name]:g}, with the reference ops {expected:g}"
            )
    error = gradient_error(result, reference)
    if error > max_error:
        raise RuntimeError(
            f"the gradients differ from the reference by {error:.2g} (allowed: {max_error:g})"
        )


def gradient_error(result: PhaseResult, reference: PhaseResult) -> float:
    """Norm of the difference of all gradients, relative to the norm of the gradients."""
    difference = result.gradients - reference.gradients
    return float(np.linalg.norm(difference) / np.linalg.norm(reference.gradients))


def mean_sec(setup: Setup, phase_sec: dict[str, float]) -> float:
    """Seconds of an average iteration, from those of its phases."""
    return sum(sec / setup.phases[phase] for phase, sec in phase_sec.items())


def in_fresh_process(function, *args):
    """Call a module-level function in a new process, and return its result.

    Raises:
        RuntimeError: If the process was ended from outside.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "the measuring process was killed, probably for want of memory; try a smaller "
                "--batch"
            ) from error


def _row(cfg: str, phase: str, native: PhaseResult, reference: PhaseResult | None) -> Sequence[str]:
    sec, bare = native.timed.median_sec, native.bare_convs_sec
    runs = f"{len(native.timed.runs_sec)}"
    row = [cfg, phase, f"{sec:.4g}", f"{native.timed.spread:.0%}", f"{bare:.4g}"]
    row.append(f"{sec / bare:.2f}")
    if reference is None:
        return [*row, "-", "-", gigabytes(native.peak_bytes), "-", "-", "-", runs]
    ref_sec = reference.timed.median_sec
    row += [f"{ref_sec:.4g}", f"{ref_sec / sec:.2f}"]
    row += _memory_cells(native.peak_bytes, reference.peak_bytes)
    return [
        *row,
        f"{gradient_error(native, reference):.1e}",
        f"{runs}+{len(reference.timed.runs_sec)}",
    ]


def _mean_row(
    setup: Setup, native: dict[str, PhaseResult], reference: dict[str, PhaseResult]
) -> Sequence[str]:
    sec, ref_sec = (
        mean_sec(setup, {phase: r.timed.median_sec for phase, r in results.items()})
        for results in (native, reference)
    )
    bare = mean_sec(setup, {phase: r.bare_convs_sec for phase, r in native.items()})
    peak, ref_peak = (
        max((r.peak_bytes or 0 for r in results.values()), default=0) or None
        for results in (native, reference)
    )
    row = [setup.cfg, "mean", f"{sec:.4g}", "", f"{bare:.4g}", f"{sec / bare:.2f}"]
    row += [f"{ref_sec:.4g}", f"{ref_sec / sec:.2f}"] if reference else ["-", "-"]
    return [*row, *_memory_cells(peak, ref_peak), "", ""]


def _memory_cells(peak: int | None, ref_peak: int | None) -> list[str]:
    share = "-" if peak is None or ref_peak is None else f"{peak / ref_peak:.0%}"
    return [gigabytes(peak), gigabytes(ref_peak), share]


if __name__ == "__main__":
    main()
