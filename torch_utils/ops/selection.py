"""Which implementation of an op is used: the kernels of the device, or the reference."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from torch_utils.ops.cpu import resample as cpu
from torch_utils.ops.cuda import compiler as cuda

CUDA_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_is_reference_forced = False


@contextlib.contextmanager
def force_reference(force: bool = True) -> Iterator[None]:
    """Use the reference implementations of all ops inside, to compare with them.

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
        ValueError: If `impl` is neither `"cuda"`, the best kernel there is, nor `"ref"`.
    """
    if impl not in ("cuda", "ref"):
        raise ValueError(f'{op}: `impl` must be "cuda" or "ref", got {impl!r}')
    return impl == "ref" or _is_reference_forced


def has_kernels(
    x: Tensor, filters: Sequence[Tensor] = (), others: Sequence[Tensor | None] = ()
) -> bool:
    """Whether the device of `x` has kernels for images, (constant) filters and other operands.

    Operands on several devices are left to the reference, which refuses them. The meta device
    stands for CUDA: what would be launched there can be recorded.
    """
    if any(t is not None and t.device != x.device for t in (*filters, *others)):
        return False
    if x.device.type == "cpu":
        return cpu.is_supported(x, *filters)
    return (
        x.device.type in ("cuda", "meta")
        and x.dtype in CUDA_DTYPES
        and not any(f.requires_grad for f in filters)
        and (x.device.type == "meta" or _has_cuda_kernels(x.device))
    )


@torch.compiler.assume_constant_result
def _has_cuda_kernels(device: torch.device) -> bool:
    return cuda.is_available(device.index)
