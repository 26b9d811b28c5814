"""Kernels in `benchmarks/gpu_report.py`: builds, correctness, layers, synthesis, cold starts."""

import functools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import (
    accuracy,
    correctness,
    kernel_builds,
    memory,
    op_calls,
    ops,
    synthesis,
    training,
)
from benchmarks.gpu_plan import Plan as Plan
from benchmarks.networks import Setup, Training, build_generator
from benchmarks.peaks import Peaks
from benchmarks.report import Incomplete, Item, Row, Rows
from torch_utils import devices
from torch_utils.ops.cuda import compiler
from torch_utils.ops.cuda.recorder import Kernel
from torch_utils.ops.kernel_cache import CACHE_DIR_VARIABLE
from training.config import CFGS, Cfg

BUILDS_HEADER = ("kernels of", "number", "found in cache", "compiled", "failed", "s", "NVRTC CPU s")
CORRECTNESS_HEADER = (
    *("op", "type", "layout", "calls", "kernels", "by reference"),
    *(*accuracy.ORDERS, "allowed", "worst", "verdict"),
)
COMPILE_HEADER = ("network", "first start s", "second start s", "files in cache", "NVRTC s")
LAYERS_HEADER = ("pass", *ops.HEADER[:12], "error")
SYNTHESIS_HEADER = (
    *("network", "batch", "images/s", "spread", "bare convs images/s"),
    *("ratio", "peak GB"),
)
START_BATCH = 4  # for a cold start; what minibatch standard deviation needs


def build_items(plan: Plan) -> list[Item]:
    """Two items for all kernels that the other sections launch."""

    def measure() -> Rows:
        return _build_row(plan, "training", kernels_of_training(plan))

    def measure_others() -> Rows:
        calls = correctness.calls_to_try(plan.check_resolution, plan.device)
        return _build_row(plan, "correctness", correctness.kernels_of(calls, plan.dtypes))

    # The second item runs networks on the device, for which the first one compiles.
    return [Item("training", measure), Item("correctness", measure_others)]


def kernels_of_training(plan: Plan) -> set[Kernel]:
    """The kernels of all networks: those that are timed, and those whose calls are checked."""
    kernels: set[Kernel] = set()
    for cfg, batch in plan.batches.items():
        kernels |= kernel_builds.kernels_of_training(plan.setup(cfg, batch))
        small = correctness.setup_of_calls(cfg, plan.check_resolution)
        kernels |= kernel_builds.kernels_of_training(small)
    return kernels


def _build_row(plan: Plan, name: str, kernels: set[Kernel]) -> Rows:
    if plan.device.type != "cuda":
        return [[name, str(len(kernels)), "not compiled without a GPU", *[""] * 4]]
    built = kernel_builds.build(kernels, compiler.arch_of(plan.device))
    counts = (len(kernels), built.num_found, built.num_compiled, len(built.failures))
    row = [name, *map(str, counts), f"{built.seconds:.1f}", f"{built.nvrtc_sec:.1f}"]
    if built.failures:
        texts = (f"{kernel}: {reason}" for (_, kernel), reason in built.failures.items())
        raise Incomplete("; ".join(texts), [row])
    return [row]


def correctness_items(plan: Plan) -> list[Item]:
    """One item for each op, type and layout."""
    found = correctness.calls_to_try(plan.check_resolution, plan.device)

    def item(op: str, dtype: torch.dtype, channels_last: bool) -> Item:
        type_name = str(dtype).removeprefix("torch.")
        layout = "channels_last" if channels_last else "contiguous"

        def measure() -> Rows:
            calls = [call for call in found if call.op == op]
            result = correctness.measure_errors(calls, dtype, channels_last, plan.device)
            row = [op, type_name, layout, str(result.num_calls)]
            row += [str(result.num_kernels), str(result.num_by_reference)]
            row += [f"{error:.1e}" for error in result.largest]
            row += [f"{accuracy.MAX_ERROR[dtype]:g}", result.worst[0]]
            if result.failures:
                raise Incomplete("; ".join(result.failures), [[*row, "WRONG"]])
            return [[*row, "ok"]]

        return Item(f"{op} {type_name} {layout}", measure)

    return [
        item(op, dtype, is_last)
        for dtype in plan.dtypes
        for op in op_calls.OPS
        for is_last in (False, True)
    ]


def layer_items(plan: Plan, peaks: Peaks) -> list[Item]:
    """One item for each network and pass."""

    def item(network: str, with_grad: bool) -> Item:
        name = "forward and backward" if with_grad else "forward"

        def measure() -> Rows:
            setup = plan.setup(network, plan.layer_batch)
            results, failures = [], []
            for call in op_calls.network_calls(network, setup, plan.device):
                try:
                    results.append(_measure_layer(plan, call, with_grad))
                except Exception as error:  # other layers may be fine
                    failures.append(f"{call.op} of {call.layer}: {error}")
            rows = ops.format_rows(network, results, peaks)
            rows = [[name, *row[:12], row[-1]] for row in rows]
            if failures:
                raise Incomplete("; ".join(failures), rows)
            return rows

        return Item(f"{network} {name}", measure)

    return [item(network, grad) for grad in (False, True) for network in op_calls.NETWORKS]


def synthesis_items(plan: Plan) -> list[Item]:
    """One item for each configuration; from here on, cuDNN tries its algorithms."""
    devices.configure_backends(plan.device)

    def rows(cfg: Cfg) -> Iterator[Row]:
        G = build_generator(cfg, plan.resolution, plan.cbase, plan.cmax).to(plan.device)
        for batch in plan.synthesis_batches:
            memory.reset_peak(plan.device)
            result = synthesis.measure_synthesis(G, batch, num_runs=plan.num_runs)
            sec, bare_sec = result.network.median_sec, result.bare_convs.median_sec
            row = [cfg, str(batch), f"{batch / sec:.4g}", f"{result.network.spread:.0%}"]
            row += [f"{batch / bare_sec:.4g}", f"{result.ratio:.2f}"]
            yield [*row, memory.gigabytes(memory.peak_bytes(plan.device))]

    return [Item(cfg, functools.partial(rows, cfg)) for cfg in CFGS]


def start_items(plan: Plan) -> list[Item]:
    """One item for each configuration."""
    return [compile_item(plan, cfg) for cfg in plan.start_cfgs]


def compile_item(plan: Plan, cfg: Cfg) -> Item:
    """The first start of a network, with an empty cache of kernels, and the second."""

    def measure() -> Rows:
        setup = plan.setup(cfg, START_BATCH)
        nvrtc_sec = "-"
        with tempfile.TemporaryDirectory() as folder:
            arguments = start_network, setup, plan.device.type, folder
            first_sec, compile_sec = training.in_fresh_process(*arguments)
            if plan.device.type == "cuda":
                nvrtc_sec = f"{compile_sec:.2f}"
            num_files = len(list(Path(folder).iterdir()))
            second_sec, _ = training.in_fresh_process(*arguments)
        return [[cfg, f"{first_sec:.2f}", f"{second_sec:.2f}", str(num_files), nvrtc_sec]]

    return Item(cfg, measure)


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
    kernels = kernel_builds.kernels_of_training(setup)
    return start_sec, kernel_builds.build(kernels, compiler.arch_of(device)).nvrtc_sec


def _measure_layer(plan: Plan, call: op_calls.OpCall, with_grad: bool) -> ops.CallResult:
    return ops.measure_call(
        call,
        plan.device,
        with_grad=with_grad,
        with_reference=False,
        num_runs=plan.num_runs,
        budget_sec=0.05,
    )
