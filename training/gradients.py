"""All gradients of a network as one tensor, so that a few operations treat them together."""

import math

import torch
from torch import Tensor


def are_finite(module: torch.nn.Module) -> bool:
    """Whether a network has gradients, and these are surely finite. Waits for the device.

    The answer for gradients of more than 1e18 may be no, because squares overflow.
    """
    grads = [param.grad for param in module.parameters() if param.grad is not None]
    # Norms read each number once, and store none.
    return bool(grads) and math.isfinite(torch.stack(torch._foreach_norm(grads)).sum().item())


def exist(module: torch.nn.Module) -> bool:
    """Whether a network has gradients."""
    return any(param.grad is not None for param in module.parameters())


def join(module: torch.nn.Module) -> Tensor | None:
    """All gradients of a network, `[number]`, in the order of its parameters, or `None`.

    The elements of each have the order in which those of the parameter lie in memory. The gradients
    become views of this tensor, which frees the memory that they took.
    """
    grads = [
        _in_order_of(param, param.grad) for param in module.parameters() if param.grad is not None
    ]
    if not grads:
        return None
    flat = torch.cat(grads)
    replace(module, flat)
    return flat


def replace(module: torch.nn.Module, flat: Tensor) -> None:
    """Make each gradient a view of its part of a tensor as `join` returns it.

    Gradients get the strides of their parameters, without which the fused optimizers of CUDA refuse
    them. A parameter without a gradient stays without: optimizers skip it.
    """
    trained = [param for param in module.parameters() if param.grad is not None]
    parts = flat.split([param.numel() for param in trained])
    for param, part in zip(trained, parts, strict=True):
        param.grad = part.as_strided(param.shape, param.stride())


def _in_order_of(param: Tensor, grad: Tensor) -> Tensor:
    """The elements of a gradient, in the order of those of its parameter (which has no gaps)."""
    if not param.is_contiguous():
        grad = grad.permute(sorted(range(param.ndim), key=param.stride, reverse=True))
    return grad.flatten()
