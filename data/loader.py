"""Load batches of images in other processes, directly into memory shared with this process.

PyTorch's `DataLoader` passes every batch in new shared memory. Clearing and mapping the pages of
this memory takes as long as decoding some images. Here the memory is reused.
"""

import itertools
import mmap
import multiprocessing
import multiprocessing.util
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.data
from torch import Tensor

from data.dataset import Dataset
from dnnlib import errors
from dnnlib.errors import InputError, MachineError
from dnnlib.interrupts import ignore_signals
from torch_utils import local_processes

Batch = tuple[Tensor, Tensor]
KILL_SEC = 5.0  # a process that is reading from a dead disk cannot be killed


class LoadingError(MachineError):
    """An item cannot be loaded; the one-line message names the item and the reason."""


class LoaderDiedError(LoadingError):
    """A process that loads has died; a new loader can continue."""


class BatchLoader:
    """Iterator over the batches `(uint8 [N, C, H, W], float32 [N, label_dim])` of a dataset.

    Images are in the channels-last format: reordering them is the device's work. A batch is valid
    until the next batch is requested, unless it is pinned; copy it to keep it.

    Args:
        dataset: The dataset to read.
        sampler: Indices of items. The batches end with the indices; the last batch can be smaller.
        batch_size: Items in a batch.
        num_workers: Processes; 0 reads in this process when a batch is requested.
        prefetch_factor: Batches that every process works ahead.
        pin_memory: Copy batches to page-locked memory, from which GPUs fetch without waiting.
        skip_damaged: Take the next item in place of one whose loading raises an `OSError`.
        content: Name of the items in error messages.

    Attributes:
        num_skipped: Damaged items so far.

    Raises:
        LoadingError: From `next`, if an item cannot be read.
        LoaderDiedError: From `next`, if a process has died.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Iterable[int],
        batch_size: int,
        num_workers: int = 0,
        *,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
        skip_damaged: bool = False,
        content: str = "images",
    ) -> None:
        self.num_skipped = 0
        self._num_workers = num_workers
        self._pin_memory = pin_memory
        self._content = content
        # For every batch ahead a slot that is being filled, and one slot that is being used.
        num_slots = num_workers * prefetch_factor + 1
        channels, height, width = dataset.image_shape
        images = _shared_tensor([num_slots, batch_size, height, width, channels], torch.uint8)
        labels = _shared_tensor([num_slots, batch_size, dataset.label_dim], torch.float32)
        self._slots = _Slots(dataset, images.permute(0, 1, 4, 2, 3), labels, skip_damaged)
        with warnings.catch_warnings(), local_processes.keep_handler_of_ended_children():
            # A default of three processes is fine on two cores.
            warnings.filterwarnings("ignore", "This DataLoader will create")
            loader = torch.utils.data.DataLoader(
                self._slots,
                # Not `DataLoader`'s batches but ours: one task fills one slot.
                batch_size=None,
                sampler=_Tasks(sampler, batch_size, num_slots),
                collate_fn=_as_it_is,
                num_workers=num_workers,
                prefetch_factor=prefetch_factor if num_workers > 0 else None,
                worker_init_fn=_set_up_process,
                generator=torch.Generator(),  # leaves the global random numbers alone
            )
            self._filled: Iterator[tuple[int, int, int]] = iter(loader)
        # At its end Python sends SIGTERM to child processes and waits for them, but these ignore
        # the signal. So they are killed first, even if `close` was not called.
        self._end = multiprocessing.util.Finalize(self, _end, (self._filled,), exitpriority=100)

    @property
    def worker_pids(self) -> list[int]:
        """The processes that read."""
        return [worker.pid for worker in getattr(self._filled, "_workers", [])]

    def close(self) -> None:
        """End the processes at once; a second call does nothing. There are no more batches."""
        self._end()
        self._filled = iter(())

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            slot, size, num_skipped = next(self._filled)
        except StopIteration:
            raise
        except Exception as error:
            self._raise_explained(error)
            raise
        self.num_skipped += num_skipped
        images, labels = self._slots.images[slot, :size], self._slots.labels[slot, :size]
        if self._pin_memory:
            return images.pin_memory(), labels.pin_memory()
        return images, labels

    def _raise_explained(self, error: Exception) -> None:
        """Raise a `LoadingError`, unless the error is a bug of the program."""
        # An error of a process arrives with its traceback, and with "Caught" in front; the
        # message comes last. Other errors of PyTorch are about a process that has died.
        is_about_item = self._num_workers == 0 or "Caught " in str(error)
        message = errors.message_of(error).strip().splitlines()[-1]
        message = re.sub(rf"^[\w.]*{type(error).__name__}: ", "", message)
        if not is_about_item and isinstance(error, (OSError, ValueError, RuntimeError)):
            text = f"a process that loads {self._content} has died ({message})"
            raise LoaderDiedError(text) from error
        if errors.is_for_users(error):
            raise LoadingError(f"loading {self._content} failed: {message}") from error


def _end(filled: Any) -> None:
    """End the processes of `DataLoader`'s iterator in another way than PyTorch does.

    PyTorch asks the processes to end and waits for seconds. After the death of one process it can
    wait for ever, for a lock that the dead process holds.
    """
    workers = getattr(filled, "_workers", [])
    if workers and not filled._shutdown:
        filled._shutdown = True
        # This must come first: PyTorch's handler of SIGCHLD, which another loader of this program
        # may have set, would report the killed processes as a failure.
        torch.utils.data._utils.signal_handling._remove_worker_pids(id(filled))
        filled._worker_pids_set = False
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(KILL_SEC)


class _Tasks:
    """Slots in turn, each with the indices of a batch.

    `DataLoader` asks for a new task when it returns a batch, and works on at most `num_slots - 1`
    tasks at a time. So the slot of the new task is the slot of the batch before the returned one.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, num_slots: int) -> None:
        self._sampler = sampler
        self._batch_size = batch_size
        self._num_slots = num_slots

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        indices = iter(self._sampler)
        slots = itertools.cycle(range(self._num_slots))
        while batch := list(itertools.islice(indices, self._batch_size)):
            yield next(slots), batch


