"""Convolutions on the CPU, differentiable to any order, by our kernels where these are faster.

A convolution belongs to the form `sum(y * conv2d(x, k))`, which is linear in each of the images
`x` `[N, C, H, W]`, the kernels `k` `[O, C, kh, kw]` and the images `y` `[N, O, H', W']`. Each of
the three functions here is the gradient of the form by one of them, given the other two; so their
own gradients are again among the three.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_utils.ops import selection
from torch_utils.ops.calls import Convolution
from torch_utils.ops.cpu import convolution as cpu


class _Thread(threading.local):
    """What the contexts of this thread have set; the backward pass of the CPU runs in it, too."""

    num_own_modes = 0  # of `no_weight_gradients`: modes that need not see our convolutions


_thread = _Thread()


@contextlib.contextmanager
def constant_kernels(mode: Any) -> Iterator[None]:
    """Inside, backward passes leave out the gradients of kernels.

    Args:
        mode: A dispatch mode that does the same to PyTorch's own convolutions.
    """
    _thread.num_own_modes += 1
    try:
        with mode:
            yield
    finally:
        _thread.num_own_modes -= 1


def can_take(x: Tensor, k: Tensor, call: Convolution) -> bool:
    """Whether to pass `x` or `y` (either is given as `x`) and `k` to this module.

    The answer is no where PyTorch's operations are as fast for the value and both gradients, and
    where others than autograd listen to these operations (compilers, dispatch modes, functional
    transforms, autocast): they know PyTorch's convolutions.
    """
    return (
        not torch.compiler.is_compiling()
        and x.device.type == k.device.type == "cpu"
        and x.dtype == k.dtype
        and call.kernel_size == (3, 3)
        and call.stride in (1, 2)
        and min(call.padding) >= 0
        and min(call.out_size) > 0
        and x.is_contiguous()
        and (k.is_contiguous() or not k.is_contiguous(memory_format=torch.channels_last))
        and x.numel() > 0
        and k.numel() > 0
        and type(x) in (Tensor, torch.nn.Parameter)
        and type(k) in (Tensor, torch.nn.Parameter)
        and not selection.wants_reference("conv2d", "cuda")
        and not _is_observed()
        and any(_is_fast(role, len(x), k, call) for role in cpu.ROLES)
        and cpu.is_supported(x.dtype)
    )


def output(x: Tensor, k: Tensor, call: Convolution) -> Tensor:
    """`conv2d(x, k)`, contiguous."""
    return _apply(_Output, _output, x, k, call)


def input_gradient(k: Tensor, y: Tensor, call: Convolution) -> Tensor:
    """The gradient of `x`, the transposed convolution of `y` with `k`; contiguous."""
    return _apply(_InputGradient, _input_gradient, k, y, call)


def kernel_gradient(x: Tensor, y: Tensor, call: Convolution) -> Tensor:
    """The gradient of `k`, contiguous."""
    return _apply(_KernelGradient, _kernel_gradient, x, y, call)


class _Output(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, k: Tensor, call: Convolution) -> Tensor:
        ctx.save_for_backward(x, k)
        ctx.call = call
        return _output(x, k, call)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, k), call = ctx.saved_tensors, ctx.call
        dx = input_gradient(k, dy, call) if ctx.needs_input_grad[0] else None
        dk = kernel_gradient(x, dy, call) if _needs_kernel(ctx.needs_input_grad[1]) else None
        return dx, dk, None


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor, y: Tensor, call: Convolution) -> Tensor:
        ctx.save_for_backward(k, y)
        ctx.call = call
        return _input_gradient(k, y, call)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (k, y), call = ctx.saved_tensors, ctx.call
        dk = kernel_gradient(dx, y, call) if _needs_kernel(ctx.needs_input_grad[0]) else None
        dy = output(dx, k, call) if ctx.needs_input_grad[1] else None
        return dk, dy, None


class _KernelGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, call: Convolution) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.call = call
        return _kernel_gradient(x, y, call)

    @staticmethod
    def backward(ctx: Any, dk: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, y), call = ctx.saved_tensors, ctx.call
        dx = input_gradient(dk, y, call) if ctx.needs_input_grad[0] else None
        dy = output(x, dk, call) if ctx.needs_input_grad[1] else None
        return dx, dy, None


def _apply(
    function: type[torch.autograd.Function],
    compute: Callable[[Tensor, Tensor, Convolution], Tensor],
    a: Tensor,
    b: Tensor,
    call: Convolution,
) -> Tensor:
    """Compute, by way of autograd only if a gradient is needed or others listen."""
    if _is_observed() or _is_batched(a) or _is_batched(b):
        return _OPERATIONS[compute](a, b, call)
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        return function.apply(a, b, call)
    return compute(a, b, call)


def _output(x: Tensor, k: Tensor, call: Convolution) -> Tensor:
    is_fast = _is_fast(cpu.OUTPUT, len(x), k, call)
    return (cpu.output if is_fast else aten_output)(x, k, call)


def _input_gradient(k: Tensor, y: Tensor, call: Convolution) -> Tensor:
    is_fast = _is_fast(cpu.INPUT, len(y), k, call)
    return (cpu.input_gradient if is_fast else aten_input_gradient)(k, y, call)


def _kernel_gradient(x: Tensor, y: Tensor, call: Convolution) -> Tensor:
    is_fast = cpu.is_fast(cpu.KERNEL, len(x), (y.shape[1], x.shape[1]), call, x.dtype)
    return (cpu.kernel_gradient if is_fast else aten_kernel_gradient)(x, y, call)


def aten_output(x: Tensor, k: Tensor, call: Convolution) -> Tensor:
    """`output` by PyTorch's operation."""
    return F.conv2d(x, k, stride=call.stride, padding=call.padding)


