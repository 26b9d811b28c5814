"""Phases of training with and without CUDA graphs, for `benchmarks/gpu_report.py`.

A graph holds the forward and backward passes of a phase, whose launches it repeats without Python.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import torch

from benchmarks import memory, timing, training
from benchmarks.gpu_plan import Plan
from benchmarks.networks import Setup, Training
from benchmarks.report import Incomplete, Item, Row, Rows
from torch_utils import devices

HEADER = ("network", "phase", "batch", "ms", "with a graph ms", "speedup", "gradients")
NUM_WARMUPS = 3


def items(plan: Plan) -> list[Item]:
    """One item for each configuration, in its own process: a failed capture may leave traces."""

    def measure(setup: Setup) -> Rows:
        memory.release(plan.device)
        arguments = setup, plan.device.type, plan.num_runs
        rows, failures = training.in_fresh_process(measure_phases, *arguments)
        if failures:
            raise Incomplete("; ".join(failures), rows)
        return rows

    setups = [plan.setup(cfg, plan.graph_batch) for cfg in plan.batches]
    return [Item(setup.cfg, functools.partial(measure, setup)) for setup in setups]


def measure_phases(
    setup: Setup, device_type: str, num_runs: int | None
) -> tuple[list[Row], list[str]]:
    """Rows for `HEADER`, and the phases that cannot be captured, with the reasons."""
    device = devices.resolve_device(device_type)
    devices.configure_backends(device)
    networks = Training(setup, device)
    rows: list[Row] = []
    failures: list[str] = []
    for phase in networks.intervals:
        row = [setup.cfg, phase, str(setup.batch)]
        rows.append(row)
        step = step_of(networks, phase)
        with trained(networks.module(phase)):
            eager_ms = timing.measure(step, device, num_runs, NUM_WARMUPS).median_sec * 1e3
            row.append(f"{eager_ms:.4g}")
            if device.type != "cuda":
                row += ["no graphs on this device", "", ""]
                continue
            expected = _norm(networks.module(phase))
            try:
                replay = capture(step, networks.module(phase))
                graph_ms = timing.measure(replay, device, num_runs, 1).median_sec * 1e3
                found = _norm(networks.module(phase))
            except RuntimeError as error:
                text = str(error).partition("\n")[0]
                row += ["not captured", "", ""]
                failures.append(f"{phase}: {text}")
                break  # what follows a failed capture may fail for its sake
        row += [f"{graph_ms:.4g}", f"{eager_ms / graph_ms:.2f}", f"{found / expected:.3g} of usual"]
    return rows, failures


@contextlib.contextmanager
def trained(module: torch.nn.Module) -> Iterator[None]:
    """Inside, the weights of a network need gradients."""
    module.requires_grad_(True)
    try:
        yield
    finally:
        module.requires_grad_(False)
        module.zero_grad(set_to_none=True)


def step_of(networks: Training, phase: str) -> Callable[[], None]:
    """The passes of a phase, which leave fresh gradients."""
    module = networks.module(phase)

    def step() -> None:
        module.zero_grad(set_to_none=True)
        networks.accumulate(phase)

    return step


def capture(step: Callable[[], None], module: torch.nn.Module) -> Callable[[], None]:
    """Capture a function in a graph, and return what repeats it, with the same gradients."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    module.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _norm(module: torch.nn.Module) -> float:
    """Norm of all gradients; random numbers differ from run to run, so it is about the same."""
    grads = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    return float(torch.stack(grads).norm())
