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

from torch_utils.ops import convolution
from torch_utils.ops.calls import Convolution


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d` under the name that published networks call.

    3x3 convolutions on the CPU use kernels of our own where these are faster.
    """
    if bias is None and groups == 1 and _is_one(dilation) and input.device.type == "cpu":
        call = _call(input, weight, stride, padding)
        if call is not None and convolution.can_take(input, weight, call):
            return convolution.output(input, weight, call)
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
    """`torch.nn.functional.conv_transpose2d` under the name that published networks call.

    The kernels are those of `conv2d`.
    """
    if bias is None and groups == 1 and _is_one(dilation) and input.device.type == "cpu":
        call = _transposed_call(input, weight, stride, padding, output_padding)
        if call is not None and convolution.can_take(input, weight, call):
            return convolution.input_gradient(weight, input, call)
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
    no_gradients = convolution.constant_kernels(_NoWeightGradients())
    with no_gradients if disable else contextlib.nullcontext():
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


def _call(x: Tensor, k: Tensor, stride: Any, padding: Any) -> Convolution | None:
    """The sizes of `conv2d(x, k)`; `None` if only PyTorch can tell, or they do not fit."""
    steps, pads = _pair(stride), _pair(padding)
    if steps is None or pads is None or steps[0] != steps[1] or not x.ndim == k.ndim == 4:
        return None
    (_, c, h, w), (_, kernel_c, kh, kw) = x.shape, k.shape
    step = steps[0]
    if c != kernel_c or step < 1:
        return None
    out_size = (h + 2 * pads[0] - kh) // step + 1, (w + 2 * pads[1] - kw) // step + 1
    return Convolution(step, pads, (kh, kw), (h, w), out_size)


def _transposed_call(
    y: Tensor, k: Tensor, stride: Any, padding: Any, output_padding: Any
) -> Convolution | None:
    """The sizes of the convolution whose gradient is `conv_transpose2d(y, k)`; likewise."""
    steps, pads, rest = _pair(stride), _pair(padding), _pair(output_padding)
    if steps is None or pads is None or rest is None or not y.ndim == k.ndim == 4:
        return None
    (_, o, h, w), (kernel_o, _, kh, kw) = y.shape, k.shape
    step = steps[0]
    if steps[1] != step or o != kernel_o or not 0 <= min(rest) <= max(rest) < step:
        return None
    in_h = (h - 1) * step - 2 * pads[0] + kh + rest[0]
    in_w = (w - 1) * step - 2 * pads[1] + kw + rest[1]
    if min(in_h, in_w) < 1:
        return None
    return Convolution(step, pads, (kh, kw), (in_h, in_w), (h, w))


def _pair(value: Any) -> tuple[int, int] | None:
    """An argument as PyTorch's convolutions take it, for height and width."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, (tuple, list)) and len(value) in (1, 2):
        first, last = value[0], value[-1]
        if isinstance(first, int) and isinstance(last, int):
            return first, last
    return None


def _is_one(dilation: Any) -> bool:
    return dilation == 1 or _pair(dilation) == (1, 1)
