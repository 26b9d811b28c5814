"""Load endless batches of training images, even if loading processes die."""

import warnings
from typing import Any

from torch import Tensor

from data.dataset import Dataset
from data.loader import BatchLoader, LoaderDiedError
from data.sampler import InfiniteSampler
from torch_utils.distributed import Worker

MAX_RESTARTS = 3  # of loading processes, without a batch in between


class TrainingBatches:
    """Loads the batches of one process; each process has its own part of them.

    Args:
        worker: This process.
        dataset: The dataset to read.
        batch_size: Size of a whole batch, over all processes.
        seed: Decides the order.
        loader_kwargs: Arguments of `BatchLoader`.
        skip_damaged: Take the next image in place of one that cannot be read.
        start: Number of batches to skip, because the run has seen them.
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
        self._loader = self._start_loading()

    def load(self) -> tuple[Tensor, Tensor]:
        """The next images `[N, C, H, W]`, uint8, and labels `[N, label_dim]`, on the CPU.

        Raises:
            RuntimeError: If an image cannot be read, or loading processes die again and again.
        """
        num_restarts = 0
        while True:
            try:
                batch = next(self._loader)
            except LoaderDiedError as error:
                if num_restarts == MAX_RESTARTS:
                    raise
                warnings.warn(f"{error}; starting others", stacklevel=2)
                self._loader.close()
                self._loader = self._start_loading()
                num_restarts += 1
            else:
                self._next_batch += 1
                return batch

    def take_num_skipped(self) -> int:
        """How many damaged images were skipped since the last call."""
        num, self._loader.num_skipped = self._loader.num_skipped, 0
        return num

    def close(self) -> None:
        """End the processes that load; a second call does nothing."""
        self._loader.close()

    def _start_loading(self) -> BatchLoader:
        sampler = InfiniteSampler(
            self._dataset,
            rank=self._worker.rank,
            num_replicas=self._worker.size,
            seed=self._seed,
            start=self._next_batch * self._batch_size,
        )
        return BatchLoader(
            self._dataset,
            sampler,
            self._batch_size,
            content="training images",
            **self._loader_kwargs,
        )
