"""Helpers for constants, tracing, and the tensors of modules."""

import contextlib
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dnnlib import heartbeat, moved
from dnnlib.errors import InputError, MachineError
from torch_utils.module_summary import print_module_summary as print_module_summary

nan_to_num = torch.nan_to_num
__getattr__ = moved.names_of(__name__)


def constant(
    value: Any,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    memory_format: torch.memory_format | None = None,
) -> torch.Tensor:
    """A constant tensor, from a cache, so that it is copied to the device only once.

    The tensor is shared: do not write to it.

    Args:
        value: Number, nested list or array.
        shape: Shape to broadcast `value` to.
        dtype: Data type; `None` for PyTorch's default type.
        device: Device; `None` for the CPU.
        memory_format: Layout; `None` for contiguous.
    """
    value = np.asarray(value)
    shape = None if shape is None else tuple(shape)
    dtype = dtype or torch.get_default_dtype()
    device = torch.device(device or "cpu")
    memory_format = memory_format or torch.contiguous_format
    if torch.compiler.is_compiling():
        return _make_constant(value, shape, dtype, device, memory_format)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    key = (value.tobytes(), value.dtype.str, value.shape)
    return _cached_constant(key, shape, dtype, device, memory_format)


def suppress_tracer_warnings() -> contextlib.AbstractContextManager:
    """Context without the warnings of `torch.jit.trace` about values that become constants."""
    return _ignore_tracer_warnings() if torch.jit.is_tracing() else contextlib.nullcontext()


def assert_shape(tensor: torch.Tensor, ref_shape: Sequence[int | torch.Tensor | None]) -> None:
    """Raise `AssertionError` unless the shape is `ref_shape`, where `None` stands for any size."""
    if tensor.ndim != len(ref_shape):
        raise AssertionError(
            f"wrong number of dimensions: got {tensor.ndim}, expected {len(ref_shape)}"
        )
    for dim, (size, ref_size) in enumerate(zip(tensor.shape, ref_shape, strict=True)):
        if ref_size is None:
            continue
        if isinstance(size, torch.Tensor) or isinstance(ref_size, torch.Tensor):
            with suppress_tracer_warnings():  # as part of the trace, sizes are tensors
                size, ref_size = int(size), int(ref_size)
        if size != ref_size:
            raise AssertionError(f"wrong size of dimension {dim}: got {size}, expected {ref_size}")


def profiled_function(fn: Callable) -> Callable:
    """Decorator: show the calls of `fn` under its name in PyTorch's profiler."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # compiled code is one block to the profiler
            return fn(*args, **kwargs)
        with torch.autograd.profiler.record_function(fn.__name__):
            return fn(*args, **kwargs)

    return wrapper


def params_and_buffers(module: torch.nn.Module) -> list[torch.Tensor]:
    """All parameters, then all buffers."""
    return [tensor for _, tensor in named_params_and_buffers(module)]


def named_params_and_buffers(module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """All parameters, then all buffers, with their names."""
    return [*module.named_parameters(), *module.named_buffers()]


@torch.no_grad()
def nonfinite_tensors(module: torch.nn.Module) -> list[str]:
    """Names of the parameters and buffers that hold NaN or infinite values."""
    named = [
        (name, tensor)
        for name, tensor in named_params_and_buffers(module)
        if tensor.is_floating_point() and tensor.numel() > 0 and not tensor.is_meta
    ]
    if not named:
        return []
    flags = [are_finite(tensor.reshape(1, -1))[0].to(named[0][1].device) for _, tensor in named]
    is_finite = torch.stack(flags).tolist()  # one wait for the device
    return [name for (name, _), finite in zip(named, is_finite, strict=True) if not finite]


def are_finite(x: torch.Tensor) -> torch.Tensor:
    """Which rows of `x` `[N, ...]` are free of NaN and infinite values: bool `[N]`."""
    rows = x.flatten(1)
    if rows.shape[1] == 0:
        return torch.ones(len(rows), dtype=torch.bool, device=x.device)
    # `isfinite` of the extremes needs no copies of all elements.
    return rows.amin(dim=1).isfinite() & rows.amax(dim=1).isfinite()


@torch.no_grad()
def copy_params_and_buffers(
    src_module: torch.nn.Module, dst_module: torch.nn.Module, require_all: bool = False
) -> None:
    """Copy parameters and buffers to those of the same name; others stay unchanged.

    Raises:
        InputError: If shapes differ or, with `require_all`, if the source lacks a name of the
            destination. In either case nothing has been copied.
    """
    source = dict(named_params_and_buffers(src_module))
    pairs = []
    for name, dst in named_params_and_buffers(dst_module):
        src = source.get(name)
        if src is None:
            if require_all:
                raise InputError(f"cannot copy {name!r}: {type(src_module).__name__} lacks it")
        elif src.shape != dst.shape:
            raise InputError(
                f"cannot copy {name!r}: its shape is {list(src.shape)} in the source and "
                f"{list(dst.shape)} in the destination"
            )
        else:
            pairs.append((src, dst))
    for src, dst in pairs:
        dst.copy_(src)


@torch.no_grad()
def check_ddp_consistency(module: torch.nn.Module, ignore_regex: str | None = None) -> None:
    """Check that parameters and buffers have the same values on all processes; NaN equals NaN.

    All processes must call this; all of them raise if one differs.

    Args:
        module: The module to check.
        ignore_regex: Tensors whose full name, `Class.name.of.tensor`, it matches are not checked.

    Raises:
        MachineError: If a tensor differs from rank 0; the message names the tensor and the ranks.
    """
    if not torch.distributed.is_initialized():
        return
    names, differs = [], []
    for name, tensor in named_params_and_buffers(module):
        full_name = f"{type(module).__name__}.{name}"
        if ignore_regex is not None and re.fullmatch(ignore_regex, full_name):
            continue
        ours = tensor.detach().contiguous()
        theirs = ours.clone()
        with heartbeat.collective():
            torch.distributed.broadcast(theirs, src=0)
        names.append(full_name)
        differs.append(((ours != theirs) & ~(ours.isnan() & theirs.isnan())).any())
    if not names:
        return
    ours = torch.stack(differs).to(torch.uint8)
    flags = [torch.empty_like(ours) for _ in range(torch.distributed.get_world_size())]
    with heartbeat.collective():
        torch.distributed.all_gather(flags, ours)
        by_rank = torch.stack(flags).cpu()  # [ranks, tensors]
    # Every rank checks all ranks, so that all raise; otherwise some would wait for ever.
    for i, name in enumerate(names):
        ranks = by_rank[:, i].nonzero().flatten().tolist()
        if ranks:
            raise MachineError(f"{name} differs from rank 0 on rank {', '.join(map(str, ranks))}")


def _make_constant(
    value: np.ndarray,
    shape: tuple[int, ...] | None,
    dtype: torch.dtype,
    device: torch.device,
    memory_format: torch.memory_format,
) -> torch.Tensor:
    tensor = torch.as_tensor(value, dtype=dtype, device=device)
    if shape is not None:
        tensor = tensor.expand(shape)
    return tensor.contiguous(memory_format=memory_format)


@functools.lru_cache(maxsize=1024)
def _cached_constant(key: tuple[bytes, str, tuple[int, ...]], *args: Any) -> torch.Tensor:
    data, value_dtype, value_shape = key
    value = np.frombuffer(bytearray(data), dtype=value_dtype).reshape(value_shape)
    with torch.inference_mode(
        False
    ):  # inference tensors could not be saved for a backward pass later
        return _make_constant(value, *args)


@contextlib.contextmanager
def _ignore_tracer_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=torch.jit.TracerWarning)
        yield
