"""The order in which training sees the images of a dataset."""

from array import array
from collections.abc import Iterator, Sized

import numpy as np
import torch.utils.data

from dnnlib.errors import InputError


class InfiniteSampler(torch.utils.data.Sampler):
    """Endless indices into a data set; each process gets its own part of them.

    The indices lie in slots, shuffled once. The common sequence reads the slots round and round.
    After a slot is read, its index is swapped with the index of an earlier slot at a random
    distance below `window_size` of all slots, so the order changes slowly from round to round.
    Process k of m takes the positions k, k + m, k + 2m, ... of the sequence.

    Args:
        dataset: Anything with a length.
        rank: Index of the part.
        num_replicas: Number of parts.
        shuffle: `False` for the order of the data set.
        seed: Random seed, the same for all parts.
        window_size: Largest distance of a trade, as a fraction of the data set.
        start: Number of indices of this part to skip when a run is resumed.
    """

    def __init__(
        self,
        dataset: Sized,
        rank: int = 0,
        num_replicas: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        window_size: float = 0.5,
        start: int = 0,
    ):
        if len(dataset) < 1:
            raise InputError("InfiniteSampler: the data set is empty")
        if not 0 <= rank < num_replicas:
            raise InputError(f"InfiniteSampler: no part {rank} of {num_replicas}")
        if not 0 <= window_size <= 1:
            raise InputError(f"InfiniteSampler: `window_size` must be in [0, 1], got {window_size}")
        if start < 0:
            raise InputError(f"InfiniteSampler: `start` must not be negative, got {start}")
        super().__init__()
        self.dataset = dataset
        self.rank = rank
        self.num_replicas = num_replicas
        self.shuffle = shuffle
        self.seed = seed
        self.window_size = window_size
        self.start = start

    def __iter__(self) -> Iterator[int]:
        num_items = len(self.dataset)
        rng = np.random.RandomState(self.seed)
        order = np.arange(num_items)
        window = 0
        if self.shuffle:
            rng.shuffle(order)
            window = round(num_items * self.window_size)
        slots = array("q", order.tolist())  # plain integers, far quicker one by one than NumPy's
        position, slot = 0, 0
        next_position = self.start * self.num_replicas + self.rank
        while True:
            # Blocks give the same numbers as single draws, at a fraction of the time.
            for back in rng.randint(window, size=4096).tolist() if window >= 2 else [0] * 4096:
                if position == next_position:
                    yield slots[slot]
                    next_position += self.num_replicas
                slots[slot], slots[slot - back] = slots[slot - back], slots[slot]
                position += 1
                slot = slot + 1 if slot + 1 < num_items else 0
