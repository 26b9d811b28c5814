"""Compiles the CUDA kernels beside this file on first use, and launches them.

NVRTC compiles one specialisation of a template at a time, for the architecture of the GPU at hand,
through NVIDIA's `cuda-core`; neither a GPU nor a host compiler is needed for that. What comes out
is kept on disk under a name that covers all it depends on. It is written beside its place and
renamed: a process that was killed leaves nothing that could be taken for a kernel, and processes
that compile at once do not disturb each other. What other users could have put there is not loaded.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from ctypes import addressof, c_void_p
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import SimpleNamespace

import torch

from dnnlib import ownership
from torch_utils.ops import compilation
from torch_utils.ops.cpu.compiler import BuildError, is_own, is_private, kernel_cache_dir

SOURCE_DIR = Path(__file__).parent
OPTIONS = {"std": "c++17", "ptxas_options": ["-v"]}  # -v reports the resources
MAX_PLAIN_SHARED_BYTES = 48 * 1024  # dynamic shared memory beyond it has to be asked for
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
# What the driver says at a launch, until when it may put off loading, about a kernel that does not
# suit the GPU. All else is about the launch, or about those before it.
UNSUITABLE = (
    "CUDA_ERROR_INVALID_IMAGE",
    "CUDA_ERROR_NO_BINARY_FOR_GPU",
    "CUDA_ERROR_INVALID_PTX",
    "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    "CUDA_ERROR_JIT_COMPILATION_DISABLED",
    "CUDA_ERROR_INVALID_SOURCE",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
)
# What it says at loading a kernel that has nothing to do with the kernel.
UNRELATED = (
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED",
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_LAUNCH_FAILED",
)
PROBE = "template <class T> __global__ void probe(T* x) {}\n"

# Kernels that could not be built when they were needed, which are not tried again in this process:
# (source, specialisation, architecture) -> reason.
failures: dict[tuple[str, str, str], str] = {}

_lock = threading.RLock()  # compiling and loading; launching kernels that are loaded needs none
_kernels = {}  # (source, specialisation, device index) -> loaded kernel
_thread = threading.local()  # .functions: those of `_kernels` that this thread has launched
_recorders: list[set[tuple[str, str]]] = []
_ahead: dict[tuple[str, str, str], Future] = {}  # (source, specialisation, architecture) -> Cubin


@dataclass(frozen=True)
class Cubin:
    """A compiled kernel.

    Attributes:
        code: Machine code, or PTX, which the driver compiles.
        kind: `"cubin"` or `"ptx"`.
        symbol: Mangled name of the kernel.
        registers: Registers per thread; 0 if unknown, as in PTX.
        shared_bytes: Static shared memory per block.
        spill_bytes: Bytes of registers per thread that are stored to memory.
        stack_bytes: Bytes of local memory per thread, that of spills included.
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


def is_available(index: int | None = None) -> bool:
    """Whether kernels can be compiled; if not, one warning tells why and what to do.

    Args:
        index: For this GPU; `None` for any that there may be.
    """
    return _can_compile_for(None if index is None else _arch(index))


def arch_of(device: torch.device) -> str:
    """Architecture of a GPU, as in `"sm_90"`."""
    return _arch(device.index or 0)


def local_archs() -> list[str]:
    """Architectures of the GPUs of this machine, as in `"sm_90"`."""
    return sorted({_arch(index) for index in range(torch.cuda.device_count())})


def launch(
    source: str,
    specialisation: str,
    device: torch.device,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    args: Sequence,
    shared_bytes: int = 0,
) -> None:
    """Launch a kernel on PyTorch's current stream of a device.

    The first launch of a kernel on a device compiles and loads it. Later ones neither allocate nor
    wait, so that they can become part of a CUDA graph.

    Args:
        source: File name beside this module.
        specialisation: C++ name of the kernel with its template arguments.
        device: Where; on the meta device nothing happens, see `record_launches`.
        grid: Number of blocks.
        block: Number of threads per block.
        args: What the kernel takes: scalars and structures of `ctypes`.
        shared_bytes: Dynamic shared memory per block.

    Raises:
        BuildError: If the kernel cannot be compiled or loaded. The first time for a source and an
            architecture there is a warning. The failure is remembered, and not tried again.
        RuntimeError: If the driver refuses the launch for another reason.
    """
    if device.type == "meta":
        for recorder in _recorders:
            recorder.add((source, specialisation))
        return
    current = torch.cuda.current_device()
    if device.index is not None and device.index != current:
        with torch.cuda.device(device):
            launch(source, specialisation, device, grid, block, args, shared_bytes)
        return
    function = _function(source, specialisation, current)
    if shared_bytes > MAX_PLAIN_SHARED_BYTES:
        _allow_shared_memory(source, specialisation, current)
    # The driver's own call, because that of cuda-core takes longer and no structures.
    stream = torch.cuda.current_stream(current).cuda_stream
    pointers = (c_void_p * len(args))(*map(addressof, args))
    (error,) = core().driver.cuLaunchKernel(
        function, *grid, *block, shared_bytes, stream, addressof(pointers), 0
    )
    if error != 0:
        if error.name in UNSUITABLE:
            raise _failed(
                source,
                specialisation,
                current,
                _not_loaded(source, specialisation, current, error.name),
            )
        raise RuntimeError(
            f"CUDA kernels: launching {specialisation} of {source} with grid {grid}, block {block} "
            f"and {shared_bytes} bytes of shared memory failed: {error.name}"
        )


