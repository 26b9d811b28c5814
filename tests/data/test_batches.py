"""Batches of training images: the same order after everything that can happen."""

import os
import signal

import numpy as np
import pytest
import torch

from data.batches import TrainingBatches
from dnnlib.errors import InputError
from torch_utils.distributed import Worker

LOADER = dict(pin_memory=True, prefetch_factor=2)


class Numbers:
    """Images that show their number; some are damaged."""

    image_shape = (1, 2, 2)
    label_dim = 0

    def __init__(self, damaged: tuple[int, ...] = (), num: int = 20) -> None:
        self.damaged = damaged
        self.num = num

    def __len__(self) -> int:
        return self.num

    def load_into(self, idx: int, image: torch.Tensor) -> np.ndarray:
        if idx in self.damaged:
            raise OSError(f"data.zip: cannot read the image {idx}.png")
        image.fill_(idx)
        return np.zeros(0, np.float32)


def batches(num_workers=0, rank=0, size=1, damaged=(), **kwargs) -> TrainingBatches:
    return TrainingBatches(
        Worker(rank, size),
        Numbers(damaged),
        batch_size=8,
        seed=3,
        loader_kwargs=dict(num_workers=num_workers, **LOADER),
        **kwargs,
    )


def load(source: TrainingBatches, num: int) -> list[list[int]]:
    return [source.load()[0][:, 0, 0, 0].tolist() for _ in range(num)]


def test_continues_after_the_batches_that_were_seen():
    expected = load(batches(), 6)
    assert load(batches(start=4), 2) == expected[4:]


def test_any_number_of_processes_sees_the_same_batches():
    expected = [sorted(batch) for batch in load(batches(), 4)]
    parts = [load(batches(rank=rank, size=2, start=1), 3) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == expected[1:]


def test_random_numbers_of_training_are_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load(batches(num_workers=1), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_process_that_dies_is_replaced():
    expected = load(batches(), 12)
    source = batches(num_workers=1)
    got = load(source, 2)
    os.kill(source._loader.worker_pids[0], signal.SIGKILL)
    with pytest.warns(UserWarning, match="a process that loads training images has died"):
        got += load(source, 10)
    assert got == expected


def test_loading_processes_leave_signals_to_training():
    source = batches(num_workers=1)
    got = load(source, 1)
    for num in (signal.SIGINT, signal.SIGTERM):
        os.kill(source._loader.worker_pids[0], num)
    assert got + load(source, 5) == load(batches(), 6)


def test_damaged_image_ends_training_in_one_line():
    for num_workers in (0, 1):
        source = batches(num_workers, damaged=tuple(range(20)))
        with pytest.raises(RuntimeError) as info:
            source.load()
        assert str(info.value).startswith("loading training images failed: ")
        assert str(info.value).count("cannot read the image") == 1
        assert "\n" not in str(info.value)


def test_damaged_images_are_skipped_and_counted_when_asked():
    whole, source = batches(), batches(damaged=(5, 6), skip_damaged=True)
    expected = [[7 if n in (5, 6) else n for n in batch] for batch in load(whole, 10)]
    assert load(source, 10) == expected
    num_5, num_6 = (sum(batch.count(n) for batch in load(batches(), 10)) for n in (5, 6))
    assert source.take_num_skipped() == 2 * num_5 + num_6 > 0
    assert source.take_num_skipped() == 0


def test_images_of_another_size_are_not_skipped_as_damaged(monkeypatch):
    def refuse(*args):
        raise InputError("b.png is 8x8, but a.png is 4x4")

    monkeypatch.setattr(Numbers, "load_into", refuse)
    for num_workers in (0, 1):
        source = batches(num_workers, skip_damaged=True)
        with pytest.raises(RuntimeError, match=r"failed: b\.png is 8x8"):
            source.load()


def test_dataset_without_a_readable_image_is_refused():
    source = batches(damaged=tuple(range(20)), skip_damaged=True)
    with pytest.raises(RuntimeError, match="no image of the dataset can be read"):
        source.load()
