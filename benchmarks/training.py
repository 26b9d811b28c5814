"""Speed and memory of the phases of training: `python -m benchmarks.training`.

A phase is what `training_loop` runs in it, through the same loss, networks and augmentation: a
forward and a backward pass of one batch in one pass. The step of the optimizer is left out, which
is the same few milliseconds with any implementation of the ops, and so is loading images.
Augmentation is on with every transform of the standard pipeline in every image (p = 1; what it
costs does not depend on p), the blur that config R starts with is over.

Every measurement runs in a fresh process. Peak memory of the CPU is the largest resident set size
(`VmHWM` of Linux) less what was resident after training a tiny network: weights, activations,
gradients and everything that the allocator or a library keeps besides, but not Python and PyTorch
themselves. That of CUDA is `torch.cuda.max_memory_allocated`, of the timed runs.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import dataclasses
import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import click
import numpy as np
import torch

from benchmarks import calls, timing
from benchmarks.memory import gigabytes, peak_bytes, reset_peak, resident_bytes
from dnnlib import cli
from torch_utils import distributed, training_stats
from torch_utils.layers import check_resolution
from torch_utils.ops.selection import force_reference
from training import build
from training.config import CFGS, Cfg, TrainConfig, TrainOptions, make_config

PHASES = ("Gmain", "Greg", "Dmain", "Dreg")
# Of gradients and losses. Of the activations of a large network some are so close to zero that
# rounding decides about their slope; and networks use float16 on cuda.
MAX_ERROR = {"cpu": 1e-2, "cuda": 0.1, "mps": 1e-2}
TINY = dict(resolution=8, cbase=64, cmax=8)
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
@click.option(
    "--configs",
    type=cli.NameList(CFGS),
    default=",".join(CFGS),
    show_default=True,
    help="Networks to measure.",
)
@click.option(
    "--phases",
    type=cli.NameList(PHASES),
    default=",".join(PHASES),
    show_default=True,
    help="Phases to measure; Greg takes place in stylegan2 only.",
)
@click.option(
    "--resolution",
    type=cli.WholeNumber(),
    default=64,
    show_default=True,
    help="Size of the images.",
)
@click.option(
    "--batch", type=cli.WholeNumber(min=1), default=4, show_default=True, help="Images per pass."
)
@click.option(
    "--cbase",
    type=cli.WholeNumber(min=1),
    default=16384,
    show_default=True,
    help="Capacity multiplier, as for train.py.",
)
@click.option(
    "--cmax",
    type=cli.WholeNumber(min=1),
    default=256,
    show_default=True,
    help="Most feature maps per layer, as for train.py.",
)
@click.option("--skip-reference", is_flag=True, help="Measure without the reference ops.")
@click.option(
    "--repeat",
    type=cli.WholeNumber(min=1),
    help="Timed runs of each measurement, after one that is checked.  "
    f"[default: as many as fit into 2 seconds, {timing.MIN_RUNS} at least; one of the reference]",
)
@click.option(
    "--threads", type=cli.WholeNumber(min=1), help="CPU threads.  [default: as PyTorch chooses]"
)
@cli.device_option
@cli.version_option
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

    Prints one row per network and phase: the median time of an iteration, that of nothing but the
    convolutions in it and of their gradients (the limit that the machine sets) and the ratio of
    both; the same iteration with the reference ops; peak memory of both, and the memory relative to
    that of the reference. The row "mean" is an average iteration of these phases, to which those of
    lazy regularisation contribute less, and the highest of the peaks.

    Losses and gradients of the kernels are compared with those of the reference ops; "grad error"
    is the norm of the difference of all gradients relative to the norm of the gradients.

    \b
    Examples:
      # All configurations; takes about ten minutes on two CPU cores, most of it the reference.
      python -m benchmarks.training
      # The generator of one of them, without waiting for the reference.
      python -m benchmarks.training --configs=stylegan3-t --phases=Gmain --skip-reference
    """
    if not configs or not phases:
        raise click.BadParameter("name at least one of each", param_hint="--configs, --phases")
    try:
        check_resolution(resolution, minimum=8)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--resolution") from error
    torch_device = distributed.resolve_device(device)

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
class Setup:
    """What is trained."""

    cfg: Cfg
    resolution: int
    batch: int
    cbase: int
    cmax: int

    @property
    def config(self) -> TrainConfig:
        """The hyperparameters of `train.py` for this network."""
        options = TrainOptions(
            self.cfg,
            gpus=1,
            batch=self.batch,
            gamma=1,
            aug="fixed",
            p=1,
            cbase=self.cbase,
            cmax=self.cmax,
            mbstd_group=math.gcd(4, self.batch),
        )
        return make_config(options, training_set_kwargs={})

    @property
    def phases(self) -> dict[str, int]:
        """Its phases, and in each how many-th iteration they take place."""
        intervals = (1, self.config.G_reg_interval, 1, self.config.D_reg_interval)
        return {p: i for p, i in zip(PHASES, intervals, strict=True) if i is not None}


class Training:
    """Networks, augmentation and loss as `training_loop` sets them up, and one random batch."""

    def __init__(self, setup: Setup, device: torch.device) -> None:
        torch.manual_seed(0)
        config, size = setup.config, setup.resolution
        images = dict(c_dim=0, img_resolution=size, img_channels=3)
        G, D = build.build_networks(config, images, device)
        self.G = G.requires_grad_(False)
        self.D = D.requires_grad_(False)
        augment_pipe = build.build_augment_pipe(config, device)
        self.loss = build.build_loss(config, device, self.G, self.D, augment_pipe)
        self.intervals = setup.phases
        self.cur_nimg = int(self.loss.blur_fade_kimg * 1000)
        self.real_img = (torch.rand([setup.batch, 3, size, size]) * 2 - 1).to(device)
        self.gen_z = torch.randn([setup.batch, G.z_dim]).to(device)
        self.no_labels = torch.zeros([setup.batch, 0], device=device)

    def run(self, phase: str) -> None:
        """Run a phase on the batch, always with the same random numbers; gradients stay."""
        torch.manual_seed(0)
        module = self.module(phase)
        module.zero_grad(set_to_none=True)
        module.requires_grad_(True)
        self.loss.accumulate_gradients(
            phase=phase,
            real_img=self.real_img,
            real_c=self.no_labels,
            gen_z=self.gen_z,
            gen_c=self.no_labels,
            gain=self.intervals[phase],
            cur_nimg=self.cur_nimg,
        )
        module.requires_grad_(False)

    def gradients(self, phase: str) -> np.ndarray:
        """All gradients of the network that a phase trains, as one vector; zero where none is."""
        pairs = [(p, p.grad) for p in self.module(phase).parameters()]
        grads = [torch.zeros_like(p) if grad is None else grad for p, grad in pairs]
        return torch.cat([grad.flatten().double() for grad in grads]).cpu().numpy()

    def module(self, phase: str) -> torch.nn.Module:
        """The network that a phase trains."""
        return self.G if phase.startswith("G") else self.D


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
    """Run a phase once for its results, then time it; to be called in a fresh process.

    Args:
        setup: What is trained.
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
    device = distributed.resolve_device(device_type)
    distributed.configure_backends(device)
    training_stats.init_multiprocessing(0, None)
    with force_reference(use_reference):
        Training(dataclasses.replace(setup, **TINY), device).run(phase)  # loads all libraries
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
    if device.type == "cpu" and baseline is not None:
        peak = resident_bytes("VmHWM") - baseline
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
