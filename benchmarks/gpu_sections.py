"""Measurements of the sections of `benchmarks/gpu_report.py`: rows for their tables."""

import functools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import accuracy, correctness, memory, op_calls, ops, synthesis, timing, training
from benchmarks.networks import Setup, Training, build_generator
from benchmarks.peaks import Peaks
from benchmarks.report import Incomplete, Item, Rows
from torch_utils import devices
from torch_utils.ops.cuda import compiler as cuda_compiler
from torch_utils.ops.cuda.recorder import record_launches
from torch_utils.ops.kernel_cache import CACHE_DIR_VARIABLE
from training.config import CFGS, Cfg

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


@dataclass(frozen=True)
class Plan:
    """The sizes of all measurements.

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
        """A network of `op_calls.NETWORKS` at some size."""
        return Setup(op_calls.cfg_of(network), resolution, batch, self.cbase, self.cmax)


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
        items += [item(op, dtype, is_last) for op in op_calls.OPS for is_last in (False, True)]
    return items


def layer_items(plan: Plan, peaks: Peaks) -> list[Item]:
    """One item for each network, resolution and pass."""

    def item(network: str, resolution: int, with_grad: bool) -> Item:
        name = "forward and backward" if with_grad else "forward"

        def measure() -> Rows:
            setup = plan.setup(network, resolution, plan.layer_batch)
            results, failures = [], []
            for call in op_calls.network_calls(network, setup, plan.device):
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
        for network in op_calls.NETWORKS
    ]


def synthesis_rows(plan: Plan, cfg: Cfg, resolution: int) -> Rows:
    """Measure one synthesis network."""
    device = plan.device
    G = build_generator(cfg, resolution, plan.cbase, plan.cmax).to(device)

    def run(batch: int, force_fp32: bool = True) -> None:  # float32 is what is checked
        ws = torch.zeros([batch, G.num_ws, G.w_dim], device=device)
        with torch.no_grad():
            G.synthesis(ws, noise_mode="const", force_fp32=force_fp32)

    def measure(batch: int) -> tuple[synthesis.SynthesisResult, int | None]:
        memory.reset_peak(device)
        run(batch, force_fp32=False)
        peak = memory.peak_bytes(device)
        return synthesis.measure_synthesis(G, batch, num_runs=plan.num_runs), peak

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
    device = devices.resolve_device(device_type)
    devices.configure_backends(device, cudnn_benchmark=False)
    run = Training(setup, device)
    start = time.perf_counter()
    for phase in run.intervals:
        run.run(phase)
    devices.synchronize(device)
    start_sec = time.perf_counter() - start
    if device.type != "cuda":
        return start_sec, 0.0
    with record_launches() as kernels:
        for phase in run.intervals:
            run.run(phase)
    arch = "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    compiled = [cuda_compiler.compile_cubin(*kernel, arch) for kernel in kernels]
    return start_sec, sum(cubin.compile_sec for cubin in compiled)


def _measure_layer(plan: Plan, call: op_calls.OpCall, with_grad: bool) -> ops.CallResult:
    return ops.measure_call(
        call,
        plan.device,
        with_grad=with_grad,
        with_reference=False,
        num_runs=plan.num_runs,
        budget_sec=0.05,
    )


def compile_item(plan: Plan, cfg: str) -> Item:
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


def network_items(plan: Plan, measure: Callable[[Plan, Cfg, int], Rows]) -> list[Item]:
    """One item for each configuration and resolution of a plan."""
    return [
        Item(f"{cfg} {resolution}", functools.partial(measure, plan, cfg, resolution))
        for resolution in plan.resolutions
        for cfg in CFGS
    ]
