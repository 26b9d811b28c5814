"""Passes tensors and structures to kernels, through `ctypes`."""

import torch
from torch import Tensor


def as_operand(t: Tensor, dtype: torch.dtype) -> Tensor:
    """A small tensor as kernels read it: contiguous, and of type `dtype`.

    Most tensors are so already: to ask costs less than to convert.
    """
    return t if t.dtype == dtype and t.is_contiguous() else t.to(dtype).contiguous()


def fields(ctype: type, names: str) -> list[tuple[str, type]]:
    """Fields of one type for a structure; `names` are separated by spaces."""
    return [(name, ctype) for name in names.split()]


def address(t: Tensor | None) -> int | None:
    """Address of the data of a tensor; `None` becomes a null pointer."""
    return None if t is None else t.data_ptr()
