"""Launches the CUDA kernels beside this file, on PyTorch's streams.

The first launch of a kernel on a device compiles and loads the kernel. A kernel that cannot be
built is remembered and not tried again in this process.
"""

import contextlib
import functools
import math
import threading
import warnings
from collections.abc import Sequence
from ctypes import addressof, c_void_p
from typing import Any

import torch

from dnnlib.errors import MachineError
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import ahead, compiler, recorder

MAX_PLAIN_SHARED_BYTES = 48 * 1024  # kernels must request more dynamic shared memory than this
# Errors of the driver for a kernel that this GPU cannot run. CUDA may load kernels lazily, so these
# can come at the first launch. All other errors of a launch are about the launch itself, or about
# an earlier one.
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
# Errors of the driver when it loads a kernel that have nothing to do with the kernel.
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

# Kernels that could not be built when they were needed, which are not tried again in this process:
# (source, specialisation, architecture) -> reason.
failures: dict[tuple[str, str, str], str] = {}

_lock = threading.RLock()  # held to compile and load; launching a loaded kernel takes no lock
_kernels: dict[tuple[str, str, int], Any] = {}  # (source, specialisation, device index) -> kernel
_carveouts: dict[tuple[str, str, int], int] = {}  # the same -> percentage, see `carveout`
_thread = threading.local()  # .functions: the driver's handles of kernels the thread has launched


def _slow_raw_stream(index: int) -> int:
    return torch.cuda.current_stream(index).cuda_stream


# The handle of the current stream, without an object of Python around it.
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", _slow_raw_stream)


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
        device: A GPU; on the meta device, the launch is only recorded.
        grid: Number of blocks.
        block: Number of threads per block.
        args: Arguments of the kernel: scalars and structures of `ctypes`.
        shared_bytes: Dynamic shared memory per block.

    Raises:
        BuildError: If the kernel cannot be compiled or loaded, now or at an earlier launch. The
            first failure for a source and an architecture also warns.
        MachineError: If the driver refuses the launch for another reason.
    """
    if recorder.stands_for_cuda(device):
        recorder.record(source, specialisation)
        return
    current = torch.cuda.current_device()
    if device.index is not None and device.index != current:
        with torch.cuda.device(device):
            launch(source, specialisation, device, grid, block, args, shared_bytes)
        return
    try:
        function = _thread.functions[source, specialisation, current]
    except (AttributeError, KeyError):
        function = _function(source, specialisation, current, block)
    if shared_bytes > 0:
        _prepare_shared_memory(source, specialisation, current, block, shared_bytes)
    pointers = (c_void_p * len(args))(*map(addressof, args))
    # The driver is called directly: cuda-core takes longer, and does not take structures. (A call
    # through `ctypes` takes longer, too.)
    (error,) = compiler.core().driver.cuLaunchKernel(
        function, *grid, *block, shared_bytes, _raw_stream(current), addressof(pointers), 0
    )
    if error != 0:
        if error.name in UNSUITABLE:
            reason = _not_loaded(source, specialisation, current, error.name)
            raise _failed(source, specialisation, current, reason)
        raise MachineError(
            f"CUDA kernels: launching {specialisation} of {source} with grid {grid}, block {block} "
            f"and {shared_bytes} bytes of shared memory failed: {error.name}"
        )


def _function(source: str, specialisation: str, index: int, block: tuple[int, int, int]) -> Any:
    """The driver's handle of the kernel, for the current device `index` and this thread."""
    key = source, specialisation, index
    if not hasattr(_thread, "functions"):
        # PyTorch makes the context of a device current when it first calls CUDA in a thread. In
        # this thread it may not have done so yet: memory can come from its cache.
        compiler.core().Device(index).set_current()
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
            _prefer_carveout(key, block, 0)
    _thread.functions[key] = compiler.core().driver.CUfunction(int(_kernels[key].handle))
    return _thread.functions[key]


def _load(source: str, specialisation: str, index: int) -> Any:
    cubin = ahead.take(source, specialisation, _arch(index))
    code = compiler.core().ObjectCode
    create = code.from_cubin if cubin.kind == "cubin" else code.from_ptx
    try:
        return create(cubin.code, name=source).get_kernel(cubin.symbol.encode())
    except Exception as error:  # of a private class of cuda-core
        if any(name in str(error) for name in UNRELATED):
            raise MachineError(
                f"CUDA kernels: loading {specialisation} of {source} failed: {error}"
            ) from error
        raise _not_loaded(source, specialisation, index, error) from error


