"""Runs the CUDA kernels of `torch_utils/ops/cuda` on the CPU, see `cuda_emulator.h`.

`launch` stands in for `torch_utils.ops.cuda.launcher.launch`; the launchers of the ops then take
CPU tensors:

    monkeypatch.setattr(launcher, "launch", emulator.launch)
    monkeypatch.setattr(launcher, "launch", functools.partial(emulator.launch, seed=1))
"""

import ctypes
import math
import mmap
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tests.cuda_emulator.building import EmulatorError, build, source_lines

SOURCES = Path(__file__).parents[2] / "torch_utils" / "ops" / "cuda"

PROT_NONE = 0  # of mprotect(2)

_kernels: dict[tuple[Path, str], tuple["_Library", int]] = {}


@dataclass(frozen=True)
class Mutation:
    """What a test breaks in a kernel, to see that the emulator finds it.

    Attributes:
        barrier: File name and line of a barrier that is left out.
        array: Name of an array in shared memory.
        missing_bytes: The array is so much shorter than declared.
        shift_bytes: The array is so far from an address that its type may have.
    """

    barrier: tuple[str, int] | None = None
    array: str | None = None
    missing_bytes: int = 0
    shift_bytes: int = 0


class SharedArray(NamedTuple):
    """A variable in shared memory, and how many of its bytes a launch has used."""

    name: str
    bytes: int
    alignment: int
    used_bytes: int


def launch(
    source: str | Path,
    specialisation: str,
    device: torch.device | None,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[ctypes._SimpleCData],
    shared_bytes: int = 0,
    seed: int = 0,
    mutation: Mutation | None = None,
) -> None:
    """Run a kernel on the CPU.

    Args:
        source: Name of a file in `torch_utils/ops/cuda`, or the path of any other.
        specialisation: C++ expression that names the kernel.
        device: Not used.
        grid: Number of blocks, up to three dimensions.
        block: Number of threads, likewise.
        args: The arguments of the kernel; pointers to CPU memory are `c_void_p`.
        shared_bytes: Dynamic shared memory.
        seed: Other than 0, shuffles the threads of a block at every barrier.
        mutation: What to break; nothing by default.

    Raises:
        EmulatorError: See the head of `cuda_emulator.h`.
    """
    library, index = _kernel(source, specialisation)
    sizes = (ctypes.c_int * 64)()
    count = library.functions.emulator_argument_sizes(index, sizes)
    given = [ctypes.sizeof(arg) for arg in args]
    if given != sizes[:count]:
        raise EmulatorError(
            f"{specialisation}: arguments of {given} bytes, the kernel takes {sizes[:count]}"
        )
    pointers = (ctypes.c_void_p * max(1, count))(*(ctypes.addressof(arg) for arg in args))
    mutant = _Mutation.of(mutation or Mutation())
    sizes = _dim3(grid), _dim3(block), ctypes.c_size_t(shared_bytes)
    error = library.functions.emulator_launch(index, pointers, *sizes, seed, ctypes.byref(mutant))
    if error is not None:
        raise EmulatorError(f"{specialisation}: {_with_lines(error.decode(), library.path)}")


def shared_arrays(source: str | Path, specialisation: str) -> list[SharedArray]:
    """Variables in shared memory of a kernel, as its last launch used them."""
    library, _ = _kernel(source, specialisation)
    arrays = []
    while array := library.functions.emulator_shared_array(ctypes.c_size_t(len(arrays))):
        value = array.contents
        arrays.append(SharedArray(value.name.decode(), *value.sizes()))
    return [array for array in arrays if array.bytes > 0]


def prepare(source: str | Path, specialisations: Sequence[str]) -> None:
    """Build several kernels at once, which takes less time than each for itself.

    Raises:
        EmulatorError: If they do not compile.
    """
    path = SOURCES / source
    library = build(path, specialisations)
    functions = ctypes.CDLL(str(library))
    functions.emulator_launch.restype = ctypes.c_char_p
    functions.emulator_shared_array.restype = ctypes.POINTER(_SharedArray)
    for index, specialisation in enumerate(specialisations):
        _kernels[path, specialisation] = _Library(library, functions), index


def guarded(tensor: Tensor) -> Tensor:
    """A copy of `tensor`, same strides, between pages that must not be touched.

    The end of the tensor (up to 15 bytes, so that its address is a multiple of 16) is the end of
    its last page.
    """
    num_bytes = 0
    if tensor.numel():
        last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        num_bytes = (last + 1) * tensor.element_size()
    data_bytes = -(-max(num_bytes, 1) // 16) * 16
    num_pages = -(-data_bytes // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (num_pages + 2) * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (0, num_pages + 1):
        where = ctypes.c_void_p(address + page * mmap.PAGESIZE)
        if libc.mprotect(where, ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect failed")
    offset = (num_pages + 1) * mmap.PAGESIZE - data_bytes
    flat = torch.frombuffer(
        memory, dtype=tensor.dtype, count=data_bytes // tensor.element_size(), offset=offset
    )
    return flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor)


def guarded_empty(*size, **kwargs) -> Tensor:
    """`torch.empty` in guarded memory, filled with NaN (or ones, all of them, in integers).

    To be patched over `torch.empty`, so that the outputs of launchers are guarded.
    """
    kwargs.pop("device", None)
    y = guarded(_empty(*size, **kwargs))
    return y.fill_(math.nan if y.is_floating_point() else torch.iinfo(y.dtype).max)


_empty = torch.empty  # the real one


class _Dim3(ctypes.Structure):
    _fields_ = [("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint)]


class _Mutation(ctypes.Structure):
    """`Mutation` in `runtime.h`."""

    _fields_ = [
        *(("barrier_file", ctypes.c_char_p), ("barrier_line", ctypes.c_int)),
        *(("array", ctypes.c_char_p), ("missing_bytes", ctypes.c_int)),
        ("shift_bytes", ctypes.c_int),
    ]

    @staticmethod
    def of(mutation: Mutation) -> "_Mutation":
        file, line = mutation.barrier or (None, 0)
        array = mutation.array and mutation.array.encode()
        return _Mutation(
            file and file.encode(), line, array, mutation.missing_bytes, mutation.shift_bytes
        )


class _SharedArray(ctypes.Structure):
    """`SharedArray` in `runtime.h`, as far as it is of interest."""

    _fields_ = [
        *(("name", ctypes.c_char_p), ("bytes", ctypes.c_size_t), ("alignment", ctypes.c_size_t)),
        *(("has_nan", ctypes.c_bool), ("address", ctypes.c_void_p), ("limit", ctypes.c_size_t)),
        ("used_bytes", ctypes.c_size_t),
    ]

    def sizes(self) -> tuple[int, int, int]:
        return self.bytes, self.alignment, self.used_bytes


def _with_lines(error: str, library: Path) -> str:
    """A message with file and line for each address in the code, which "@" marks."""
    addresses = re.findall(r"@([0-9a-f]+)", error)
    for address, line in zip(addresses, source_lines(library, addresses), strict=True):
        error = error.replace(f"@{address}", line, 1)
    return error


def _dim3(size: int | Sequence[int]) -> _Dim3:
    size = (size,) if isinstance(size, int) else tuple(size)
    return _Dim3(*size, *[1] * (3 - len(size)))


class _Library(NamedTuple):
    path: Path
    functions: ctypes.CDLL


def _kernel(source: str | Path, specialisation: str) -> tuple[_Library, int]:
    """Library with a kernel, and its number there."""
    key = SOURCES / source, specialisation
    if key not in _kernels:
        prepare(source, [specialisation])
    return _kernels[key]
