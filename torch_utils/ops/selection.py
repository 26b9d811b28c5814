"""Chooses between the kernels of a device and the reference."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from torch_utils.ops.cpu import resample as cpu
from torch_utils.ops.cuda import compiler as cuda
from torch_utils.ops.cuda.cpp_types import CPP_TYPES
from torch_utils.ops.cuda.recorder import stands_for_cuda

CUDA_DTYPES = tuple(CPP_TYPES)

_is_reference_forced = False


@contextlib.contextmanager
def force_reference(force: bool = True) -> Iterator[None]:
    """Let all ops inside use the reference, to compare kernels with it.

    Args:
        force: False makes the context do nothing.
    """
    global _is_reference_forced
    before = _is_reference_forced
    _is_reference_forced = before or force
    try:
        yield
    finally:
        _is_reference_forced = before


def wants_reference(op: str, impl: str) -> bool:
    """Whether to use the reference, for the argument `impl` of an op.

    Raises:
        ValueError: If `impl` is neither `"cuda"`, the best kernel that exists, nor `"ref"`.
    """
    if impl not in ("cuda", "ref"):
        raise ValueError(f'{op}: `impl` must be "cuda" or "ref", got {impl!r}')
    return impl == "ref" or _is_reference_forced


def has_kernels(
    x: Tensor, filters: Sequence[Tensor] = (), others: Sequence[Tensor | None] = ()
) -> bool:
    """Whether the device of `x` has kernels for images, (constant) filters and other operands.

    Operands on several devices are left to the reference, which refuses them.
    """
    device = x.device
    for t in (*filters, *others):  # these loops run before every call: `any` takes longer
        if t is not None and t.device != device:
            return False
    kind = device.type
    if kind == "cpu":
        return cpu.is_supported(x, *filters)
    if x.dtype not in CUDA_DTYPES:
        return False
    for f in filters:
        if f.requires_grad:
            return False
    if kind == "cuda":
        return _has_cuda_kernels(device)
    return stands_for_cuda(device)


@torch.compiler.assume_constant_result
def _has_cuda_kernels(device: torch.device) -> bool:
    return cuda.is_available(device.index)
