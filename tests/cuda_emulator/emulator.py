"""Runs the CUDA kernels of `torch_utils/ops/cuda` on the CPU, see `cuda_emulator.h`.

`launch` stands in for `torch_utils.ops.cuda.launcher.launch`; the launchers of the ops then take
CPU tensors:

    monkeypatch.setattr(launcher, "launch", emulator.launch)
    monkeypatch.setattr(launcher, "launch", functools.partial(emulator.launch, seed=1))
"""

import ctypes
import hashlib
import math
import mmap
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "torch_utils" / "ops" / "cuda"
FLAGS = ["-O1", "-std=gnu++20", "-fPIC", "-shared", "-w", "-x", "c++"]

PROT_NONE = 0  # of mprotect(2)

# In a function, dynamic shared memory is a pointer, where C++ has no such array.
DYNAMIC_SHARED = re.compile(
    r"extern\s+__shared__\s+(?:(?:__align__|alignas)\(\w+\)\s*)?([\w ]+?)\s+(\w+)\[\];"
)

_kernels: dict[tuple[Path, str], tuple[ctypes.CDLL, int]] = {}


class EmulatorError(RuntimeError):
    """A kernel did what a GPU would not survive, or only by luck."""


def launch(
    source: str | Path,
    specialisation: str,
    device: torch.device | None,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[ctypes._SimpleCData],
    shared_bytes: int = 0,
    seed: int = 0,
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

    Raises:
        EmulatorError: See the head of `cuda_emulator.h`.
    """
    library, index = _kernel(source, specialisation)
    sizes = (ctypes.c_int * 64)()
    count = library.emulator_argument_sizes(index, sizes)
    given = [ctypes.sizeof(arg) for arg in args]
    if given != sizes[:count]:
        raise EmulatorError(
            f"{specialisation}: arguments of {given} bytes, the kernel takes {sizes[:count]}"
        )
    pointers = (ctypes.c_void_p * max(1, count))(*(ctypes.addressof(arg) for arg in args))
    error = library.emulator_launch(
        index, pointers, _dim3(grid), _dim3(block), ctypes.c_size_t(shared_bytes), seed
    )
    if error is not None:
        raise EmulatorError(f"{specialisation}: {error.decode()}")


def prepare(source: str | Path, specialisations: Sequence[str]) -> None:
    """Build several kernels at once, which takes less time than each for itself.

    Raises:
        EmulatorError: If they do not compile.
    """
    path = SOURCES / source
    library = ctypes.CDLL(str(_build(path, specialisations)))
    library.emulator_launch.restype = ctypes.c_char_p
    for index, specialisation in enumerate(specialisations):
        _kernels[path, specialisation] = library, index


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


def _dim3(size: int | Sequence[int]) -> _Dim3:
    size = (size,) if isinstance(size, int) else tuple(size)
    return _Dim3(*size, *[1] * (3 - len(size)))


def _kernel(source: str | Path, specialisation: str) -> tuple[ctypes.CDLL, int]:
    """Library with a kernel, and its number there."""
    key = SOURCES / source, specialisation
    if key not in _kernels:
        prepare(source, [specialisation])
    return _kernels[key]


def _build(path: Path, specialisations: Sequence[str]) -> Path:
    """Compile kernels to a library, unless there is one already."""
    files = [path, *path.parent.glob("*.cuh"), *HERE.glob("*.h"), *HERE.glob("*.cuh")]
    text = _text(path, specialisations)
    key = "\0".join([text, *FLAGS, *(file.read_text() for file in files)])
    folder = os.environ.get("STYLEGAN3_KERNEL_CACHE_DIR") or tempfile.gettempdir()
    folder = Path(folder) / "cuda_emulator"
    target = folder / f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as build_dir:
        output = Path(build_dir) / "kernels.so"
        command = ["g++", *FLAGS, f"-I{HERE}", f"-I{path.parent}", "-", "-o", str(output)]
        result = subprocess.run(command, input=text, capture_output=True, text=True)
        if result.returncode != 0:
            raise EmulatorError(f"{path.name}, {specialisations}:\n{result.stderr[-4000:]}")
        os.replace(output, target)
    return target


def _text(path: Path, specialisations: Sequence[str]) -> str:
    """C++ source of a library."""
    kernel = DYNAMIC_SHARED.sub(
        r"\1* const \2 = static_cast<\1*>(emulator::dynamic_shared());", path.read_text()
    )
    table = "".join(
        f"case {i}: return emulator::visit<&{s}>(visitor);\n" for i, s in enumerate(specialisations)
    )
    return f"""\
#include "cuda_emulator.h"
#line 1 "{path}"
{kernel}
#line 1 "kernels"
namespace emulator {{
template <auto kernel, class Visitor> auto visit(Visitor visitor) {{
    return visitor.template operator()<kernel>();
}}
template <class Visitor> auto with_kernel(int index, Visitor visitor) {{
    switch (index) {{
        default:
        {table}
    }}
}}
}}  // namespace emulator
extern "C" int emulator_argument_sizes(int index, int* sizes) {{
    return emulator::with_kernel(
        index, [=]<auto kernel>() {{ return emulator::argument_sizes(kernel, sizes); }});
}}
extern "C" const char* emulator_launch(
    int index, void** args, dim3 grid, dim3 block, size_t shared_bytes, uint32_t seed) {{
    return emulator::with_kernel(index, [=]<auto kernel>() {{
        return emulator::launch(emulator::call<kernel>, args, grid, block, shared_bytes, seed);
    }});
}}
"""