class _Slots(torch.utils.data.Dataset):
    """A dataset whose items are filled slots: number of the slot, size of its batch, items skipped.

    The images and labels themselves stay in the shared memory.
    """

    def __init__(
        self, dataset: Dataset, images: Tensor, labels: Tensor, skip_damaged: bool
    ) -> None:
        self.dataset = dataset
        self.skip_damaged = skip_damaged
        self.images = images  # [slots, N, C, H, W]
        self.labels = labels  # [slots, N, label_dim]

    def __getitem__(self, task: tuple[int, Sequence[int]]) -> tuple[int, int, int]:
        slot, indices = task
        num_skipped = 0
        for i, idx in enumerate(indices):
            label, num = self._load_into(idx, self.images[slot, i])
            self.labels[slot, i] = torch.from_numpy(label)
            num_skipped += num
        return slot, len(indices), num_skipped

    def _load_into(self, idx: int, image: Tensor) -> tuple[np.ndarray, int]:
        """Load an item, or the next one that can be read; also return how many could not."""
        if not self.skip_damaged:
            return self._load_item(idx, image), 0
        num_items = len(self.dataset)
        for num_skipped in range(num_items):
            try:
                return self._load_item((idx + num_skipped) % num_items, image), num_skipped
            except (OSError, ValueError) as error:
                if isinstance(error, InputError):  # about the whole dataset, not about one image
                    raise
                last_error = error
        raise OSError(f"no image of the dataset can be read ({last_error})")

    def _load_item(self, idx: int, image: Tensor) -> np.ndarray:
        get_item = getattr(type(self.dataset), "__getitem__", Dataset.__getitem__)
        if get_item is Dataset.__getitem__:
            return self.dataset.load_into(idx, image)
        loaded, label = self.dataset[idx]  # a program's own dataset, such as the published one
        image.copy_(torch.as_tensor(loaded))
        return label


def _set_up_process(_worker_id: int) -> None:
    """Ignore signals, which the training process handles, and end with the training process.

    PyTorch's processes look for their parent every five seconds. If the parent dies before the
    first look, they never notice.
    """
    ignore_signals()
    local_processes.end_with_parent()


def _as_it_is(item: Any) -> Any:
    return item


def _shared_tensor(shape: list[int], dtype: torch.dtype) -> Tensor:
    if multiprocessing.get_start_method() != "fork":
        return torch.empty(shape, dtype=dtype).share_memory_()
    # Ordinary memory: containers limit files in /dev/shm.
    num_bytes = int(np.prod(shape)) * dtype.itemsize
    return (
        torch.frombuffer(mmap.mmap(-1, max(num_bytes, 1)), dtype=torch.uint8)[:num_bytes]
        .view(dtype)
        .view(shape)
    )
