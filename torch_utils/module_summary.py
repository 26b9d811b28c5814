"""A table of the submodules of a network, with their outputs, parameters and buffers."""

import functools
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch


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
      the same call count nothing; `-` stands for zero.
    - Submodules deeper than `max_nesting` have no rows; their tensors count for those above.
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


class _SummaryTable:
    """Rows of `print_module_summary`, collected by forward hooks."""

    def __init__(self, skip_redundant: bool) -> None:
        self.skip_redundant = skip_redundant
        self.rows: list[list[str]] = []
        self.num_params = 0
        self.num_buffers = 0
        self._counted: set[int] = set()  # ids of parameters and buffers
        self._returned: dict[int, weakref.ref] = {}

    def add_call(self, name: str, module: torch.nn.Module, _args: Any, outputs: Any) -> None:
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

    def _count(self, tensors: Iterable[torch.Tensor]) -> int:
        new = [tensor for tensor in tensors if id(tensor) not in self._counted]
        self._counted.update(map(id, new))
        return sum(tensor.numel() for tensor in new)

    def _is_known(self, tensor: torch.Tensor) -> bool:
        ref = self._returned.get(id(tensor))
        self._returned[id(tensor)] = weakref.ref(tensor)  # another tensor may have had the id
        return ref is not None and ref() is tensor


def _tensors_in(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        for value in outputs.values():
            yield from _tensors_in(value)
    elif isinstance(outputs, (list, tuple)):
        for value in outputs:
            yield from _tensors_in(value)
