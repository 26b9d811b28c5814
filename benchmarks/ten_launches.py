"""Launches more than ten different kernels, for NVIDIA's compute-sanitizer."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import click
import torch

from benchmarks import accuracy, correctness
from benchmarks.op_calls import OPS, OpCall
from dnnlib import cli
from dnnlib.options import device_option, version_option
from torch_utils import devices
from torch_utils.ops.cuda.recorder import Kernel

CALLS_PER_OP = 2


@click.command(cls=cli.Command)
@device_option
@version_option
def main(device: str) -> None:
    """Launch more than ten different CUDA kernels, and print how many.

    On CPUs, the same calls of ops run.

    \b
    Example:
      compute-sanitizer --error-exitcode=9 python -m benchmarks.ten_launches
    """
    torch_device = devices.resolve_device(device)
    calls, num_kernels = choose_calls()
    for call in calls:
        if torch_device.type == "cpu":  # which has no kernels for float16
            call = call.with_dtype(torch.float32)
        accuracy.derivatives(*call.prepare(torch_device), num_orders=2)
    devices.synchronize(torch_device)
    click.echo(f"{len(calls)} calls of {num_kernels} kernels ran")


def choose_calls() -> tuple[list[OpCall], int]:
    """For each op the calls that add the most kernels, and how many kernels these are."""
    chosen: list[OpCall] = []
    seen: set[Kernel] = set()
    calls = [call.with_dtype(torch.float16) for call in correctness.unusual_calls()]
    kernels = [correctness.kernels_of([call], [torch.float16]) for call in calls]
    for op in OPS:
        of_op = [idx for idx, call in enumerate(calls) if call.op == op]
        for _ in range(CALLS_PER_OP):
            best = max(of_op, key=lambda idx: len(kernels[idx] - seen))
            if kernels[best] <= seen:
                break
            seen |= kernels[best]
            chosen.append(calls[best])
    return chosen, len(seen)


if __name__ == "__main__":
    main()
