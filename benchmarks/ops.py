"""Speed of the ops in every layer of the standard networks: `python -m benchmarks.ops`.

The benchmark records the calls of ops while a network runs, counts equal calls, and repeats each
call on random tensors of the same shapes, strides and types. `benchmarks/work.py` gives the
arithmetic and the memory traffic of a call; `benchmarks/peaks.py` measures, in the same run, the
rates of a large matrix product and of copying memory. The arithmetic or the traffic, whichever
takes longer at these rates, is the floor of the call; the share is the floor relative to the
measured time. Calls whose data stays in a cache may be faster than their floor.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click
import torch
from torch import Tensor

from benchmarks import accuracy, options, timing
from benchmarks.networks import Setup
from benchmarks.op_calls import NETWORKS, OPS, OpCall, cfg_of, network_calls
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.work import Work, work_of
from dnnlib import cli
from torch_utils.ops.selection import force_reference

DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}
# Rounding moves a few of many samples across the kink of a nonlinearity, to another slope.
MAX_GRAD_ERROR = 2e-3
HEADER = (
    "op",
    "network",
    "layer",
    "input",
    "up/down",
    "calls",
    "ms",
    "spread",
    "GFLOP/s",
    "GB/s",
    "bound",
    "share",
    "ref ms",
    "speedup",
    "error",
)


@click.command(cls=cli.Command)
@options.names("--ops", OPS, "Ops to measure.")
@options.names("--networks", NETWORKS, "Networks to take the calls from.")
@options.number("--batch", "Images per call.", default=1)
@options.sizes(resolution=256, minimum=8)
@click.option(
    "--dtype", type=click.Choice(DTYPES), help="Type of the images.  [default: as the networks]"
)
@click.option("--grad", is_flag=True, help="Measure a forward and a backward pass.")
@click.option(
    "--cold", is_flag=True, help="Clear the memory of every output within the timed run (CPU)."
)
@click.option("--skip-reference", is_flag=True, help="Do not time the reference ops.")
@options.repeat("each call", default="as many as fit into half a second")
@options.machine
def main(
    ops: list[str],
    networks: list[str],
    resolution: int,
    batch: int,
    cbase: int,
    cmax: int,
    dtype: str | None,
    grad: bool,
    cold: bool,
    skip_reference: bool,
    repeat: int | None,
    threads: int | None,
    device: str,
) -> None:
    """Time each op in each layer of the standard networks beside what the machine can do.

    Prints one row per op, network and kind of call: the median time of a call, its rates of
    arithmetic and of memory traffic, which of the two rates is the limit, the share of the limit
    that the call reaches, and the time with the reference ops. "calls" is the number of such calls
    in the network; "total" is the sum over its calls of an op. Every result (and gradient) is
    compared with the reference before it is timed; "error" is the norm of the difference relative
    to the norm.

    \b
    Examples:
      # All ops and networks at 256x256; takes a few minutes on two CPU cores.
      python -m benchmarks.ops
      # Forward and backward passes of one network in training.
      python -m benchmarks.ops --networks=stylegan3-t --resolution=64 --batch=4 --grad
    """
    torch_device = options.start(device, threads, keep_memory=not cold)
    torch_dtype = None if dtype is None else DTYPES[dtype]
    peaks = measure_peaks(torch_device)
    measured = {}
    for network in networks:
        click.echo(f"Measuring {network} ...", err=True)
        setup = Setup(cfg_of(network), resolution, batch, cbase, cmax)
        found = [c for c in network_calls(network, setup, torch_device) if c.op in ops]
        measured[network] = [
            measure_call(call, torch_device, torch_dtype, grad, not skip_reference, repeat)
            for call in found
        ]
    peaks = peaks.best(measure_peaks(torch_device))  # in case something else ran before
    rows = [row for name, results in measured.items() for row in format_rows(name, results, peaks)]
    click.echo(timing.describe_machine(torch_device))
    click.echo(f"Peaks: {peaks}")
    passes = "forward and backward passes" if grad else "forward passes"
    click.echo(f"{resolution}x{resolution} images, batch {batch}, {passes}")
    click.echo()
    click.echo(timing.format_table(HEADER, rows))


@dataclass(frozen=True)
class CallResult:
    """Measurement of a call."""

    call: OpCall
    work: Work
    native: timing.Timing
    reference: timing.Timing | None
    error: float


def measure_call(
    call: OpCall,
    device: torch.device,
    dtype: torch.dtype | None = None,
    with_grad: bool = False,
    with_reference: bool = True,
    num_runs: int | None = None,
    budget_sec: float = 0.5,
) -> CallResult:
    """Check a call, then time it, see `timing.measure_kernels`.

    Args:
        call: The call to repeat.
        device: Where.
        dtype: Type of the images, `None` for that of the network.
        with_grad: Also run the backward pass, for all data that the op is differentiable in.
        with_reference: Also time the reference.
        num_runs: Timed runs.
        budget_sec: Duration of the timed runs to aim at.

    Raises:
        RuntimeError: If the result or a gradient is not close to that of the reference.
    """
    call = call if dtype is None else call.with_dtype(dtype)
    dtype = call.arguments["x"].dtype
    function, data = call.prepare(device)
    num_orders = 2 if with_grad else 1
    exact = torch.promote_types(dtype, torch.float32)
    max_error = accuracy.MAX_ERROR[dtype]
    value_error, *grad_error = accuracy.errors(function, data, num_orders, exact)
    if value_error > max_error or max(grad_error, default=0) > max(max_error, MAX_GRAD_ERROR):
        raise RuntimeError(
            f"{call.op} of {call.layer} differs from the reference by {value_error:.2g}, its "
            f"gradients by {grad_error} (allowed for {dtype}: {max_error:g}, {MAX_GRAD_ERROR:g})"
        )
    timed = {}
    for use_reference in (False, True) if with_reference else (False,):
        with force_reference(use_reference):
            run = _forward_and_backward(function, data) if with_grad else _forward(function, data)
            timed[use_reference] = timing.measure_kernels(run, device, num_runs, budget_sec)
    work = work_of(call.op, call.arguments, with_grad)
    return CallResult(call, work, timed[False], timed.get(True), max([value_error, *grad_error]))


def format_rows(network: str, results: Sequence[CallResult], peaks: Peaks) -> list[list[str]]:
    """Rows for `HEADER`: one per call, and for each op the total of its calls."""
    rows = []
    for op in OPS:
        of_op = [result for result in results if result.call.op == op]
        rows += [_row(network, result, peaks) for result in of_op]
        if len(of_op) > 1:
            rows.append(_total_row(op, network, of_op, peaks))
    return rows


def _forward(function: Callable[..., Tensor], data: Sequence[Tensor]) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.no_grad():
            return function(*data)

    return run


def _forward_and_backward(
    function: Callable[..., Tensor], data: Sequence[Tensor]
) -> Callable[[], tuple[Tensor, ...]]:
    data = [x.detach().requires_grad_() for x in data]
    dy = torch.randn_like(function(*data))
    return lambda: torch.autograd.grad(function(*data), data, dy)


def _row(network: str, result: CallResult, peaks: Peaks) -> list[str]:
    call, work = result.call, result.work
    x = call.arguments["x"]
    is_channels_last = x.stride[1] == 1 and x.shape[1] > 1
    text = "x".join(map(str, x.shape)) + f" {str(x.dtype).removeprefix('torch.')}"
    factors = [call.arguments.get(name, "-") for name in ("up", "down")]
    return [
        call.op,
        network,
        call.layer or "-",
        text + (" channels_last" if is_channels_last else ""),
        "/".join(str(v).replace(", ", ",") for v in factors),
        str(call.count),
        *_time_cells(result.native.median_sec, f"{result.native.spread:.0%}", work, peaks),
        *_reference_cells(result),
        f"{result.error:.1e}",
    ]


def _total_row(op: str, network: str, results: Sequence[CallResult], peaks: Peaks) -> list[str]:
    sec = sum(r.native.median_sec * r.call.count for r in results)
    floor_sec = sum(peaks.floor_sec(r.work) * r.call.count for r in results)
    work = sum((r.work * r.call.count for r in results), Work(0, 0))
    cells = _time_cells(sec, "", work, peaks)
    cells[-1] = f"{floor_sec / sec:.0%}"
    count = sum(r.call.count for r in results)
    reference = ["-", "-"]
    ref_times = [r.reference.median_sec * r.call.count for r in results if r.reference is not None]
    if len(ref_times) == len(results):
        ref_sec = sum(ref_times)
        reference = [f"{ref_sec * 1e3:.4g}", f"{ref_sec / sec:.2f}"]
    return [op, network, "total", "", "", str(count), *cells, *reference, ""]


def _time_cells(sec: float, spread: str, work: Work, peaks: Peaks) -> list[str]:
    return [
        f"{sec * 1e3:.4g}",
        spread,
        f"{work.flop / sec / 1e9:.4g}",
        f"{work.byte / sec / 1e9:.4g}",
        peaks.bound(work),
        f"{peaks.floor_sec(work) / sec:.0%}",
    ]


def _reference_cells(result: CallResult) -> list[str]:
    if result.reference is None:
        return ["-", "-"]
    ref_sec = result.reference.median_sec
    return [f"{ref_sec * 1e3:.4g}", f"{ref_sec / result.native.median_sec:.2f}"]


if __name__ == "__main__":
    main()
