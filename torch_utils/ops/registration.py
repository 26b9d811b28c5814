"""Registers an op with PyTorch: a kernel per device, a fake for compilers, and the gradients.

`torch.library.custom_op` does the same, with ten times as much Python per call: it redispatches
twice, makes an object and compares all tensors with one another.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "stylegan3"
TAGS = (torch.Tag.pt2_compliant_tag,)  # as `custom_op` has it: passes `opcheck`

_libraries: dict[str, torch.library.Library] = {}  # name of an op -> what keeps it registered


def register(
    name: str,
    schema: str,
    cpu: Callable[..., Any],
    cuda: Callable[..., Any],
    fake: Callable[..., Any],
    setup_context: Callable[[Any, tuple, Any], None],
    backward: Callable[..., tuple[Tensor | None, ...]],
) -> torch._ops.OpOverload:
    """Register an op whose outputs are new tensors; a second registration replaces the first.

    Args:
        name: Name of the op in the namespace `stylegan3`.
        schema: Its arguments, none of which has a default, and results.
        cpu: Computes the op on tensors of the CPU.
        cuda: Computes the op on tensors of a GPU.
        fake: Makes the outputs, without values, on the meta device and for compilers.
        setup_context: Called with a context, the arguments and the output of the op to keep what
            `backward` needs.
        backward: Computes the gradients of all arguments, `None` for those without, from the
            context and the gradients of the outputs; in operations that have gradients themselves.

    Returns:
        The op, to be called with all arguments by position.
    """
    if name in _libraries:
        _libraries.pop(name)._destroy()
    library = _libraries[name] = torch.library.Library(NAMESPACE, "FRAGMENT")
    library.define(name + schema, tags=TAGS)
    op = getattr(getattr(torch.ops, NAMESPACE), name).default
    library.impl(name, _untraced(cpu), "CPU")
    library.impl(name, _untraced(cuda), "CUDA")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=library)
    with_gradients = _with_gradients(op, setup_context, backward)
    library.impl(name, with_gradients, "Autograd", with_keyset=True)
    return op


def _untraced(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Keep `torch.compile` out of a kernel, where the compiler sees pointers of ctypes."""
    disabled = torch._disable_dynamo(kernel)  # the first call imports the compiler: a second

    def run(*arguments: Any) -> Any:
        return (disabled if "torch._dynamo" in sys.modules else kernel)(*arguments)

    return run


def _with_gradients(
    op: torch._ops.OpOverload, setup_context: Callable[..., None], backward: Callable[..., tuple]
) -> Callable[..., Any]:
    """What PyTorch calls first, which has the kernel called, and records gradients if needed."""

    def compute(keys: torch._C.DispatchKeySet, arguments: tuple) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return op.redispatch(keys & torch._C._after_autograd_keyset, *arguments)

    # The keys come last, so that `ctx.needs_input_grad` counts from the arguments of the op.
    def forward(ctx: Any, *arguments: Any) -> Any:
        *inputs, keys = arguments
        output = compute(keys, tuple(inputs))
        setup_context(ctx, tuple(inputs), output)
        return output

    def backward_and_none(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return *backward(ctx, *gradients), None

    functions = dict(forward=staticmethod(forward), backward=staticmethod(backward_and_none))
    function: Any = type(f"Gradient_{op._opname}", (torch.autograd.Function,), functions)

    def with_gradients(keys: torch._C.DispatchKeySet, *arguments: Any) -> Any:
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments):
            return function.apply(*arguments, keys)
        return compute(keys, arguments)

    return with_gradients
