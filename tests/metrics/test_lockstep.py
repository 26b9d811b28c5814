"""Two processes: results in order, and failures that are everybody's."""

import json
from pathlib import Path

import pytest
import torch

from dnnlib.errors import InputError, MachineError
from metrics import lockstep
from torch_utils import distributed
from torch_utils.distributed import Worker


def batch(idx: int) -> torch.Tensor:
    """Five rows in all, in batches of two."""
    return torch.arange(idx * 2, min(idx * 2 + 2, 5), dtype=torch.float32)[:, None] + 0.5


def collect(worker: Worker, folder: Path) -> None:
    """What each of two processes does in the first test."""
    rows = torch.cat(list(lockstep.run_batches(worker, 3, batch)))
    exact = list(
        lockstep.run_batches(worker, 1, lambda _: torch.ones(1, 2).double() / 3, torch.float64)
    )
    result = dict(
        rows=rows[:, 0].tolist(),
        exact=exact[0].tolist(),
        agreed=[lockstep.all_agree(worker, True), lockstep.all_agree(worker, worker.rank == 0)],
        floats=lockstep.broadcast_floats(worker, [worker.rank + 1 / 3, 2.0]),
        errors=fail_everywhere(worker),
    )
    (folder / f"{worker.rank}.json").write_text(json.dumps(result))


def fail_everywhere(worker: Worker) -> list[str]:
    """Fail in process 1 (or 0) at various places; the messages of this one."""

    def fail(rank: int, error: Exception) -> None:
        if worker.rank == rank:
            raise error

    def in_a_batch():
        list(
            lockstep.run_batches(
                worker, 3, lambda idx: fail(1, InputError("bad batch")) or batch(0)
            )
        )

    def in_the_last_batch():
        def function(idx: int) -> torch.Tensor:
            if idx == 2:
                raise MemoryError("no memory")
            return batch(idx)

        list(lockstep.run_batches(worker, 3, function))

    def between_batches():
        for _ in lockstep.run_batches(worker, 3, batch):
            fail(1, KeyError("x"))

    def before():
        fail(0, OSError("no file"))
        list(lockstep.run_batches(worker, 3, batch))

    def nested():
        with lockstep.in_step(worker):
            fail(1, MachineError("deep"))

    def after():
        list(lockstep.run_batches(worker, 3, batch))
        fail(0, InputError("rank 0 only"))

    messages = []
    for function in (in_a_batch, in_the_last_batch, between_batches, before, nested, after):
        try:
            with lockstep.in_step(worker):
                function()
        except Exception as error:
            messages.append(f"{type(error).__name__}: {error}")
    return messages


@pytest.mark.multiprocess
@pytest.mark.slow
def test_two_processes_stay_in_step(tmp_path):
    distributed.launch(collect, 2, "cpu", tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    for result in (first, second):
        assert result["rows"] == [0.5, 1.5, 2.5, 3.5, 4.5]
        assert result["exact"] == [[1 / 3, 1 / 3]]
        assert result["agreed"] == [True, False]
        assert result["floats"] == [1 / 3, 2.0]
    assert first["errors"] == [
        "ProcessError: process 1: bad batch",
        "MemoryError: no memory",
        "ProcessError: process 1: KeyError: 'x'",
        "OSError: no file",
        "ProcessError: process 1: deep",
        "InputError: rank 0 only",
    ]
    assert second["errors"][:3] == [
        "InputError: bad batch",
        "ProcessError: process 0: out of memory; a smaller batch may help. no memory",
        "KeyError: 'x'",
    ]
    assert second["errors"][3:] == [
        "ProcessError: process 0: no file",
        "MachineError: deep",
        "ProcessError: process 0: rank 0 only",
    ]


def test_one_process_needs_nobody():
    worker = Worker()
    assert [len(rows) for rows in lockstep.run_batches(worker, 3, batch)] == [2, 2, 1]
    assert lockstep.all_agree(worker, False) is False
    assert lockstep.broadcast_floats(worker, [1.0]) == [1.0]
    with pytest.raises(KeyError), lockstep.in_step(worker):
        raise KeyError("x")
