"""What a run does when memory runs out: take the phase back, make passes smaller, go on."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnnlib.errors import MachineError
from torch_utils import collectives
from torch_utils.distributed import Worker
from training import random_state
from training.phases import Phase

MAX_LOWERINGS = 2  # of the pass size, from one start of the program to its end


@dataclass
class BegunBatch:
    """What phases of one batch share, and which phases have run.

    Attributes:
        gen_z: Latents of this process, `[phases, N, z_dim]`.
        gen_c: Their labels, `[phases, N, c_dim]`.
        done: Names of the phases that have run.
    """

    gen_z: Tensor
    gen_c: Tensor
    done: list[str] = field(default_factory=list)


def begun_batch(of_processes: Sequence[dict[str, Any]], worker: Worker) -> BegunBatch:
    """The part of this process in a batch that perhaps another number of processes has begun."""

    def part(name: str) -> Tensor:
        whole = torch.cat([begun[name] for begun in of_processes], dim=1)
        return whole.chunk(worker.size, dim=1)[worker.rank].to(worker.device)

    return BegunBatch(part("gen_z"), part("gen_c"), list(of_processes[0]["done"]))


class ShortageError(MachineError):
    """Memory has run out once too often; all processes raise this together, between two phases."""


class PhaseUndo:
    """Takes back what the passes of a phase change before the optimizer steps.

    These are gradients, moving averages, and the random generators that passes draw from. What they
    report is held back by `training_stats.held`.

    Args:
        averages: All moving averages that passes update, in place.
        device: Where the passes run.
    """

    def __init__(self, averages: Sequence[Tensor], device: torch.device) -> None:
        self._averages = list(averages)
        self._device = device
        self.mark()

    def mark(self) -> None:
        """Note what there is before the first pass of a phase. Does not wait for GPUs."""
        self._random = random_state.capture_torch(self._device)
        self._saved = torch.cat([average.flatten() for average in self._averages])

    @torch.no_grad()
    def restore(self, phase: Phase) -> None:
        """Go back to the mark, and drop the gradients of the phase."""
        phase.optimizer.zero_grad(set_to_none=True)
        parts = self._saved.split([average.numel() for average in self._averages])
        for average, saved in zip(self._averages, parts, strict=True):
            average.copy_(saved.view_as(average))
        random_state.restore_torch(self._random, self._device)


def short_process(worker: Worker, is_short: bool) -> int | None:
    """The highest rank of a process that lacks memory, `None` if all have enough.

    All processes must call this. Does not wait for GPUs.
    """
    rank = collectives.highest(worker, worker.rank if is_short else -1)[0]
    return None if rank < 0 else rank


def file_error(path: Path) -> OSError:
    """An error that treats a file which needs too much memory like one on a full disk."""
    return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(path))
