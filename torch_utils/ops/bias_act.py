"""Scale, noise, bias, activation function, gain and clamp in one step."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

import dnnlib
from torch_utils.ops.arguments import as_operand
from torch_utils.ops.calls import BiasAct, BiasActGrad
from torch_utils.ops.cpu import bias_act as cpu
from torch_utils.ops.cuda import bias_act as cuda
from torch_utils.ops.cuda.recorder import stands_for_cuda
from torch_utils.ops.layout import arithmetic_dtype, channels_format
from torch_utils.ops.reference import bias_act as reference
from torch_utils.ops.registration import call as call_op
from torch_utils.ops.registration import register
from torch_utils.ops.selection import has_kernels, wants_reference
from torch_utils.ops.sums import sum_of_products

# The arguments of the ops that make up a `BiasAct` and a `BiasActGrad`.
_CALL = (
    "Tensor? b, Tensor? scale, Tensor? noise, "
    "SymInt dim, str act, float alpha, float gain, float? clamp"
)
_WANTED = "bool is_output_saved, bool scales_dx, bool needs_b, bool needs_scale, bool needs_noise"


def _entry(act: str, def_gain: float, def_alpha: float, has_2nd_grad: bool) -> dnnlib.EasyDict:
    def func(x: Tensor, alpha: float = def_alpha, **_: Any) -> Tensor:
        return reference.ACTIVATIONS[act](x, alpha)

    return dnnlib.EasyDict(
        func=func, def_alpha=def_alpha, def_gain=def_gain, has_2nd_grad=has_2nd_grad
    )


# `func(x, alpha=...)` is the activation alone. Gains keep the variance of a normal input;
# `has_2nd_grad` is false for piecewise linear functions.
# Sources inside published pickles look up `activation_funcs[name].def_gain`.
activation_funcs: dict[str, dnnlib.EasyDict] = {
    "linear": _entry("linear", 1.0, 0.0, False),
    "relu": _entry("relu", float(np.sqrt(2)), 0.0, False),
    "lrelu": _entry("lrelu", float(np.sqrt(2)), 0.2, False),
    "tanh": _entry("tanh", 1.0, 0.0, True),
    "sigmoid": _entry("sigmoid", 1.0, 0.0, True),
    "elu": _entry("elu", 1.0, 0.0, True),
    "selu": _entry("selu", 1.0, 0.0, True),
    "softplus": _entry("softplus", 1.0, 0.0, True),
    "swish": _entry("swish", float(np.sqrt(2)), 0.0, True),
}


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: Literal["cuda", "ref"] = "cuda",
    scale: Tensor | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """Compute `clamp(act(x * scale + noise + b) * gain)`; differentiable to any order.

    For half precision, the kernels compute in float32. Where the output is exactly `clamp`, their
    gradient is zero; PyTorch's own gradient is the one below the limit.

    Args:
        x: Activations of any shape and floating-point type.
        b: Bias `[x.shape[dim]]`, or `None`.
        dim: Dimension of `x` that the bias belongs to.
        act: Name of the activation function, a key of `activation_funcs`.
        alpha: Slope of `"lrelu"` below zero; `None` for the default.
        gain: Factor after the activation; `None` for the default of the activation.
        clamp: Limit of the absolute value after the gain; `None` for no limit.
        impl: `"cuda"` stands for the best kernel that exists, `"ref"` for the reference.
        scale: Factors `[N, C]` of images `x` `[N, C, H, W]`, where `dim` must be 1; or `None`.
        noise: Added to such images, `[N, 1, H, W]` or `[1, 1, H, W]`; or `None`.

    Returns:
        Tensor in the shape and dtype of `x`, channels last if `x` is so stored.

    Raises:
        ValueError: If the activation is unknown, an operand does not fit, or the clamp is negative.
    """
    is_reference = wants_reference("bias_act", impl)
    if act not in activation_funcs:
        raise ValueError(f"bias_act: unknown `act` {act!r}; known: {', '.join(activation_funcs)}")
    if clamp is not None and clamp < 0:
        raise ValueError(f"bias_act: `clamp` must not be negative, got {clamp}")
    dim = _check_operands(x, b, dim, scale, noise)
    defaults = activation_funcs[act]
    alpha = defaults.def_alpha if alpha is None else float(alpha)
    gain = defaults.def_gain if gain is None else float(gain)
    clamp = None if clamp is None else float(clamp)
    if is_reference or x.ndim == 0 or not has_kernels(x, (), (b, scale, noise)):
        return reference.bias_act(x, BiasAct(b, scale, noise, dim, act, alpha, gain, clamp))
    dtype = arithmetic_dtype(x.dtype)
    b = None if b is None else as_operand(b, dtype)
    scale = None if scale is None else as_operand(scale, dtype)
    noise = None if noise is None else as_operand(noise, dtype)
    if not defaults.has_2nd_grad:
        return call_op(_bias_act, x, b, scale, noise, dim, act, alpha, gain, clamp)
    # Smooth functions spend their time in exp and tanh, which PyTorch has vectorised.
    if any(t is not None for t in (b, scale, noise)):
        x = call_op(_bias_act, x, *BiasAct(b, scale, noise, dim))
    x = reference.ACTIVATIONS[act](x, alpha)
    if gain == 1 and clamp is None:
        return x
    return call_op(_bias_act, x, *BiasAct(dim=dim, gain=gain, clamp=clamp))


def _bias_act_cpu(x: Tensor, *call: Any) -> Tensor:
    return cpu.bias_act(x, BiasAct(*call))


def _bias_act_cuda(x: Tensor, *call: Any) -> Tensor:
    return cuda.bias_act(x, BiasAct(*call))


def _bias_act_fake(x: Tensor, *call: Any) -> Tensor:
    if stands_for_cuda(x.device):
        return _bias_act_cuda(x, *call)
    return torch.empty_like(x, memory_format=channels_format(x, BiasAct(*call).dim))


def _setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, *arguments = inputs
    call = BiasAct(*arguments)
    ctx.settings = call[3:]  # all but the tensors
    ctx.b_shape = [x.shape[call.dim] if i == call.dim else 1 for i in range(x.ndim)]
    ctx.noise_shape = None if call.noise is None else call.noise.shape
    # If only the saved output leads here, a second backward pass brings no gradient at all. The
    # saved output of a linear function only decides where to clamp, so it has no gradient, and
    # neither have the operands. (The other activations get zeros, as PyTorch's own do: a gradient
    # of zero is a step of Adam, and `None` is not.)
    ctx.set_materialize_grads(call.act != "linear")
    if call.scale is None and call.act == "linear" and call.clamp is None:
        return  # nothing to keep
    # The gradient of the scale needs the input. Otherwise the output is saved, which the next layer
    # keeps anyway: its sign and size tell which slope made it.
    has_sign_of_input = call.gain > 0 and (call.act == "relu" or call.alpha >= 0)
    is_told_by_output = call.act == "linear" or has_sign_of_input
    ctx.is_output_saved = call.scale is None and is_told_by_output and call.clamp != 0
    saved = output if ctx.is_output_saved else x
    ctx.save_for_backward(saved, call.b, call.scale, call.noise)


def _backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return None, None, None, None
    _, needs_b, needs_scale, needs_noise, *_ = ctx.needs_input_grad
    saved = ctx.saved_tensors
    if saved:
        dx, db, dscale, dnoise = call_op(
            _bias_act_grad,
            dy,
            *saved,
            *ctx.settings,
            ctx.is_output_saved,
            True,
            needs_b,
            needs_scale,
            needs_noise,
        )
        db, dscale = db if needs_b else None, dscale if needs_scale else None
        return dx, db, dscale, dnoise if needs_noise else None
    gain = BiasAct(None, None, None, *ctx.settings).gain
    dx = dy if gain == 1 else dy * gain
    wide = dx.to(arithmetic_dtype(dx.dtype))
    db = wide.sum_to_size(ctx.b_shape).flatten() if needs_b else None
    dnoise = wide.sum_to_size(ctx.noise_shape) if needs_noise else None
    return dx, db, None, dnoise


# The piecewise linear activations: "linear", "relu" and "lrelu".
_bias_act = register(
    "bias_act",
    f"(Tensor x, {_CALL}) -> Tensor",
    cpu=_bias_act_cpu,
    cuda=_bias_act_cuda,
    fake=_bias_act_fake,
    setup_context=_setup_context,
    backward=_backward,
)


def _bias_act_grad_cpu(dy: Tensor, saved: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return cpu.bias_act_grad(dy, saved, *_split(arguments))


def _bias_act_grad_cuda(dy: Tensor, saved: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return cuda.bias_act_grad(dy, saved, *_split(arguments))


def _bias_act_grad_fake(dy: Tensor, saved: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    if stands_for_cuda(saved.device):
        return _bias_act_grad_cuda(dy, saved, *arguments)
    call, wanted = _split(arguments)
    dtype = arithmetic_dtype(saved.dtype)
    dx = torch.empty_like(saved, memory_format=channels_format(saved, call.dim))
    return dx, *(saved.new_empty(shape, dtype=dtype) for shape in wanted.shapes(saved, call))


def _split(arguments: tuple) -> tuple[BiasAct, BiasActGrad]:
    num_settings = len(BiasAct._fields)
    return BiasAct(*arguments[:num_settings]), BiasActGrad(*arguments[num_settings:])


def _setup_grad(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    dy, saved, *arguments = inputs
    call, ctx.wanted = _split(tuple(arguments))
    ctx.settings = call[3:]  # all but the tensors
    ctx.set_materialize_grads(False)
    # The gradients are linear in `dy`, which matters only as a factor of scale and input.
    dy = None if call.scale is None else dy
    ctx.save_for_backward(dy, saved, call.b, call.scale, call.noise)


def _backward_grad(
    ctx: Any,
    g_dx: Tensor | None,
    g_db: Tensor | None,
    g_dscale: Tensor | None,
    g_dnoise: Tensor | None,
) -> tuple[Tensor | None, ...]:
    dy, saved, b, scale, noise = ctx.saved_tensors
    call = BiasAct(b, scale, noise, *ctx.settings)

    def times_slope(t: Tensor) -> Tensor:
        slope_only = BiasActGrad(ctx.wanted.is_output_saved)
        return call_op(_bias_act_grad, t.to(saved.dtype), saved, *call, *slope_only)[0]

    parts = []  # what each of the gradients adds to that of `dy`
    g_saved = g_scale = None
    if g_dx is not None and scale is not None and ctx.wanted.scales_dx:
        parts.append(g_dx * scale[:, :, None, None])
        g_scale = sum_of_products(times_slope(dy), g_dx)
    elif g_dx is not None:
        parts.append(g_dx)
    if g_db is not None and ctx.wanted.needs_b:
        parts.append(g_db.reshape([-1 if i == call.dim else 1 for i in range(saved.ndim)]))
    if g_dscale is not None and ctx.wanted.needs_scale:
        parts.append(g_dscale[:, :, None, None] * saved)
        g_saved = (times_slope(dy) * g_dscale[:, :, None, None]).to(saved.dtype)
    if g_dnoise is not None and ctx.wanted.needs_noise:
        parts.append(g_dnoise)
    g_dy = times_slope(torch.as_tensor(sum(parts)).expand_as(saved)) if parts else None
    return g_dy, g_saved, None, g_scale, None


# Gradients of `x`, `b`, `scale` and `noise`; empty where they are not needed.
#
# With `m` the slope of `clamp(act(v) * gain)` at each `v = x * scale + noise + b`, they are
# `m * dy * scale` (without the scale if `scales_dx` is false), and sums of `m * dy`, `m * dy * x`
# and `m * dy`. `saved` is `x`, or else the output.
_bias_act_grad = register(
    "bias_act_grad",
    f"(Tensor dy, Tensor saved, {_CALL}, {_WANTED}) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_bias_act_grad_cpu,
    cuda=_bias_act_grad_cuda,
    fake=_bias_act_grad_fake,
    setup_context=_setup_grad,
    backward=_backward_grad,
)


def _check_operands(
    x: Tensor, b: Tensor | None, dim: int, scale: Tensor | None, noise: Tensor | None
) -> int:
    """Refuse operands that do not fit `x`; return the dimension of the channels from the left."""
    if b is not None:
        if not -x.ndim <= dim < x.ndim or b.shape != (x.shape[dim],):
            raise ValueError(
                f"bias_act: bias {tuple(b.shape)} does not fit dimension {dim} of {tuple(x.shape)}"
            )
        dim %= x.ndim
    if scale is None and noise is None:
        return min(1, x.ndim - 1) if b is None else dim
    if x.ndim != 4 or dim != 1:
        raise ValueError(
            "bias_act: `scale` and `noise` need images [N, C, H, W] and `dim` 1, got "
            f"{tuple(x.shape)} and {dim}"
        )
    n, c, h, w = x.shape
    if scale is not None and scale.shape != (n, c):
        raise ValueError(
            f"bias_act: scale {tuple(scale.shape)} does not fit images {tuple(x.shape)}"
        )
    if noise is not None and noise.shape not in ((n, 1, h, w), (1, 1, h, w)):
        raise ValueError(
            f"bias_act: noise {tuple(noise.shape)} does not fit images {tuple(x.shape)}"
        )
    return dim
