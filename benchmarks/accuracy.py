"""Errors of an op and of its gradients, beside its reference in higher precision."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torch_utils.ops.selection import force_reference

# Norm of the difference relative to the norm. Results are rounded to their type, and the product of
# taps and gain to float32 whatever the type is.
MAX_ERROR = {
    torch.float64: 1e-7,
    torch.float32: 1e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}
ORDERS = ("value", "1st gradient", "2nd gradient")


def errors(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    num_orders: int = 3,
    exact: torch.dtype = torch.float64,
) -> list[float]:
    """Relative errors of the value, the first and the second gradients of an op.

    The reference starts from the same, perhaps rounded numbers. Gradients are those of a random
    projection, for all inputs.

    Args:
        function: Calls the op with the inputs.
        inputs: Tensors that it is differentiable in.
        num_orders: How many of `ORDERS` to look at.
        exact: Type that the reference computes in.

    Returns:
        For each order the largest error of its tensors: the norm of the difference relative to the
        norm of the reference; infinite if something is not finite.
    """
    results = derivatives(function, inputs, num_orders)
    with force_reference():
        expected = derivatives(function, [x.to(exact) for x in inputs], num_orders)
    return [
        max(_relative_error(a, b) for a, b in zip(*pair, strict=True))
        for pair in zip(results, expected, strict=True)
    ]


def derivatives(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], num_orders: int
) -> list[list[Tensor]]:
    """Value, first and second gradients of a random projection, one list for each order."""
    inputs = [x.detach().requires_grad_(num_orders > 1) for x in inputs]
    y = function(*inputs)
    orders = [[y.detach()]]
    if num_orders > 1:
        dy = _random_like(y, seed=1).requires_grad_()
        grads = torch.autograd.grad(y, inputs, dy, create_graph=num_orders > 2)
        orders.append([grad.detach() for grad in grads])
    if num_orders > 2:
        projections = [_random_like(grad, seed=2) for grad in grads]
        # Piecewise linear ops have none with respect to their inputs.
        seconds = torch.autograd.grad(grads, [dy, *inputs], projections, materialize_grads=True)
        orders.append([second.detach() for second in seconds])
    return orders


def _random_like(x: Tensor, seed: int) -> Tensor:
    """Numbers that bfloat16 can represent, the same for every type; none on the meta device."""
    if x.is_meta:  # which has no random generator
        return torch.empty(x.shape, dtype=x.dtype, device=x.device)
    generator = torch.Generator(x.device).manual_seed(seed)
    numbers = torch.randn(x.shape, generator=generator, device=x.device)
    return numbers.bfloat16().to(x.dtype)


def _relative_error(x: Tensor, expected: Tensor) -> float:
    error = (x.double() - expected).norm() / expected.double().norm().clamp(min=1e-300)
    return float(error) if error.isfinite() else float("inf")
