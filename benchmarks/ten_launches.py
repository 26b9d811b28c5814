"""Launches ten different kernels once, for NVIDIA's compute-sanitizer: `gpu_report` calls this.

compute-sanitizer --error-exitcode=9 python -m benchmarks.ten_launches
"""

import click
import torch

from benchmarks import accuracy, correctness
from benchmarks.op_calls import OpCall
from dnnlib import cli
from dnnlib.options import device_option, version_option
from torch_utils import devices

NUM_KERNELS = 10
DTYPES = (torch.float16, torch.float32)


@click.command(cls=cli.Command)
@device_option
@version_option
def main(device: str) -> None:
    """Launch ten different CUDA kernels once; prints how many. On CPUs, the same calls run."""
    torch_device = devices.resolve_device(device)
    calls, num_kernels = choose_calls()
    for call in calls:
        if torch_device.type == "cpu":  # which has no kernels for float16
            call = call.with_dtype(torch.float32)
        accuracy.derivatives(*call.prepare(torch_device), num_orders=2)
    devices.synchronize(torch_device)
    click.echo(f"{len(calls)} calls of {num_kernels} kernels ran")


def choose_calls() -> tuple[list[OpCall], int]:
    """Small calls that launch `NUM_KERNELS` different kernels or more, and their number."""
    chosen: list[OpCall] = []
    seen: set = set()
    for call in correctness.unusual_calls():
        for dtype in DTYPES:
            typed = call.with_dtype(dtype)
            new = correctness.kernels_of([typed], [dtype]) - seen
            if new and len(seen) < NUM_KERNELS:
                seen |= new
                chosen.append(typed)
    return chosen, len(seen)


if __name__ == "__main__":
    main()
