"""Batches of training images, without end, whatever happens to the processes that load them."""

import warnings
from typing import Any

from torch import Tensor

from data.dataset import Dataset
from data.loader import BatchLoader
from data.sampler import InfiniteSampler
from dnnlib import errors
from dnnlib.errors import MachineError
from torch_utils.distributed import Worker

MAX_RESTARTS = 3  # of loading processes, without a batch in between


class TrainingBatches:
    """Loads the batches of one process, each process its own part of them.

    Args:
        worker: This process.
        dataset: What to read.
        batch_size: Size of a whole batch, over all processes.
        seed: Decides the order.
        loader_kwargs: Arguments of `BatchLoader`.
        skip_damaged: Take the next image in place of one that cannot be read.
        start: Number of batches to leave out: those that the run has seen.
    """

    def __init__(
        self,
        worker: Worker,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        loader_kwargs: dict[str, Any],
        skip_damaged: bool = False,
        start: int = 0,
    ) -> None:
        self._worker = worker
        self._dataset = dataset
        self._batch_size = batch_size // worker.size
        self._seed = seed
        self._next_batch = start
        self._loader_kwargs = {**loader_kwargs, "skip_damaged": skip_damaged}
        self._loader_kwargs["pin_memory"] &= worker.device.type == "cuda"
        self._loader: BatchLoader | None = None
        self._start_loading()

    def load(self) -> tuple[Tensor, Tensor]:
        """The next images `[N, C, H, W]`, uint8, and labels `[N, label_dim]`, on the CPU.

        Raises:
            RuntimeError: If an image cannot be read, or loading processes die again and again.
        """
        for attempt in range(MAX_RESTARTS + 1):
            try:
                batch = next(self._loader)
                break
            except (OSError, AssertionError, ValueError, RuntimeError) as error:
                # What a loading process raised arrives with its traceback; the message comes last.
                message = errors.message_of(error).strip().splitlines()[-1]
                # All but what PyTorch has "caught" in them comes of their death.
                has_died = self._loader_kwargs["num_workers"] > 0 and "Caught " not in str(error)
                if not has_died or attempt == MAX_RESTARTS:
                    raise MachineError(f"loading training images failed: {message}") from error
                warnings.warn(
                    f"a process that loads images has died ({message}); starting others",
                    stacklevel=2,
                )
                self._start_loading()
        self._next_batch += 1
        return batch

    def take_num_skipped(self) -> int:
        """How many damaged images were skipped since the last call."""
        num, self._loader.num_skipped = self._loader.num_skipped, 0
        return num

    def close(self) -> None:
        """End the processes that load; a second call does nothing."""
        self._loader.close()

    def _start_loading(self) -> None:
        if self._loader is not None:
            self._loader.close()
        sampler = InfiniteSampler(
            self._dataset,
            rank=self._worker.rank,
            num_replicas=self._worker.size,
            seed=self._seed,
            start=self._next_batch * self._batch_size,
        )
        self._loader = BatchLoader(self._dataset, sampler, self._batch_size, **self._loader_kwargs)