def aten_input_gradient(k: Tensor, y: Tensor, call: Convolution) -> Tensor:
    """`input_gradient` by PyTorch's operation."""
    (h, w), (out_h, out_w), (kh, kw), (py, px) = (
        *(call.in_size, call.out_size),
        *(call.kernel_size, call.padding),
    )
    rest_h = h + 2 * py - kh - (out_h - 1) * call.stride
    rest_w = w + 2 * px - kw - (out_w - 1) * call.stride
    return F.conv_transpose2d(y, k, None, call.stride, call.padding, (rest_h, rest_w))


def aten_kernel_gradient(x: Tensor, y: Tensor, call: Convolution) -> Tensor:
    """`kernel_gradient` by PyTorch's operation."""
    k = x.new_empty([y.shape[1], x.shape[1], *call.kernel_size])
    steps = [[call.stride] * 2, [*call.padding], [1, 1]]
    return torch.ops.aten.convolution_backward(
        y, x, k, None, *steps, False, [0, 0], 1, [False, True, False]
    )[1]


_OPERATIONS: dict[Any, Callable[[Tensor, Tensor, Convolution], Tensor]] = {
    _output: aten_output,
    _input_gradient: aten_input_gradient,
    _kernel_gradient: aten_kernel_gradient,
}


def _is_fast(role: int, n: int, k: Tensor, call: Convolution) -> bool:
    return cpu.is_fast(role, n, (k.shape[0], k.shape[1]), call, k.dtype)


def _needs_kernel(is_needed: bool) -> bool:
    return is_needed and _thread.num_own_modes == 0


# `torch.autograd.grad(is_grads_batched=True)` batches tensors in a way of its own.
_is_batched: Callable[[Tensor], bool] = torch._C._functorch.is_legacy_batchedtensor


def _is_observed() -> bool:
    """Whether others than autograd listen to the operations of this thread."""
    return (
        torch._C._len_torch_dispatch_stack() > _thread.num_own_modes
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.is_autocast_enabled("cpu")
        or torch.autograd.forward_ad._current_level >= 0
        or torch.jit.is_tracing()
    )
