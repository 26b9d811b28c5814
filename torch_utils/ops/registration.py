"""Registers an op with PyTorch: a kernel per device, a fake for compilers, and the gradients.

`torch.library.custom_op` does the same, with several times as much Python per call. Here a call
passes PyTorch's dispatcher once; other listeners than the gradients (compilers, modes, functional
transforms) get their turn if there are any. Where there are none, `call` does without the
dispatcher, too, which converts every argument twice.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet

NAMESPACE = "stylegan3"
BEHIND_GRADIENTS: DispatchKeySet = torch._C._after_ADInplaceOrView_keyset
TAGS = (torch.Tag.pt2_compliant_tag,)  # as `custom_op` has it: passes `opcheck`
PLAIN_TENSORS = (Tensor, torch.nn.Parameter)
PLAIN_SETTINGS = (type(None), int, float, bool, str, tuple, list)

_direct: dict[torch._ops.OpOverload, Callable[..., Any]] = {}  # op -> what runs it on the CPU
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
        backward: Computes the gradients of the tensors among the arguments, which come first, from
            the context and the gradients of the outputs; `None` where there is none. Its operations
            have gradients themselves.

    Returns:
        The op, for `call`.
    """
    if name in _libraries:
        _libraries.pop(name)._destroy()
    library = _libraries[name] = torch.library.Library(NAMESPACE, "FRAGMENT")
    library.define(name + schema, tags=TAGS)
    op = getattr(getattr(torch.ops, NAMESPACE), name).default
    kernels = {DispatchKey.CPU: cpu, DispatchKey.CUDA: cuda}
    # The dispatcher may call these where `torch.compile` traces what Python runs.
    for key, kernel in kernels.items():
        library.impl(name, torch.compiler.disable(kernel), key.name)
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=library)
    with_gradients = _with_gradients(op, kernels, setup_context, backward)
    _direct[op] = functools.partial(with_gradients, None)
    library.impl(name, torch.compiler.disable(with_gradients), "Autograd", with_keyset=True)
    return op


def call(op: torch._ops.OpOverload, *arguments: Any) -> Any:
    """Call a registered op with all its arguments."""
    direct = _direct.get(op) if _is_direct(arguments) else None
    return op(*arguments) if direct is None else direct(*arguments)


def _is_direct(arguments: tuple) -> bool:
    """Whether only the kernel of the CPU and the gradients would see a call of an op."""
    if (
        torch.compiler.is_dynamo_compiling()  # first: compilers look no further
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or torch._C._dispatch_tls_is_dispatch_key_excluded(DispatchKey.AutogradFunctionality)
        or torch.autograd._profiler_enabled()  # profiles show ops by their names
    ):
        return False
    for argument in arguments:
        kind = type(argument)
        if kind in PLAIN_TENSORS:
            if not argument.is_cpu or argument.is_neg():
                return False
        elif kind not in PLAIN_SETTINGS:
            return False
    return True


def _with_gradients(
    op: torch._ops.OpOverload,
    kernels: dict[DispatchKey, Callable[..., Any]],
    setup_context: Callable[..., None],
    backward: Callable[..., tuple],
) -> Callable[..., Any]:
    """What PyTorch calls first: calls the kernel, and records gradients if they are needed.

    Without keys, the kernel is that of the CPU.
    """

    def compute(keys: DispatchKeySet | None, arguments: tuple) -> Any:
        if keys is None:
            return kernels[DispatchKey.CPU](*arguments)
        kernel = kernels.get((keys & BEHIND_GRADIENTS).highestPriorityTypeId())
        if kernel is not None:  # nobody else listens
            return kernel(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            return op.redispatch(keys & BEHIND_GRADIENTS, *arguments)

    num_tensors = sum("Tensor" in str(argument.type) for argument in op._schema.arguments)

    # PyTorch looks at each argument of the function: it gets all that are not tensors as one.
    def forward(ctx: Any, *arguments: Any) -> Any:
        *tensors, settings, keys = arguments
        inputs = (*tensors, *settings)
        output = compute(keys, inputs)
        setup_context(ctx, inputs, output)
        return output

    def backward_and_none(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return *backward(ctx, *gradients), None, None

    functions = dict(forward=staticmethod(forward), backward=staticmethod(backward_and_none))
    function: Any = type(f"Gradient_{op._opname}", (torch.autograd.Function,), functions)

    def with_gradients(keys: DispatchKeySet | None, *arguments: Any) -> Any:
        tensors = arguments[:num_tensors]
        if torch.is_grad_enabled():
            for t in tensors:
                if t is not None and t.requires_grad:
                    return function.apply(*tensors, arguments[num_tensors:], keys)
        return compute(keys, arguments)

    return with_gradients
