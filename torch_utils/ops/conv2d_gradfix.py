"""2D convolutions, and a context that leaves their weight gradients out of a backward pass.

PyTorch differentiates convolutions to any order, and `torch.autograd.grad` skips the gradient of a
weight that does not lead to the requested inputs. `no_weight_gradients` also skips the gradients of
weights that do lead there, and so treats them as constants.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d` under the name that published networks call."""
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """`torch.nn.functional.conv_transpose2d` under the name that published networks call."""
    return F.conv_transpose2d(
        input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@contextlib.contextmanager
def no_weight_gradients(disable: bool = True) -> Iterator[None]:
    """Skip the weight gradient of every convolution whose backward pass runs in this context.

    The gradient is not computed, and the weight counts as a constant. A graph recorded with
    `create_graph=True` stays complete: differentiating the result again, outside the context,
    reaches the weights. Backward passes that `torch.compile` has already built are not affected.

    Args:
        disable: False makes the context do nothing.
    """
    with _NoWeightGradients() if disable else contextlib.nullcontext():
        yield


class _NoWeightGradients(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not torch.ops.aten.convolution_backward.default:
            return func(*args, **(kwargs or {}))
        *operands, (needs_input, _, needs_bias) = args
        dy = operands[0]
        # Some kernels compute the gradients of weight and bias together: sum up the bias here.
        dx = func(*operands, [True, False, False])[0] if needs_input else None
        return dx, None, dy.sum([0, *range(2, dy.ndim)]) if needs_bias else None
