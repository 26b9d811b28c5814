"""All gradients of a network as one tensor, so that a few operations treat them together."""

import torch
from torch import Tensor


def join(module: torch.nn.Module) -> Tensor | None:
    """All gradients of a network, `[number]`, in the order of its parameters, or `None`.

    They become views of this tensor, which frees the memory that they took.
    """
    grads = [param.grad.flatten() for param in module.parameters() if param.grad is not None]
    if not grads:
        return None
    flat = torch.cat(grads)
    replace(module, flat)
    return flat


def replace(module: torch.nn.Module, flat: Tensor) -> None:
    """Make each gradient a view of its part of a tensor as `join` returns it.

    A parameter without a gradient stays without: optimizers skip it.
    """
    trained = [param for param in module.parameters() if param.grad is not None]
    parts = flat.split([param.numel() for param in trained])
    for param, part in zip(trained, parts, strict=True):
        param.grad = part.view_as(param)
