"""Exchanges between the processes of a run. All processes must call them.

In a run of one process they do nothing.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dnnlib import heartbeat
from torch_utils.distributed import Worker


def broadcast_module(worker: Worker, module: torch.nn.Module | None) -> None:
    """Give every process the parameters and buffers of rank 0."""
    if worker.size > 1 and module is not None:
        with heartbeat.collective():
            for tensor in [*module.parameters(), *module.buffers()]:
                torch.distributed.broadcast(tensor.detach(), src=0)


def any_of(worker: Worker, *flags: bool) -> list[bool]:
    """OR each flag over all processes, so that all decide alike. Does not wait for GPUs."""
    return [bool(flag) for flag in highest(worker, *flags)]


def highest(worker: Worker, *numbers: int) -> list[int]:
    """The largest of each number over all processes. Does not wait for GPUs."""
    if worker.size == 1:
        return list(numbers)
    shared = torch.tensor(numbers, dtype=torch.int64)
    with heartbeat.collective():
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX, group=worker.control)
    return shared.tolist()


def gather(worker: Worker, value: Any) -> list[Any] | None:
    """Collect the value of each process on rank 0, by rank; other ranks get `None`."""
    if worker.size == 1:
        return [value]
    values: list[Any] | None = [None] * worker.size if worker.is_main else None
    with heartbeat.collective():
        torch.distributed.gather_object(value, values, dst=0, group=worker.control)
    return values


def broadcast(worker: Worker, value: Any) -> Any:
    """Give every process the value of rank 0."""
    if worker.size == 1:
        return value
    values = [value]
    with heartbeat.collective():
        torch.distributed.broadcast_object_list(values, src=0, group=worker.control)
    return values[0]


def average(worker: Worker, tensors: Iterable[Tensor]) -> None:
    """Replace tensors of one dtype by their averages over all processes, in one reduction."""
    tensors = list(tensors)
    if worker.size == 1 or not tensors:
        return
    tensors = [tensor.detach() for tensor in tensors]
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    average_one(worker, flat)
    means = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [m.view_as(t) for m, t in zip(means, tensors, strict=True)])


def average_one(worker: Worker, tensor: Tensor) -> None:
    """Replace a tensor without gaps by its average over all processes."""
    if worker.size > 1:
        with heartbeat.collective():
            torch.distributed.all_reduce(tensor)
        tensor /= worker.size