@contextlib.contextmanager
def record_launches() -> Iterator[set[tuple[str, str]]]:
    """Collect `(source, specialisation)` of the launches on the meta device, which do nothing."""
    recorder: set[tuple[str, str]] = set()
    _recorders.append(recorder)
    try:
        yield recorder
    finally:
        _recorders.remove(recorder)


def compile_ahead(run: Callable[[], None], what: str, arch: str, num_threads: int) -> None:
    """Compile what a function launches on the meta device, while it runs and after that.

    `launch` takes kernels from here, and does not wait for those whose turn has not come. Failures
    are left to it. Once all are in the cache a file there says so, and nothing is done any more.

    Args:
        run: The function.
        what: All that decides about its launches, apart from the sources of the kernels.
        arch: Architecture of the GPU, as in `"sm_90"`.
        num_threads: How many kernels to compile at a time.
    """
    with contextlib.suppress(Exception), ThreadPoolExecutor(num_threads) as pool:
        cache_dir = _cache_dir()
        mark = cache_dir and cache_dir / f"complete-{_key('*.cu', what, *_target(arch))}"
        if mark and mark.exists():
            return
        submitted = _Submitted(pool, arch)
        _recorders.append(submitted)
        try:
            run()
        finally:
            _recorders.remove(submitted)
        if all(future.cancelled() or future.result() for future in submitted.values()) and mark:
            mark.touch()


class _Submitted(dict):
    """Takes the place of a set that launches are added to; kernel -> what comes of it."""

    def __init__(self, pool: ThreadPoolExecutor, arch: str) -> None:
        self.pool, self.arch = pool, arch

    def add(self, kernel: tuple[str, str]) -> None:
        if kernel not in self:
            self[kernel] = self.pool.submit(compile_cubin, *kernel, self.arch)
            _ahead[(*kernel, self.arch)] = self[kernel]


def compile_cubin(source: str, specialisation: str, arch: str) -> Cubin:
    """Compile a kernel, or take it from the cache on disk; needs no GPU.

    Args:
        source: File name beside this module.
        specialisation: C++ name of the kernel with its template arguments.
        arch: Architecture of the GPU, as in `"sm_90"`. An architecture newer than NVRTC gets PTX.

    Raises:
        BuildError: If a package is missing, NVRTC is too new for the GPU, or the code is faulty.
    """
    kind, target = _target(arch)
    name = f"{Path(source).stem}-{_key(source, specialisation, kind, target)}.bin"
    cache_dir = _cache_dir()
    cubin = _read(cache_dir / name) if cache_dir is not None else None
    if cubin is None:
        compilation.tell("Compiling CUDA kernels (once, a few seconds) ...")
        code = (SOURCE_DIR / source).read_text(encoding="utf-8")
        cubin = _compile(code, specialisation, kind, target, source)
        if cache_dir is not None:
            _write(cache_dir / name, cubin)
    return cubin


@functools.cache
def core() -> SimpleNamespace:
    """What is used of `cuda-core`, and the version of NVRTC.

    Raises:
        BuildError: If a package is missing.
    """
    try:
        from cuda.bindings import driver, nvrtc
    except ImportError as error:
        raise _missing("cuda-bindings", f"=={_cuda_major()}.*", error) from error
    try:
        from cuda import core as cuda_core
    except ImportError as error:
        raise _missing("cuda-core", "==1.2.2", error) from error
    suffix = _package_suffix()
    try:
        (_, *version), (_, archs) = nvrtc.nvrtcVersion(), nvrtc.nvrtcGetSupportedArchs()
    except (RuntimeError, OSError) as error:  # the library was not found, or does not load
        raise _missing("nvidia-cuda-nvrtc", suffix, error) from error
    return SimpleNamespace(
        Device=cuda_core.Device,
        ObjectCode=cuda_core.ObjectCode,
        Program=cuda_core.Program,
        ProgramOptions=cuda_core.ProgramOptions,
        driver=driver,
        nvrtc_version=".".join(map(str, version)),
        has_minimal=tuple(version) >= (12, 8),  # leaves out textures and the like, for speed
        archs=sorted(archs),
    )