def _not_loaded(
    source: str, specialisation: str, index: int, reason: Exception | str
) -> BuildError:
    return BuildError(
        f"the driver does not load {specialisation} of {source} for {_arch(index)}, made by "
        f"NVRTC {compiler.core().nvrtc_version}: {reason}; a newer driver or PyTorch may."
    )


def _failed(source: str, specialisation: str, index: int, error: Exception) -> BuildError:
    """Remember that a kernel failed for the architecture of a GPU; warn about the first one."""
    arch = _arch(index)
    with _lock:
        is_first = not any(key[::2] == (source, arch) for key in failures)
        failures[source, specialisation, arch] = str(error)
        _kernels.pop((source, specialisation, index), None)
    _thread.functions.pop((source, specialisation, index), None)
    if is_first:
        warnings.warn(
            f"CUDA kernels: {error} For this and other failing kernels of {source}, {arch} uses "
            "more general kernels or PyTorch operations, which are several times slower and take "
            "more memory.",
            stacklevel=2,
        )
    return BuildError(str(error))


def _prefer_carveout(
    key: tuple[str, str, int], block: tuple[int, int, int], dynamic_bytes: int
) -> None:
    """Ask for the shared memory of as many blocks as fit on a multiprocessor; L1 gets the rest.

    The launch that needs most decides. This is only a hint: if the driver lacks a function, or
    refuses, its own choice stays.
    """
    loaded = _kernels.get(key)
    if loaded is None:  # refused in another thread just now, and soon in this one
        return
    function, index = int(loaded.handle), key[2]
    driver = compiler.core().driver
    kernel, of_device = driver.CUkernel(function), driver.CUdevice_attribute
    attribute = driver.CUfunction_attribute
    with contextlib.suppress(RuntimeError, AttributeError):  # functions that the driver lacks
        results = [
            driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                driver.CUfunction(function), math.prod(block), dynamic_bytes
            ),
            driver.cuKernelGetAttribute(
                attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, kernel, index
            ),
            driver.cuDeviceGetAttribute(
                of_device.CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, index
            ),
            driver.cuDeviceGetAttribute(
                of_device.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, index
            ),
        ]
        if any(error != 0 for error, _ in results):
            return
        blocks, static_bytes, reserved_bytes, all_bytes = (value for _, value in results)
        percent = carveout(blocks, static_bytes + dynamic_bytes, reserved_bytes, all_bytes)
        if percent > _carveouts.get(key, -1):
            _carveouts[key] = percent
            driver.cuKernelSetAttribute(
                attribute.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, percent, kernel, index
            )


def carveout(blocks: int, block_bytes: int, reserved_bytes: int, all_bytes: int) -> int:
    """Percentage of the shared memory of a multiprocessor that its blocks use.

    Args:
        blocks: Number of blocks that run at a time.
        block_bytes: Shared memory of a block.
        reserved_bytes: What the system takes for each block besides.
        all_bytes: Shared memory of a multiprocessor.
    """
    return min(100, -(-100 * blocks * (block_bytes + reserved_bytes) // all_bytes))


@functools.cache
def _prepare_shared_memory(
    source: str, specialisation: str, index: int, block: tuple[int, int, int], dynamic_bytes: int
) -> None:
    """Let a kernel use dynamic shared memory."""
    if dynamic_bytes > MAX_PLAIN_SHARED_BYTES:
        _allow_shared_memory(source, specialisation, index)
    _prefer_carveout((source, specialisation, index), block, dynamic_bytes)


@functools.cache
def _allow_shared_memory(source: str, specialisation: str, index: int) -> None:
    """Let a kernel use all the shared memory that the device allows per block."""
    driver = compiler.core().driver
    kernel = driver.CUkernel(int(_kernels[source, specialisation, index].handle))
    properties: Any = torch.cuda.get_device_properties(index)  # annotations lack the field
    static = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
    error, static_bytes = driver.cuKernelGetAttribute(static, kernel, index)
    dynamic = properties.shared_memory_per_block_optin - (static_bytes if error == 0 else 0)
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (error,) = driver.cuKernelSetAttribute(attribute, dynamic, kernel, index)
    if error != 0:
        reason = f"{error.name} for {dynamic} bytes of shared memory"
        error = _not_loaded(source, specialisation, index, reason)
        raise _failed(source, specialisation, index, error)


def _arch(index: int) -> str:
    return compiler.arch_of(torch.device("cuda", index))
