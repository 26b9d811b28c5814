"""Work shared by processes in lockstep: results come in order, and all fail together.

Every exchange begins with a header of the same form, which says whether its sender has failed. If
one process fails, all processes therefore meet at a header, and all of them raise.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dnnlib import errors, heartbeat
from dnnlib.errors import MachineError
from torch_utils.distributed import Worker


class ProcessError(MachineError):
    """Another process has failed; the message is that of its error."""


@contextmanager
def in_step(worker: Worker) -> Iterator[None]:
    """Make all processes fail if one fails inside; all wait for the slowest process."""
    error = None
    try:
        yield
    except Exception as err:
        if worker.size == 1 or is_known_to_all(err):
            raise
        error = err
    if worker.size > 1:
        _exchange(worker, error)


def run_batches(
    worker: Worker,
    num_batches: int,
    function: Callable[[int], Tensor],
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """Compute batches in all processes, in turns, and yield all results in order everywhere.

    Every process must iterate to the end. A single process yields the results directly.

    Args:
        worker: This process.
        num_batches: Number of batches.
        function: Takes the number of a batch, returns `[rows, columns]`. Each of several processes
            computes only some batches, so results must not depend on earlier calls.
        dtype: Type of the results.

    Raises:
        ProcessError: If the function failed in another process.
    """
    if worker.size == 1:
        for idx in range(num_batches):
            yield function(idx).to(dtype)
        return
    for first in range(0, num_batches, worker.size):
        result, error = torch.zeros([0, 0]), None
        if first + worker.rank < num_batches:
            try:
                result = function(first + worker.rank)
            except Exception as err:
                error = err
        shapes = _exchange(worker, error, (result.shape[0], result.shape[1]))
        max_rows, num_columns = shapes[0][0], shapes[0][1]  # only the last batch is shorter
        mine = torch.zeros([max_rows, num_columns], dtype=dtype, device=worker.device)
        mine[: len(result)] = result.reshape(len(result), num_columns)
        gathered = [torch.empty_like(mine) for _ in range(worker.size)]
        with heartbeat.collective():
            torch.distributed.all_gather(gathered, mine)
        for (num_rows, _), rows in zip(shapes[: num_batches - first], gathered, strict=False):
            yield rows[:num_rows]


def is_known_to_all(error: Exception) -> bool:
    """Whether all processes have raised because of this error, and may go on together."""
    return getattr(error, "is_known_to_all", False)


def all_agree(worker: Worker, value: bool) -> bool:
    """Whether the value is true in every process."""
    if worker.size == 1:
        return value
    return all(flag for flag, _ in _exchange(worker, None, (int(value), 0)))


def broadcast_floats(worker: Worker, values: list[float]) -> list[float]:
    """The values of rank 0, in float64, in every process; all pass lists of one length."""
    if worker.size == 1:
        return values
    _exchange(worker, None)
    tensor = torch.tensor(values, dtype=torch.float64, device=worker.device)
    with heartbeat.collective():
        torch.distributed.broadcast(tensor, src=0)
    return tensor.tolist()


def _exchange(
    worker: Worker, error: Exception | None, numbers: tuple[int, int] = (0, 0)
) -> list[tuple[int, int]]:
    """Exchange two numbers; if a process has an error instead, raise in all processes."""
    header = torch.tensor([error is not None, *numbers], dtype=torch.int64, device=worker.device)
    headers = [torch.empty_like(header) for _ in range(worker.size)]
    with heartbeat.collective():
        torch.distributed.all_gather(headers, header)
        rows = torch.stack(headers).tolist()
    if not any(row[0] for row in rows):
        return [(row[1], row[2]) for row in rows]

    messages: list[str | None] = [None] * worker.size
    with heartbeat.collective():
        torch.distributed.all_gather_object(messages, None if error is None else _describe(error))
    if error is None:
        rank, message = next(item for item in enumerate(messages) if item[1] is not None)
        error = ProcessError(f"process {rank}: {message}")
    vars(error)["is_known_to_all"] = True
    raise error


def _describe(error: Exception) -> str:
    if errors.is_for_users(error):
        return errors.message_of(error)
    return f"{type(error).__name__}: {error}"