@functools.cache
def _can_compile_for(arch: str | None) -> bool:
    try:
        _compile(PROBE, "probe<float>", *_target(arch or f"sm_{core().archs[-1]}"), "probe.cu")
    except BuildError as error:
        _warn_that_there_are_none(str(error))
        return False
    return True


@functools.cache  # once, even if it is so for several architectures
def _warn_that_there_are_none(reason: str) -> None:
    warnings.warn(
        f"CUDA kernels: {reason} Using PyTorch operations, which are several times slower and take "
        "more memory.",
        stacklevel=2,
    )


def _cuda_major() -> str:
    return (torch.version.cuda or "13").partition(".")[0]


def _package_suffix() -> str:
    """What the names of NVIDIA's packages end with."""
    return "-cu12" if _cuda_major() == "12" else f"=={_cuda_major()}.*"


def _missing(package: str, version: str, reason: Exception | str) -> BuildError:
    reason = str(reason).partition("\n")[0]
    return BuildError(f'{package} is missing ({reason}); pip install "{package}{version}".')


def _target(arch: str) -> tuple[str, str]:
    """What to compile for a GPU of an architecture: kind and architecture."""
    number, known = int(arch.removeprefix("sm_")), core().archs
    if number in known:
        return "cubin", arch
    older = [other for other in known if other < number]
    if not older:
        raise BuildError(
            f"NVRTC {core().nvrtc_version} compiles for sm_{known[0]} and later, not for {arch}; "
            "use a PyTorch made for an older CUDA, with the NVRTC that it brings."
        )
    return "ptx", f"compute_{older[-1]}"


@functools.cache
def _arch(index: int) -> str:
    return "sm_{}{}".format(*torch.cuda.get_device_capability(index))


def _compile(code: str, specialisation: str, kind: str, target: str, source: str) -> Cubin:
    options = OPTIONS | ({"minimal": True} if core().has_minimal else {})
    options |= dict(name=source, arch=target, include_path=[str(SOURCE_DIR)])
    log, start = io.StringIO(), time.thread_time()
    try:
        program = core().Program(code, "c++", core().ProgramOptions(**options))
        compiled = program.compile(kind, name_expressions=[specialisation], logs=log)
    except Exception as error:  # of a private class of cuda-core
        raise BuildError(
            f"NVRTC {core().nvrtc_version} cannot compile {specialisation} of {source} for "
            f"{target}: {error}\nAnother NVRTC may: pip install --upgrade "
            f'"nvidia-cuda-nvrtc{_package_suffix()}".'
        ) from error
    symbol = compiled.symbol_mapping[specialisation]
    return Cubin(
        bytes(compiled.code),
        kind,
        symbol.decode() if isinstance(symbol, bytes) else symbol,
        registers=_reported(log.getvalue(), r"Used (\d+) registers"),
        shared_bytes=_reported(log.getvalue(), r"(\d+) bytes smem"),
        spill_bytes=_reported(log.getvalue(), r"(\d+) bytes spill stores"),
        stack_bytes=_reported(log.getvalue(), r"(\d+) bytes stack frame"),
        compile_sec=time.thread_time() - start,
    )


def _reported(log: str, pattern: str) -> int:
    """A number in the report of ptxas; it leaves out what there is nothing of."""
    return max(map(int, re.findall(pattern, log)), default=0)


