"""Helpers for tensors, modules, sampling and consistency between processes."""

import contextlib
import functools
import re
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dnnlib import heartbeat, moved
from dnnlib.errors import InputError, MachineError

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
    def wrapper(*args, **kwargs):
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
    # The extremes tell, without the copies that `isfinite` makes of everything.
    return rows.amin(dim=1).isfinite() & rows.amax(dim=1).isfinite()


@torch.no_grad()
def copy_params_and_buffers(
    src_module: torch.nn.Module, dst_module: torch.nn.Module, require_all: bool = False
) -> None:
    """Copy parameters and buffers to those of the same name; others stay as they are.

    Raises:
        ValueError: If shapes differ or, with `require_all`, if the source lacks a name of the
            destination. Nothing has been copied then.
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
        ignore_regex: Tensors to leave out, by a match of all of `Class.name.of.tensor`.

    Raises:
        RuntimeError: If a tensor differs from that of rank 0; names the tensor and the ranks.
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
    by_rank = [torch.empty_like(ours) for _ in range(torch.distributed.get_world_size())]
    with heartbeat.collective():
        torch.distributed.all_gather(by_rank, ours)
        by_rank = torch.stack(by_rank).cpu()
    # Looking at all ranks lets all of them stop, where the others would wait for the failed one.
    for i, name in enumerate(names):
        ranks = by_rank[:, i].nonzero().flatten().tolist()
        if ranks:
            raise MachineError(f"{name} differs from rank 0 on rank {', '.join(map(str, ranks))}")


def print_module_summary(
    module: torch.nn.Module,
    inputs: Sequence[Any],
    max_nesting: int = 3,
    skip_redundant: bool = True,
) -> Any:
    """Run a module once and print a table with one row per output of each submodule.

    - Rows are in the order in which the calls end, so parts come before the whole. They are named
      by the path of the submodule, `<top-level>` for the module itself; if a call returns several
      tensors, `:0`, `:1`, ... are appended and each gets a row.
    - Parameters and buffers are counted at the first row whose submodule contains them, at any
      depth, and nowhere else: the columns add up to the totals in the last row. Further outputs of
      a call have none left to count; `-` stands for zero.
    - Submodules deeper than `max_nesting` have no rows; what they hold counts for those above.
    - A call is redundant if it counts nothing and returns only tensors that earlier calls have
      returned, the very same objects.

    Args:
        module: Module to run.
        inputs: Its positional arguments.
        max_nesting: Depth of submodules to show; 0 for the module alone.
        skip_redundant: Leave out redundant calls.

    Returns:
        What the module returns.
    """
    table = _SummaryTable(skip_redundant)
    handles = []
    try:
        for name, submodule in module.named_modules():
            depth = name.count(".") + 1 if name else 0
            if depth <= max_nesting:
                hook = functools.partial(table.add_call, name or "<top-level>")
                handles.append(submodule.register_forward_hook(hook))
        outputs = module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    table.print(type(module).__name__)
    return outputs


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
def _cached_constant(key: tuple[bytes, str, tuple[int, ...]], *args) -> torch.Tensor:
    data, value_dtype, value_shape = key
    value = np.frombuffer(bytearray(data), dtype=value_dtype).reshape(value_shape)
    with torch.inference_mode(False):  # or the tensor would be of no use for gradients later on
        return _make_constant(value, *args)


@contextlib.contextmanager
def _ignore_tracer_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=torch.jit.TracerWarning)
        yield


class _SummaryTable:
    """Rows of `print_module_summary`, collected by forward hooks."""

    def __init__(self, skip_redundant: bool):
        self.skip_redundant = skip_redundant
        self.rows: list[list[str]] = []
        self.num_params = 0
        self.num_buffers = 0
        self._counted: set[int] = set()  # ids of parameters and buffers
        self._returned: dict[int, weakref.ref] = {}

    def add_call(self, name: str, module: torch.nn.Module, _args, outputs) -> None:
        num_params = self._count(module.parameters())
        num_buffers = self._count(module.buffers())
        self.num_params += num_params
        self.num_buffers += num_buffers
        tensors = list(_tensors_in(outputs))
        is_known = [self._is_known(tensor) for tensor in tensors]
        if self.skip_redundant and num_params + num_buffers == 0 and all(is_known):
            return
        for i, tensor in enumerate(tensors):
            self.rows.append(
                [
                    f"{name}:{i}" if len(tensors) > 1 else name,
                    str((num_params if i == 0 else 0) or "-"),
                    str((num_buffers if i == 0 else 0) or "-"),
                    str(list(tensor.shape)),
                    str(tensor.dtype).removeprefix("torch."),
                ]
            )
        if not tensors:
            self.rows.append([name, str(num_params or "-"), str(num_buffers or "-"), "-", "-"])

    def print(self, title: str) -> None:
        header = [title, "Parameters", "Buffers", "Output shape", "Datatype"]
        rule = ["---"] * len(header)
        total = ["Total", str(self.num_params or "-"), str(self.num_buffers or "-"), "-", "-"]
        table = [header, rule, *self.rows, rule, total]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        print()
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())
        print()

    def _count(self, tensors: Iterator[torch.Tensor]) -> int:
        new = [tensor for tensor in tensors if id(tensor) not in self._counted]
        self._counted.update(map(id, new))
        return sum(tensor.numel() for tensor in new)

    def _is_known(self, tensor: torch.Tensor) -> bool:
        ref = self._returned.get(id(tensor))
        self._returned[id(tensor)] = weakref.ref(tensor)  # an id alone may be that of a dead tensor
        return ref is not None and ref() is tensor


def _tensors_in(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        outputs = outputs.values()
        for value in outputs:
            yield from _tensors_in(value)
    elif isinstance(outputs, (list, tuple)):
        for value in outputs:
            yield from _tensors_in(value)
