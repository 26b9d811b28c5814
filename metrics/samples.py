"""Random numbers for generated images, by image number: the same however work is divided.

A counter-based generator (Philox; Salmon et al. 2011) on the CPU draws the numbers of sample `i`
without the numbers of earlier samples, so all devices and any number of processes agree.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dnnlib.cli import MAX_SEED

_LATENTS, _LABELS, _NOISE = range(3)  # independent sequences


def latents(seed: int, start: int, stop: int, z_dim: int) -> Tensor:
    """Latents of the samples from `start` to before `stop`, float32 `[N, z_dim]` on the CPU."""
    rows = [
        _generator(seed, _LATENTS, idx).standard_normal(z_dim, dtype=np.float32)
        for idx in range(start, stop)
    ]
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros([0, z_dim])


def label_indices(seed: int, start: int, stop: int, num_items: int) -> list[int]:
    """The training items whose labels the samples from `start` to before `stop` get."""
    return [int(_generator(seed, _LABELS, idx).integers(num_items)) for idx in range(start, stop)]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy from the CPU without waiting for queued work of a GPU."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # copies from other memory wait for this work
    return tensor.to(device, non_blocking=True)


def seed_torch(seed: int | None, idx: int) -> None:
    """Seed PyTorch's global generators, of all devices, for batch `idx`; `None` leaves them."""
    if seed is not None:
        torch.manual_seed(int(_generator(seed, _NOISE, idx).integers(MAX_SEED + 1)))


@contextlib.contextmanager
def preserved_generators(device: torch.device) -> Iterator[None]:
    """Restore the global random generators, so that evaluation does not change a training."""
    state = np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(state)


def _generator(seed: int, stream: int, idx: int) -> np.random.Generator:
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, 0, idx, 0], dtype=np.uint64)  # the first words count the drawn numbers
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
