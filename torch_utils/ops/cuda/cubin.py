"""Compiled CUDA kernels, and the files that keep them.

A file is written under a temporary name and renamed: a killed process leaves no damaged kernel, and
processes that compile at the same time do not disturb each other.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from dnnlib import ownership
from torch_utils.ops.kernel_cache import is_own, is_private, kernel_cache_dir


@dataclass(frozen=True)
class Cubin:
    """A compiled kernel.

    Attributes:
        code: Machine code, or PTX, which the driver compiles.
        kind: `"cubin"` or `"ptx"`.
        symbol: Mangled name of the kernel.
        registers: Registers per thread; 0 if unknown, as in PTX.
        shared_bytes: Static shared memory per block.
        spill_bytes: Bytes of registers per thread that are spilled to memory.
        stack_bytes: Bytes of local memory per thread, spills included.
        compile_sec: CPU time that compiling took.
    """

    code: bytes
    kind: str
    symbol: str
    registers: int
    shared_bytes: int
    spill_bytes: int
    stack_bytes: int
    compile_sec: float


def cache_dir() -> Path | None:
    """The folder of compiled kernels; `None` (with one warning) if others may write to it."""
    folder = kernel_cache_dir("cuda_kernels")
    return folder if is_private(folder, "CUDA") else None


def read(path: Path) -> Cubin | None:
    """Read a kernel; `None` if the file is missing, damaged, or perhaps written by another user."""
    if not is_own(path, "CUDA"):
        return None
    try:
        digest, header, code = path.read_bytes().split(b"\n", 2)
        if hashlib.sha256(header + code).hexdigest().encode() != digest:
            return None
    except (OSError, ValueError):
        return None
    return Cubin(code=code, **json.loads(header))


def write(path: Path, cubin: Cubin) -> None:
    """Keep a kernel for later processes, if the cache can be written to."""
    values = asdict(cubin)
    code = values.pop("code")
    header = json.dumps(values).encode()
    digest = hashlib.sha256(header + code).hexdigest().encode()
    temporary = None
    try:
        ownership.make_private(path.parent)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix="new-", delete=False) as file:
            temporary = Path(file.name)
            file.write(b"\n".join([digest, header, code]))
        temporary.chmod(0o644)  # root may share its cache with all users
        os.replace(temporary, path)
    except OSError:  # the cache is read-only or full: compile in every process
        if temporary is not None:
            temporary.unlink(missing_ok=True)
