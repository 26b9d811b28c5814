"""Iterations of training in `benchmarks/gpu_report.py`: s/kimg, and the dearest kernels."""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import iteration, memory, training
from benchmarks.gpu_plan import Plan
from benchmarks.networks import Training
from benchmarks.report import Item, Row
from torch_utils import devices
from training.config import Cfg

ITERATIONS_HEADER = (
    *("network", "batch", "s/kimg", "ms/iteration", "spread", "without R1 and path length ms"),
    *("bare convs ms", "ratio", "peak GB"),
)
PROFILE_HEADER = ("kernel", "network", "calls", "ms", "share", "all before")
NUM_KERNELS = 25
MAX_NAME = 110


def iteration_items(plan: Plan) -> list[Item]:
    """One item for each configuration; from here on, cuDNN tries its algorithms."""
    devices.configure_backends(plan.device)
    return [Item(cfg, functools.partial(_iteration_rows, plan, cfg)) for cfg in plan.batches]


def profile_items(plan: Plan) -> list[Item]:
    """One item for each configuration."""
    return [Item(cfg, functools.partial(_profile_rows, plan, cfg)) for cfg in plan.batches]


def _iteration_rows(plan: Plan, cfg: Cfg) -> Iterator[Row]:
    batch, device = plan.batches[cfg], plan.device
    setup = plan.setup(cfg, batch)
    with iteration.dataset(plan.resolution) as data:
        config = iteration.config_of(setup, data, device)
        with iteration.started(config, device) as run:
            run.warm_up(number=plan.num_iterations)
            memory.reset_peak(device)
            timed = run.measure(plan.num_iterations, plan.num_rounds)
            main = run.measure(min(3, plan.num_iterations))
            peak = memory.peak_bytes(device)
    networks = Training(setup, device)
    bare = {
        phase: training.measure_convolutions(networks, phase, device, plan.num_runs, budget_sec=0.5)
        for phase in networks.intervals
    }
    sec, bare_sec = timed.median_sec, training.mean_sec(setup, bare)
    row = [cfg, str(batch), f"{sec * 1000 / batch:.4g}", f"{sec * 1e3:.4g}", f"{timed.spread:.0%}"]
    row += [f"{main.median_sec * 1e3:.4g}", f"{bare_sec * 1e3:.4g}", f"{sec / bare_sec:.2f}"]
    yield [*row, memory.gigabytes(peak)]


def _profile_rows(plan: Plan, cfg: Cfg) -> Iterator[Row]:
    """The kernels of one iteration without R1 and path length that take the longest."""
    device = plan.device
    is_cuda = device.type == "cuda"
    with iteration.dataset(plan.resolution) as data:
        config = iteration.config_of(plan.setup(cfg, plan.batches[cfg]), data, device)
        with iteration.started(config, device) as run:
            run.warm_up()
            activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * is_cuda]
            with profile(activities=activities) as profiler:
                run.run(iteration.FIRST, 1)
                if is_cuda:
                    torch.cuda.synchronize(device)
    found = [(e, _own_us(e, is_cuda)) for e in profiler.key_averages() if _is_work(e, is_cuda)]
    total = sum(us for _, us in found)
    before = 0.0
    for event, us in sorted(found, key=lambda pair: -pair[1])[:NUM_KERNELS]:
        before += us
        name = " ".join(event.key.split())[:MAX_NAME]
        row = [f"`{name}`", cfg, str(event.count), f"{us / 1e3:.3f}"]
        yield [*row, f"{us / total:.1%}", f"{before / total:.1%}"]
    count = sum(event.count for event, _ in found)
    yield ["all", cfg, str(count), f"{total / 1e3:.3f}", "", ""]


def _is_work(event: Any, is_cuda: bool) -> bool:
    """Whether an entry is a kernel or a copy on the GPU, not a range; on CPUs, an operator."""
    if getattr(event, "is_user_annotation", False):
        return False
    if not is_cuda:
        return True
    return event.device_type == torch.autograd.DeviceType.CUDA


def _own_us(event: Any, is_cuda: bool) -> float:
    return event.self_device_time_total if is_cuda else event.self_cpu_time_total
