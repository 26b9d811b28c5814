"""Read tensors from pickles without running code in them: see `dnnlib.restricted_pickle`."""

import dataclasses
import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

import torch
from torch import Tensor

from dnnlib.restricted_arrays import NAMED_ONLY, ArrayUnpickler
from dnnlib.restricted_pickle import check_shapes

# First bytes of a file of `torch.save` before PyTorch 1.6.
OLD_MAGIC = 0x1950A86A20F9469CFC6C
OLD_VERSION = 1001
NUM_OLD_PICKLES = 5  # magic number, version, system information, contents, keys of the storages


@dataclasses.dataclass(eq=False, repr=False)
class Storage:
    """The numbers of one or several tensors, in one dimension."""

    numbers: Tensor


class TensorUnpickler(ArrayUnpickler):
    """Also reads tensors; `allowed` is filled at the end of this file."""

    handlers: ClassVar[Mapping[int, Callable[[Any], None]]] = {
        **ArrayUnpickler.handlers,
        # Calls `persistent_load`, which refuses everything unless a subclass overrides it.
        pickle.BINPERSID[0]: pickle._Unpickler.dispatch[pickle.BINPERSID[0]],
    }

    def set_state_of(self, obj: Any, state: Any) -> None:
        if not isinstance(obj, OrderedDict):  # its attributes are not used
            super().set_state_of(obj, state)


class StorageUnpickler(TensorUnpickler):
    """Reads the pickles inside `torch.save`'s old format, which name types of numbers."""

    allowed: ClassVar[Mapping[tuple[str, str], Any]] = {
        ("torch", f"{name}Storage"): dtype
        for name, dtype in {
            "Double": torch.float64,
            "Float": torch.float32,
            "Half": torch.float16,
            "BFloat16": torch.bfloat16,
            "Long": torch.int64,
            "Int": torch.int32,
            "Short": torch.int16,
            "Char": torch.int8,
            "Byte": torch.uint8,
            "Bool": torch.bool,
        }.items()
    }

    def __init__(self, f: BinaryIO, max_instructions: int = 100) -> None:
        super().__init__(f, max_instructions)

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _load_storage(data: bytes) -> Storage:
    """Read what `torch.save` writes of a storage in its old format, which pickles contain.

    Five pickles: a magic number, a version, facts of the system, the storage's
    `("storage", dtype, key, location, size, None)`, and a list with its key. Then the size again,
    as eight bytes, and the numbers, both little-endian.
    """
    f = io.BytesIO(data)
    magic, version, _, storage, _ = (StorageUnpickler(f).load() for _ in range(NUM_OLD_PICKLES))
    if magic != OLD_MAGIC or version != OLD_VERSION:
        raise pickle.UnpicklingError("it has a tensor of an unknown format")
    kind, dtype, _, _, num, view = storage
    content = memoryview(data)[f.tell() :]
    if kind != "storage" or view is not None or not isinstance(dtype, torch.dtype):
        raise pickle.UnpicklingError("it has a tensor of an unknown format")
    if type(num) is not int or num < 0 or content[:8] != num.to_bytes(8, "little"):
        raise pickle.UnpicklingError("it has a tensor without data")
    if len(content) != 8 + num * dtype.itemsize:
        raise pickle.UnpicklingError("it has a tensor that is larger or smaller than its data")
    if num == 0:
        return Storage(torch.empty(0, dtype=dtype))
    return Storage(torch.frombuffer(bytearray(content[8:]), dtype=dtype))


def _rebuild_tensor(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *ignored: Any
) -> Tensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("it has a tensor without data")
    check_shapes((offset,), size, stride)
    # A tensor may repeat a number many times, and a copy of it could fill the memory.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and max(last, math.prod(size) - 1) >= len(storage.numbers):
        raise pickle.UnpicklingError("it has a tensor that is larger than its data")
    return storage.numbers.as_strided(size, stride, offset)


def _rebuild_parameter(data: Tensor, requires_grad: bool, *ignored: Any) -> torch.nn.Parameter:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("it has a parameter that is no tensor")
    return torch.nn.Parameter(data, bool(requires_grad))


def _rebuild_with_attributes(rebuild: Callable, kind: Any, args: tuple, *ignored: Any) -> Tensor:
    if rebuild is not _rebuild_tensor and rebuild is not _rebuild_parameter:
        raise pickle.UnpicklingError("it has a tensor of an unknown kind")
    return rebuild(*args)


def _ordered_dict() -> OrderedDict:
    return OrderedDict()


def _size(numbers: tuple[int, ...]) -> torch.Size:
    check_shapes(numbers)
    return torch.Size(numbers)


def _device(kind: str, *index: int) -> torch.device:
    if not isinstance(kind, str):  # a number would ask for the accelerator of this machine
        raise pickle.UnpicklingError("it has an unknown device")
    return torch.device(kind, *index)


# The parts of a state dict, besides the types of its storages.
STATE_DICT_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
_DTYPES = ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64", "bool")
TensorUnpickler.allowed = {
    **ArrayUnpickler.allowed,
    **STATE_DICT_NAMES,
    ("torch", "Tensor"): NAMED_ONLY,
    ("torch._tensor", "Tensor"): NAMED_ONLY,
    ("torch.nn.parameter", "Parameter"): NAMED_ONLY,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_with_attributes,
    **{("torch", name): getattr(torch, name) for name in _DTYPES},
}
