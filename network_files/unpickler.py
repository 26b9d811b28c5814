"""Read network pickles without running code in them.

See `dnnlib.restricted_pickle`. Objects that carry their source become `Record`s, which hold
the source as text.
"""

import dataclasses
import pickle
from typing import Any, BinaryIO

import numpy as np
import torch

from dnnlib import EasyDict, moved
from dnnlib.errors import InputError
from dnnlib.restricted_pickle import ForbiddenError as ForbiddenError
from network_files.tensorflow_object import TensorFlowNetwork
from torch_utils import persistence
from torch_utils.restricted_tensors import TensorUnpickler

__getattr__ = moved.names_of(__name__)
MAX_DEPTH = 64  # of nested containers
MAX_INSTRUCTIONS = 300_000  # three large networks have 30 000
MAX_NAME = 200  # characters of a class name
MAX_ITEMS = 100_000  # of all options together
MAX_OPTION_BYTES = 10_000_000  # of texts in options; a shared text counts every time


@dataclasses.dataclass(eq=False, repr=False)  # a record may contain itself
class Record:
    """The description of a persistent object in a pickle; see `torch_utils.persistence`."""

    class_name: str
    module_src: str
    state: dict[str, Any]


def load(f: BinaryIO) -> Any:
    """Read one pickle.

    Args:
        f: The pickle, open for reading in binary mode.

    Returns:
        Plain data, tensors (on the CPU), arrays, `Record`s and `TensorFlowNetwork`s.

    Raises:
        ForbiddenError: If the pickle holds anything else. No code of the pickle has run.
        EOFError: If the pickle ends too early.
        Exception: Damaged pickles can raise anything.
    """
    return NetworkUnpickler(f).load()


def plain(value: Any, max_items: int = MAX_ITEMS) -> Any:
    """Copy nested containers, numbers and texts to Python's own types, for use as arguments.

    Dictionaries become `EasyDict`s, NumPy's scalars become Python's. Arrays are not copied.

    Args:
        value: A part of the result of `load`.
        max_items: Largest number of items in all containers together.

    Raises:
        ValueError: If the value contains anything else, such as a tensor, or is out of all
            proportion.
    """
    return _PlainCopy(max_items).of(value, depth=0)


class _PlainCopy:
    """Copies containers with limited numbers of items and characters.

    A container may contain itself, or be shared so often that copies would fill the memory. Texts
    and arrays are shared here, but are repeated when the copy is written or printed.
    """

    def __init__(self, max_items: int) -> None:
        self.num_items_left = max_items
        self.num_bytes_left = MAX_OPTION_BYTES
        self.arrays: dict[int, np.ndarray] = {}  # by the address of the original

    def of(self, value: Any, depth: int) -> Any:
        self.num_items_left -= 1
        if isinstance(value, (str, bytes)):
            self.num_bytes_left -= len(value)
        if depth > MAX_DEPTH or self.num_items_left < 0 or self.num_bytes_left < 0:
            raise InputError("the options in the pickle are nested without end")
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise InputError("the options in the pickle have keys that are not texts")
            copies = {key: self.of(item, depth + 1) for key, item in value.items()}
            return EasyDict(copies)
        if isinstance(value, (list, tuple)):
            return type(value)(self.of(item, depth + 1) for item in value)
        if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
            return value.item()
        if isinstance(value, np.ndarray):
            return self.arrays.setdefault(id(value), np.asarray(value))
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return value
        if isinstance(value, (torch.dtype, torch.device)):
            return value
        raise InputError(f"the options in the pickle contain a {type(value).__name__}")


class NetworkUnpickler(TensorUnpickler):
    """Reads what pickles of networks hold; `allowed` is filled at the end of this file."""

    def __init__(self, f: BinaryIO) -> None:
        super().__init__(f, MAX_INSTRUCTIONS)

    def make_object(self) -> None:
        args = self.stack.pop()
        cls = self.stack.pop()
        is_known = cls is EasyDict or cls is TensorFlowNetwork
        if not is_known or not isinstance(args, tuple) or args:
            raise pickle.UnpicklingError("it makes an object of an unknown kind")
        self.append(cls())

    def set_state_of(self, obj: Any, state: Any) -> None:
        if isinstance(obj, TensorFlowNetwork):
            obj.__setstate__(state)
        else:
            super().set_state_of(obj, state)


def _record(meta: dict) -> Record:
    kinds = {"type": str, "version": int, "module_src": str, "class_name": str, "state": dict}
    if not isinstance(meta, dict) or not all(
        isinstance(meta.get(key), kind) for key, kind in kinds.items()
    ):
        raise pickle.UnpicklingError("a persistent object lacks its source, class name or state")
    if len(meta["class_name"]) > MAX_NAME:
        raise pickle.UnpicklingError("it has a class with an endless name")
    persistence.check_version(meta)
    return Record(meta["class_name"], meta["module_src"], meta["state"])


NetworkUnpickler.allowed = {
    **TensorUnpickler.allowed,
    ("dnnlib", "EasyDict"): EasyDict,
    ("dnnlib.util", "EasyDict"): EasyDict,
    ("dnnlib.tflib.network", "Network"): TensorFlowNetwork,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _record,
}
NetworkUnpickler.handlers = {
    **TensorUnpickler.handlers,
    pickle.NEWOBJ[0]: NetworkUnpickler.make_object,
}
