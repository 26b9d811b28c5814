"""All there is to know about a GPU in one report: `python -m benchmarks.gpu_report`.

Whoever has a GPU can run this one command and send what it writes: whether the kernels are right
there, how fast they are in every layer beside what the machine can do, how long compiling takes,
and what synthesis and training amount to. The same code measures the kernels of a CPU.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import datetime
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch

from benchmarks import accuracy, correctness, memory, ops, synthesis, timing, training
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.report import Incomplete, Item, Report, Rows, Section, write_report
from benchmarks.training import Setup, Training
from dnnlib import cli
from torch_utils import distributed
from torch_utils.ops.cuda import compiler as cuda_compiler
from torch_utils.ops.cuda.recorder import record_launches
from torch_utils.ops.kernel_cache import CACHE_DIR_VARIABLE
from training.config import CFGS, Cfg

SECTIONS = ("correctness", "compile", "layers", "synthesis", "training")
TOTAL_SEC = 450  # with the start of the program, less than 8 minutes
CORRECTNESS_HEADER = (
    *("op", "type", "layout", "calls", "kernels", "by reference"),
    *(*accuracy.ORDERS, "allowed", "worst", "verdict"),
)
COMPILE_HEADER = ("network", "first start s", "second start s", "files in cache", "NVRTC s")
LAYERS_HEADER = ("pass", "resolution", *ops.HEADER[:12], "error")
SYNTHESIS_HEADER = (
    *("network", "resolution", "batch", "images/s", "spread", "bare convs images/s"),
    *("ratio", "peak GB"),
)
TRAINING_HEADER = (
    *("network", "resolution", "batch", "s/kimg", "bare convs s/kimg", "ratio"),
    *("peak GB", "phases s/iteration"),
)
MIN_TRAINING_BATCH = 4  # what minibatch standard deviation needs


@click.command(cls=cli.Command)
@click.option(
    "--out", type=cli.LocalPath(dir_okay=False, path_type=Path), help="Also write the report there."
)
@click.option(
    "--sections",
    type=cli.NameList(SECTIONS),
    default=",".join(SECTIONS),
    show_default=True,
    help="Parts of the report.",
)
@click.option(
    "--quick", is_flag=True, help="Tiny networks and few runs, to see that everything works."
)
@click.option(
    "--seconds",
    type=cli.FiniteFloat(min=0),
    default=TOTAL_SEC,
    show_default=True,
    help="Time that the report may take.",
)
@cli.device_option
@cli.version_option
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

    Takes less than 8 minutes: each section has its share of the time, and says what it left out. A
    part that fails is a row with the error; the exit code is then 1.

    \b
    Examples:
      python -m benchmarks.gpu_report --out=report.md
      # Does it run at all?
      python -m benchmarks.gpu_report --quick --device=cpu --sections=correctness,layers
    """
    start = time.perf_counter()
    if not sections:
        raise click.BadParameter("name at least one section", param_hint="--sections")
    torch_device = distributed.resolve_device(device)
    # Trying cuDNN's algorithms takes minutes.
    distributed.configure_backends(torch_device, cudnn_benchmark=False)
    plan = Plan.tiny(torch_device) if quick else Plan(torch_device)
    if torch_device.type == "cpu":  # which has no kernels for float16
        plan = replace(plan, dtypes=tuple(t for t in plan.dtypes if t != torch.float16))
    report = make_report(plan, sections, seconds, out, start)
    click.echo(report.text)
    if report.failures:
        ctx.exit(1)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how large it is.

    Attributes:
        device: Where.
        resolutions: Sizes of the images.
        cbase: Capacity of the networks, as for `train.py`.
        cmax: Likewise.
        check_resolution: Size of the images behind the calls that are checked.
        layer_batch: Images per call of a layer.
        max_batch: Most images per pass of synthesis and training.
        dtypes: Types of the calls that are checked.
        num_runs: Timed runs of everything; `None` for as many as fit into a budget.
        peak_sizes: Arguments of `measure_peaks`.
    """

    device: torch.device
    resolutions: tuple[int, ...] = (256, 512)
    cbase: int = 32768
    cmax: int = 512
    check_resolution: int = 32
    layer_batch: int = 4
    max_batch: int = 256
    dtypes: tuple[torch.dtype, ...] = tuple(accuracy.MAX_ERROR)
    num_runs: int | None = None
    peak_sizes: tuple[int | None, int | None] = (None, None)

    @classmethod
    def tiny(cls, device: torch.device) -> "Plan":
        """A plan that takes seconds."""
        return cls(
            device,
            resolutions=(8,),
            cbase=64,
            cmax=8,
            check_resolution=8,
            layer_batch=1,
            max_batch=4,
            dtypes=(torch.float32,),
            num_runs=1,
            peak_sizes=(256, 1 << 20),
        )

    def setup(self, network: str, resolution: int, batch: int) -> Setup:
        """A network of `ops.NETWORKS` at some size."""
        return Setup(ops.cfg_of(network), resolution, batch, self.cbase, self.cmax)

    @property
    def networks(self) -> list[tuple[str, int]]:
        """Configurations and resolutions of synthesis and training."""
        return [(cfg, resolution) for resolution in self.resolutions for cfg in CFGS]


def make_report(
    plan: Plan, names: list[str], seconds: float, out: Path | None, start: float | None = None
) -> Report:
    """Measure the sections `names` and write what is finished to `out` each time.

    Args:
        plan: What is measured.
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
            CORRECTNESS_HEADER,
            60,
            lambda: correctness_items(plan),
        ),
        Section(
            "compile",
            "Cold start",
            "All phases of training run once in a new process: with an empty cache of kernels, and "
            "again with what the first process left there.",
            COMPILE_HEADER,
            60,
            lambda: [_compile_item(plan, cfg) for cfg in CFGS],
        ),
        Section(
            "layers",
            "Every layer",
            f"Batch {plan.layer_batch}; the floor of a call is its arithmetic at the rate of a "
            "float32 matrix product or its memory traffic at that of a copy, whichever takes "
            "longer (bound); the share is the floor relative to the time.",
            LAYERS_HEADER,
            80,
            lambda: layer_items(plan, peaks),
        ),
        Section(
            "synthesis",
            "Synthesis",
            "Images per second with a batch that fills the memory, beside the bare convolutions. "
            "In this section and the next, cuDNN chooses algorithms without trying them.",
            SYNTHESIS_HEADER,
            70,
            lambda: [_network_item(plan, synthesis_rows, *network) for network in plan.networks],
        ),
        Section(
            "training",
            "Training",
            "Forward and backward passes of all phases, augmented, with a batch that fills the "
            "memory, beside the bare convolutions and their gradients.",
            TRAINING_HEADER,
            180,
            lambda: [_network_item(plan, training_rows, *network) for network in plan.networks],
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


def correctness_items(plan: Plan) -> list[Item]:
    """One item for each op, type and layout, after one that compiles their CUDA kernels."""
    found = correctness.calls_to_try(plan.check_resolution, plan.device)
    is_cuda = plan.device.type == "cuda"

    def compile_all() -> Rows:
        start = time.perf_counter()
        count = correctness.compile_kernels(found, plan.dtypes, plan.device)
        row = ["all", "all", "all", str(2 * len(plan.dtypes) * len(found)), str(count)]
        sec = time.perf_counter() - start
        return [[*row, *[""] * (len(CORRECTNESS_HEADER) - 6), f"compiled in {sec:.1f} s"]]

    def item(op: str, dtype: torch.dtype, channels_last: bool) -> Item:
        type_name = str(dtype).removeprefix("torch.")
        layout = "channels_last" if channels_last else "contiguous"

        def measure() -> Rows:
            calls = [call for call in found if call.op == op]
            result = correctness.measure_errors(calls, dtype, channels_last, plan.device)
            kernels = [str(result.num_kernels), str(result.num_by_reference)]
            row = [op, type_name, layout, str(result.num_calls)]
            row += kernels if is_cuda else ["-", "-"]
            row += [f"{error:.1e}" for error in result.largest]
            row += [f"{accuracy.MAX_ERROR[dtype]:g}", result.worst[0]]
            if result.failures:
                raise Incomplete("; ".join(result.failures), [[*row, "WRONG"]])
            return [[*row, "ok"]]

        return Item(f"{op} {type_name} {layout}", measure)

    items = [Item("compile", compile_all)] if is_cuda else []
    for dtype in plan.dtypes:
        items += [item(op, dtype, is_last) for op in ops.OPS for is_last in (False, True)]
    return items


def layer_items(plan: Plan, peaks: Peaks) -> list[Item]:
    """One item for each network, resolution and pass."""

    def item(network: str, resolution: int, with_grad: bool) -> Item:
        name = "forward and backward" if with_grad else "forward"

        def measure() -> Rows:
            setup = plan.setup(network, resolution, plan.layer_batch)
            results, failures = [], []
            for call in ops.network_calls(network, setup, plan.device):
                try:
                    results.append(_measure_layer(plan, call, with_grad))
                except Exception as error:  # other layers may be fine
                    failures.append(f"{call.op} of {call.layer}: {error}")
            rows = ops.format_rows(network, results, peaks)
            rows = [[name, str(resolution), *row[:12], row[-1]] for row in rows]
            if failures:
                raise Incomplete("; ".join(failures), rows)
            return rows

        return Item(f"{network} {resolution} {name}", measure)

    return [
        item(network, resolution, with_grad)
        for resolution in plan.resolutions
        for with_grad in (False, True)
        for network in ops.NETWORKS
    ]


def synthesis_rows(plan: Plan, cfg: Cfg, resolution: int) -> Rows:
    """Measure one synthesis network."""
    device = plan.device
    G = synthesis.build_generator(cfg, resolution, plan.cbase, plan.cmax).to(device)

    def run(batch: int, force_fp32: bool = True) -> None:  # float32 is what is checked
        ws = torch.zeros([batch, G.num_ws, G.w_dim], device=device)
        with torch.no_grad():
            G.synthesis(ws, noise_mode="const", force_fp32=force_fp32)

    def measure(batch: int) -> tuple[synthesis.SynthesisResult, int | None]:
        memory.reset_peak(device)
        run(batch, force_fp32=False)
        peak = memory.peak_bytes(device)
        return synthesis.measure_synthesis(G.synthesis, batch, num_runs=plan.num_runs), peak

    batch = memory.filling_batch(run, device, 1, plan.max_batch)
    batch, (result, peak) = memory.measure_filling(measure, batch, 1)
    sec, bare_sec = result.network.median_sec, result.bare_convs.median_sec
    row = [cfg, str(resolution), str(batch), f"{batch / sec:.4g}", f"{result.network.spread:.0%}"]
    return [[*row, f"{batch / bare_sec:.4g}", f"{result.ratio:.2f}", memory.gigabytes(peak)]]


def training_rows(plan: Plan, cfg: Cfg, resolution: int) -> Rows:
    """Measure all phases of training of one configuration."""
    device, smallest = plan.device, MIN_TRAINING_BATCH

    def run(batch: int) -> None:
        Training(plan.setup(cfg, resolution, batch), device).run("Gmain")

    def measure(batch: int) -> tuple[dict[str, float], dict[str, float], int | None]:
        networks = Training(plan.setup(cfg, resolution, batch), device)
        memory.reset_peak(device)
        phase_sec, bare_sec = {}, {}
        for phase in networks.intervals:
            step = functools.partial(networks.run, phase)
            timed = timing.measure(step, device, plan.num_runs or 1)  # seconds with large batches
            phase_sec[phase] = timed.median_sec
        peak = memory.peak_bytes(device)
        for phase in networks.intervals:
            bare_sec[phase] = training.measure_convolutions(
                networks, phase, device, plan.num_runs, budget_sec=0.5
            )
        return phase_sec, bare_sec, peak

    batch = memory.filling_batch(run, device, smallest, plan.max_batch)
    batch, (phase_sec, bare_sec, peak) = memory.measure_filling(measure, batch, smallest)
    setup = plan.setup(cfg, resolution, batch)
    sec, bare = training.mean_sec(setup, phase_sec), training.mean_sec(setup, bare_sec)
    row = [cfg, str(resolution), str(batch), f"{sec * 1000 / batch:.4g}"]
    row += [f"{bare * 1000 / batch:.4g}", f"{sec / bare:.2f}", memory.gigabytes(peak)]
    return [[*row, ", ".join(f"{phase} {value:.3g}" for phase, value in phase_sec.items())]]


def start_network(setup: Setup, device_type: str, cache_dir: str) -> tuple[float, float]:
    """Run all phases of training once with kernels cached in a folder; in a fresh process.

    Returns:
        Seconds that this took, and of compiling all CUDA kernels that it launched (0 on CPUs).
    """
    os.environ[CACHE_DIR_VARIABLE] = cache_dir
    device = distributed.resolve_device(device_type)
    distributed.configure_backends(device, cudnn_benchmark=False)
    run = Training(setup, device)
    start = time.perf_counter()
    for phase in run.intervals:
        run.run(phase)
    distributed.synchronize(device)
    start_sec = time.perf_counter() - start
    if device.type != "cuda":
        return start_sec, 0.0
    with record_launches() as kernels:
        for phase in run.intervals:
            run.run(phase)
    arch = "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    compiled = [cuda_compiler.compile_cubin(*kernel, arch) for kernel in kernels]
    return start_sec, sum(cubin.compile_sec for cubin in compiled)


def _measure_layer(plan: Plan, call: ops.OpCall, with_grad: bool) -> ops.CallResult:
    return ops.measure_call(
        call,
        plan.device,
        with_grad=with_grad,
        with_reference=False,
        num_runs=plan.num_runs,
        budget_sec=0.05,
    )


def _compile_item(plan: Plan, cfg: str) -> Item:
    def measure() -> Rows:
        setup = plan.setup(cfg, plan.resolutions[0], MIN_TRAINING_BATCH)
        with tempfile.TemporaryDirectory() as folder:
            arguments = start_network, setup, plan.device.type, folder
            first_sec, nvrtc_sec = training.in_fresh_process(*arguments)
            num_files = len(list(Path(folder).iterdir()))
            second_sec, _ = training.in_fresh_process(*arguments)
        nvrtc = f"{nvrtc_sec:.2f}" if plan.device.type == "cuda" else "-"
        return [[cfg, f"{first_sec:.2f}", f"{second_sec:.2f}", str(num_files), nvrtc]]

    return Item(cfg, measure)


def _network_item(plan: Plan, function: Callable[..., Rows], cfg: str, resolution: int) -> Item:
    return Item(f"{cfg} {resolution}", lambda: function(plan, cfg, resolution))


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