def _key(source: str, specialisation: str, kind: str, target: str) -> str:
    """Hash of source, included files, specialisation, architecture, NVRTC, options and format."""
    seen: set[Path] = set()
    parts = [text for path in sorted(SOURCE_DIR.glob(source)) for text in _texts(path, seen)]
    parts += [specialisation, kind, target]
    parts += [core().nvrtc_version, json.dumps(OPTIONS, sort_keys=True)]
    parts += [field.name for field in fields(Cubin)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _texts(path: Path, seen: set[Path]) -> Iterator[str]:
    """The text of a source and of all that it includes from its folder."""
    if path in seen or not path.exists():
        return
    seen.add(path)
    text = path.read_text(encoding="utf-8")
    yield text
    for name in INCLUDE.findall(text):
        yield from _texts(path.parent / name, seen)


def _cache_dir() -> Path | None:
    """The folder of compiled kernels; `None` (with one warning) if others may write to it."""
    folder = kernel_cache_dir("cuda_kernels")
    return folder if is_private(folder, "CUDA") else None


def _read(path: Path) -> Cubin | None:
    """What `_write` wrote, or `None` if it is missing, damaged or perhaps another user's."""
    if not is_own(path, "CUDA"):
        return None
    try:
        digest, header, code = path.read_bytes().split(b"\n", 2)
        if hashlib.sha256(header + code).hexdigest().encode() != digest:
            return None
    except (OSError, ValueError):
        return None
    return Cubin(code=code, **json.loads(header))


def _write(path: Path, cubin: Cubin) -> None:
    """Keep a kernel for later processes, if that can be done."""
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
        temporary.chmod(0o644)  # root may open its cache to all
        os.replace(temporary, path)
    except OSError:  # a read-only cache, or a full one: compile in every process
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _function(source: str, specialisation: str, index: int):
    """The kernel as the driver launches it, on the current device `index`, from this thread."""
    key = source, specialisation, index
    try:
        return _thread.functions[key]
    except (AttributeError, KeyError):
        pass
    if not hasattr(_thread, "functions"):
        # PyTorch makes the context of a device current when it first calls CUDA in a thread, which
        # need not have happened: memory may have come from its cache.
        core().Device(index).set_current()
        _thread.functions = {}
    with _lock:
        if key not in _kernels:
            failure = failures.get((source, specialisation, _arch(index)))
            if failure is not None:
                raise BuildError(failure)
            try:
                _kernels[key] = _load(source, specialisation, index)
            except (BuildError, OSError) as error:
                raise _failed(source, specialisation, index, error) from error
    _thread.functions[key] = core().driver.CUfunction(int(_kernels[key].handle))
    return _thread.functions[key]


def _load(source: str, specialisation: str, index: int):
    cubin = _cubin(source, specialisation, _arch(index))
    create = core().ObjectCode.from_cubin if cubin.kind == "cubin" else core().ObjectCode.from_ptx
    try:
        return create(cubin.code, name=source).get_kernel(cubin.symbol.encode())
    except Exception as error:  # of a private class of cuda-core
        if any(name in str(error) for name in UNRELATED):
            raise RuntimeError(
                f"CUDA kernels: loading {specialisation} of {source} failed: {error}"
            ) from error
        raise _not_loaded(source, specialisation, index, error) from error


def _cubin(source: str, specialisation: str, arch: str) -> Cubin:
    """A kernel that is compiled ahead; one whose turn has not come is compiled here and now."""
    future = _ahead.pop((source, specialisation, arch), None)
    if future is None or future.cancel():
        return compile_cubin(source, specialisation, arch)
    return future.result()


def _not_loaded(
    source: str, specialisation: str, index: int, reason: Exception | str
) -> BuildError:
    return BuildError(
        f"the driver does not load {specialisation} of {source} for {_arch(index)}, made by "
        f"NVRTC {core().nvrtc_version}: {reason}; a newer driver or PyTorch may."
    )


def _failed(source: str, specialisation: str, index: int, error: Exception) -> BuildError:
    """Remember that there is no such kernel for the architecture of a GPU; warn about the first."""
    arch = _arch(index)
    with _lock:
        is_first = not any(key[::2] == (source, arch) for key in failures)
        failures[source, specialisation, arch] = str(error)
        _kernels.pop((source, specialisation, index), None)
    _thread.functions.pop((source, specialisation, index), None)
    if is_first:
        warnings.warn(
            f"CUDA kernels: {error} In its place, and in that of any other of {source} that fails, "
            f"{arch} uses more general kernels or PyTorch operations, which are several times "
            "slower and take more memory.",
            stacklevel=2,
        )
    return BuildError(str(error))


@functools.cache
def _allow_shared_memory(source: str, specialisation: str, index: int) -> None:
    """Let a kernel use all the shared memory that a block of a device can have."""
    driver, kernel = core().driver, _kernels[source, specialisation, index]
    limit = torch.cuda.get_device_properties(index).shared_memory_per_block_optin
    dynamic = limit - kernel.attributes[index].shared_size_bytes
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (error,) = driver.cuKernelSetAttribute(attribute, dynamic, kernel.handle, index)
    if error != 0:
        reason = f"{error.name} for {dynamic} bytes of shared memory"
        error = _not_loaded(source, specialisation, index, reason)
        raise _failed(source, specialisation, index, error)
