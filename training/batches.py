"""Batches of training images, without end, whatever happens to the processes that load them."""

import contextlib
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dnnlib import cli
from torch_utils import misc
from torch_utils.distributed import Worker
from training.stop_request import ignore_signals

MAX_RESTARTS = 3  # of loading processes, without a batch in between


class TrainingBatches:
    """Loads the batches of one process, each process its own part of them.

    Args:
        worker: This process.
        dataset: Items are images `[C, H, W]`, uint8, and labels `[label_dim]`.
        batch_size: Size of a whole batch, over all processes.
        seed: Decides the order.
        loader_kwargs: Arguments of `DataLoader`.
        skip_damaged: Take the next image in place of one that cannot be read.
        start: Number of batches to leave out: those that the run has seen.
    """

    def __init__(
        self,
        worker: Worker,
        dataset: torch.utils.data.Dataset,
        batch_size: int,
        seed: int,
        loader_kwargs: dict[str, Any],
        skip_damaged: bool = False,
        start: int = 0,
    ) -> None:
        self.num_skipped = 0
        self._worker = worker
        self._dataset = _Readable(dataset, skip_damaged)
        self._batch_size = batch_size // worker.size
        self._seed = seed
        self._next_batch = start
        self._loader_kwargs = dict(loader_kwargs)
        if self._loader_kwargs["num_workers"] == 0:
            del self._loader_kwargs["prefetch_factor"]
        self._loader_kwargs["pin_memory"] &= worker.device.type == "cuda"
        self._start_loading()

    def load(self) -> tuple[Tensor, Tensor]:
        """The next images `[N, C, H, W]`, uint8, and labels `[N, label_dim]`, on the CPU.

        Raises:
            RuntimeError: If an image cannot be read, or loading processes die again and again.
        """
        for attempt in range(MAX_RESTARTS + 1):
            try:
                images, labels, num_skipped = next(self._batches)
                break
            except (OSError, AssertionError, ValueError, RuntimeError) as error:
                # What a loading process raised arrives with its traceback; the message comes last.
                message = cli.message_of(error).strip().splitlines()[-1]
                # All but what PyTorch has "caught" in them comes of their death.
                has_died = self._loader_kwargs["num_workers"] > 0 and "Caught " not in str(error)
                if not has_died or attempt == MAX_RESTARTS:
                    raise RuntimeError(f"loading training images failed: {message}") from error
                warnings.warn(
                    f"a process that loads images has died ({message}); starting others",
                    stacklevel=2,
                )
                self._start_loading()
        self._next_batch += 1
        self.num_skipped += int(num_skipped.sum())
        return images, labels

    def _start_loading(self) -> None:
        self._batches = None  # ends processes that there were
        sampler = misc.InfiniteSampler(
            self._dataset,
            rank=self._worker.rank,
            num_replicas=self._worker.size,
            seed=self._seed,
            start=self._next_batch * self._batch_size,
        )
        with warnings.catch_warnings(), _keep_handler_of_ended_children():
            # A default of three processes is fine on two cores.
            warnings.filterwarnings("ignore", "This DataLoader will create")
            self._batches = iter(
                torch.utils.data.DataLoader(
                    self._dataset,
                    sampler=sampler,
                    batch_size=self._batch_size,
                    worker_init_fn=ignore_signals,
                    generator=torch.Generator(),  # leaves the global random numbers alone
                    **self._loader_kwargs,
                )
            )


@contextlib.contextmanager
def _keep_handler_of_ended_children() -> Iterator[None]:
    """Undo PyTorch's handler of SIGCHLD, which raises an error in whatever the process is doing.

    Without it, the error comes when the next batch is asked for.
    """
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


class _Readable(torch.utils.data.Dataset):
    """A dataset that says how many damaged images it passed over to find each item."""

    def __init__(self, dataset: torch.utils.data.Dataset, skip_damaged: bool) -> None:
        self.dataset = dataset
        self.skip_damaged = skip_damaged

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> tuple[Any, Any, int]:
        if not self.skip_damaged:
            return (*self.dataset[idx], 0)
        for num_skipped in range(len(self)):
            try:
                return (*self.dataset[(idx + num_skipped) % len(self)], num_skipped)
            except (OSError, ValueError) as error:
                last_error = error
        raise OSError(f"no image of the dataset can be read ({last_error})")
