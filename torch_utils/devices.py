"""The devices of this machine: the meaning of `--device`, and the setup of each device."""

import contextlib
import gc
import os
from collections.abc import Iterator

import torch

from dnnlib.errors import InputError, MachineError
from torch_utils.host_memory import keep_freed_memory

DEVICES = ("auto", "cuda", "cpu", "mps")


def resolve_device(name: str = "auto", index: int = 0) -> torch.device:
    """Turn the value of `--device` into a device of this machine.

    Args:
        name: One of `DEVICES`; `"auto"` takes CUDA where there is a GPU, the CPU otherwise.
        index: Number of the GPU, if there are several.

    Raises:
        InputError: If the name is unknown.
        MachineError: If the machine does not have the device.
    """
    if name not in DEVICES:
        raise InputError(f"--device must be one of {', '.join(DEVICES)}, got {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        present = num_gpus()
        if index >= present:
            raise MachineError(
                f"--device=cuda: this machine has {present} usable GPU(s), number {index + 1} was "
                "asked for; use --device=cpu, fewer --gpus, or check the driver with nvidia-smi"
            )
        return torch.device("cuda", index)
    if name == "mps" and not torch.backends.mps.is_available():
        raise MachineError("--device=mps: this machine has no Apple GPU; use --device=cpu")
    return torch.device(name)


def num_gpus() -> int:
    """Number of GPUs that `--device=cuda` can use on this machine."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def is_cuda(name: str) -> bool:
    """Whether the value of `--device` means CUDA on this machine."""
    return name == "cuda" or (name == "auto" and torch.cuda.is_available())


def configure_backends(
    device: torch.device,
    cudnn_benchmark: bool = True,
    deterministic: bool = False,
    tf32: bool = False,
) -> None:
    """Set up PyTorch for a device: the arithmetic of float32 on GPUs, and the choice of algorithms.

    On the CPU, freed memory is kept: see `keep_freed_memory`.

    Args:
        device: Where this process computes.
        cudnn_benchmark: Let cuDNN measure which algorithm is fastest.
        deterministic: Use only algorithms that give the same bits each time.
        tf32: Let products of float32 tensors round their inputs to TF32, 10 bits after the point.
    """
    if device.type == "cpu":
        keep_freed_memory()
    torch.backends.cudnn.benchmark = cudnn_benchmark
    _allow_tf32(tf32, tf32)
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        # Filling new memory only costs time. (The attribute is one of PyTorch's that mypy misses.)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextlib.contextmanager
def using_tf32(is_allowed: bool) -> Iterator[None]:
    """Inside, products of float32 tensors may use TF32, or may not; afterwards all is as before."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    _allow_tf32(is_allowed, is_allowed)
    try:
        yield
    finally:
        _allow_tf32(*before)


def _allow_tf32(in_cudnn: bool, in_products: bool) -> None:
    # These two names exist in every version of PyTorch. The newer `fp32_precision` must not be
    # mixed with them: versions that have both then refuse to tell what is set.
    torch.backends.cudnn.allow_tf32 = in_cudnn
    torch.backends.cuda.matmul.allow_tf32 = in_products


def free_memory(device: torch.device) -> None:
    """Return memory that no tensor uses to a device, for blocks of other sizes.

    Tensors in frames of an error live as long as the error, so call this after its `except` block.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
