"""Limit the memory of a network by the size of its file, because a small file could fill it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError

MAX_USES = 2  # of each number in a file, on average; existing networks use each number once
FREE_BYTES = 1 << 20  # of copies that are not counted

MAX_IMAGE_TO_WEIGHTS = 64  # bytes of an image for each byte of the network
FREE_IMAGE_BYTES = 256 << 20  # allowed for any network: 4096x4096 pixels of four channels


class Sharing:
    """Counts how often the tensors and arrays of one file share numbers.

    Each tensor is counted before it is copied.
    """

    def __init__(self) -> None:
        self._stored: dict[int, int] = {}  # bytes of each storage, by its address
        self._num_copied = 0

    def add_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors.

        Raises:
            ValueError: If copies of all tensors and arrays would be far larger than the file.
        """
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._add(storage.data_ptr(), storage.nbytes(), tensor.numel() * tensor.itemsize)
        self._check()

    def add_arrays(self, arrays: Iterable[np.ndarray]) -> None:
        """Count arrays, which become float32; raises as `add_tensors` does."""
        for array in arrays:
            owner = _owner(array)
            # A number of one byte takes four bytes as float32.
            num_stored = owner.nbytes if isinstance(owner, np.ndarray) else len(owner)
            self._add(id(owner), num_stored, max(array.nbytes, 2 * array.size))
        self._check()

    def _add(self, address: int, num_stored: int, num_copied: int) -> None:
        self._stored[address] = num_stored
        self._num_copied += num_copied

    def _check(self) -> None:
        if self._num_copied > MAX_USES * sum(self._stored.values()) + FREE_BYTES:
            raise InputError("its tensors are larger than what the file holds")


def check_image_size(module: torch.nn.Module) -> None:
    """Refuse a network whose images are out of all proportion to its weights.

    Args:
        module: The network, on any device. Networks without `img_resolution` pass.

    Raises:
        ValueError: If one image takes far more memory than the network.
    """
    if not hasattr(module, "img_resolution"):
        return
    network: Any = module
    num_bytes = 4 * network.img_channels * network.img_resolution**2  # float32
    tensors = (*module.parameters(), *module.buffers())
    num_weight_bytes = sum(tensor.numel() * tensor.itemsize for tensor in tensors)
    if num_bytes > max(FREE_IMAGE_BYTES, MAX_IMAGE_TO_WEIGHTS * num_weight_bytes):
        size = f"{network.img_resolution}x{network.img_resolution}"
        raise InputError(
            f"its images are {size} pixels large ({num_bytes >> 20} MiB each), which is out of all "
            f"proportion to its weights ({num_weight_bytes >> 10} KiB)"
        )


def _owner(array: np.ndarray) -> np.ndarray | bytes | bytearray:
    """The object that owns the numbers of an array."""
    owner: Any = array
    while isinstance(owner, (np.ndarray, memoryview)):
        base = owner.obj if isinstance(owner, memoryview) else owner.base
        if base is None:
            break
        owner = base
    return owner
