"""Scale, noise, bias, activation function, gain and clamp in one step."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

import dnnlib
from torch_utils.ops.cpu import bias_act as cpu
from torch_utils.ops.cuda import bias_act as cuda
from torch_utils.ops.layout import channels_format
from torch_utils.ops.reference import bias_act as reference
from torch_utils.ops.selection import has_kernels, wants_reference


def _entry(act: str, def_gain: float, def_alpha: float, has_2nd_grad: bool) -> dnnlib.EasyDict:
    def func(x: Tensor, alpha: float = def_alpha, **_) -> Tensor:
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

    Half precision is computed in float32 by the kernels. They take the gradient at an output of
    exactly `clamp` for zero, where PyTorch's is that below the limit.

    Args:
        x: Activations of any shape and floating-point type.
        b: Bias `[x.shape[dim]]`, or `None`.
        dim: Dimension of `x` that the bias belongs to.
        act: Name of the activation function, a key of `activation_funcs`.
        alpha: Slope of `"lrelu"` below zero; `None` for the default.
        gain: Factor after the activation; `None` for the default of the activation.
        clamp: Limit of the absolute value after the gain; `None` for no limit.
        impl: `"cuda"` stands for the best kernel there is, `"ref"` for the reference.
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
        return reference.bias_act(x, b, dim, act, alpha, gain, clamp, scale, noise)
    dtype = _dtype_of_sums(x)
    b, scale, noise = (None if t is None else t.to(dtype).contiguous() for t in (b, scale, noise))
    if not defaults.has_2nd_grad:
        return _bias_act(x, b, scale, noise, dim, act, alpha, gain, clamp)
    # Smooth functions spend their time in exp and tanh, which PyTorch has vectorised.
    if any(t is not None for t in (b, scale, noise)):
        x = _bias_act(x, b, scale, noise, dim, "linear", 0.0, 1.0, None)
    x = reference.ACTIVATIONS[act](x, alpha)
    if gain == 1 and clamp is None:
        return x
    return _bias_act(x, None, None, None, dim, "linear", 0.0, gain, clamp)


@torch.library.custom_op("stylegan3::bias_act", mutates_args=())
def _bias_act(
    x: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    dim: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float | None,
) -> Tensor:
    """The piecewise linear activations: `"linear"`, `"relu"` and `"lrelu"`."""
    return cpu.bias_act(x, b, scale, noise, dim, act, alpha, gain, clamp)


@_bias_act.register_fake
def _(x, b, scale, noise, dim, act, alpha, gain, clamp):
    if x.device.type == "meta":
        return cuda.bias_act(x, b, scale, noise, dim, act, alpha, gain, clamp)
    return torch.empty_like(x, memory_format=channels_format(x, dim))


def _setup_context(ctx, inputs, output) -> None:
    x, b, scale, noise, *ctx.settings = inputs
    dim, act, alpha, gain, clamp = ctx.settings
    ctx.b_shape = [x.shape[dim] if i == dim else 1 for i in range(x.ndim)]
    ctx.noise_shape = None if noise is None else noise.shape
    # A second backward pass comes here with no gradient at all if only the saved output leads here.
    # The saved output of a linear function decides about clamping only: it has no gradient, and
    # neither have the operands. (The others get zeros, as from PyTorch's own activations: Adam
    # takes a step of zero for a step, and None for none.)
    ctx.set_materialize_grads(act != "linear")
    if scale is None and act == "linear" and clamp is None:
        return  # nothing to keep
    # The gradient of the scale needs the input. Otherwise the output, which the next layer keeps
    # anyway, tells by its sign and size which slope made it.
    is_told_by_output = act == "linear" or (gain > 0 and (act == "relu" or alpha >= 0))
    ctx.is_output_saved = scale is None and is_told_by_output and clamp != 0
    ctx.save_for_backward(output if ctx.is_output_saved else x, b, scale, noise)


def _backward(ctx, dy: Tensor | None):
    if dy is None:
        return (None,) * 9
    needs_b, needs_scale, needs_noise = ctx.needs_input_grad[1:4]
    if ctx.saved_tensors:
        grads = _bias_act_grad(
            dy,
            *ctx.saved_tensors,
            *ctx.settings,
            is_output_saved=ctx.is_output_saved,
            scales_dx=True,
            needs_b=needs_b,
            needs_scale=needs_scale,
            needs_noise=needs_noise,
        )
        needs = (True, needs_b, needs_scale, needs_noise)
        grads = (grad if is_needed else None for grad, is_needed in zip(grads, needs, strict=True))
        return *grads, *[None] * 5
    _, _, _, gain, _ = ctx.settings
    dx = dy if gain == 1 else dy * gain
    wide = dx.to(_dtype_of_sums(dx))
    db = wide.sum_to_size(ctx.b_shape).flatten() if needs_b else None
    dnoise = wide.sum_to_size(ctx.noise_shape) if needs_noise else None
    return dx, db, None, dnoise, *[None] * 5


_bias_act.register_kernel("cuda", cuda.bias_act)
_bias_act.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op("stylegan3::bias_act_grad", mutates_args=())
def _bias_act_grad(
    dy: Tensor,
    saved: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    dim: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float | None,
    is_output_saved: bool,
    scales_dx: bool,
    needs_b: bool,
    needs_scale: bool,
    needs_noise: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `x`, `b`, `scale` and `noise`; empty where they are not needed.

    With `m` the slope of `clamp(act(v) * gain)` at each `v = x * scale + noise + b`, they are
    `m * dy * scale` (without the scale if `scales_dx` is false), and sums of `m * dy`,
    `m * dy * x` and `m * dy`. `saved` is `x`, or else the output.
    """
    return cpu.bias_act_grad(
        dy,
        saved,
        b,
        scale,
        noise,
        dim,
        act,
        alpha,
        gain,
        clamp,
        is_output_saved,
        scales_dx,
        needs_b,
        needs_scale,
        needs_noise,
    )


@_bias_act_grad.register_fake
def _(dy, saved, b, scale, noise, dim, *settings):
    if saved.device.type == "meta":
        return cuda.bias_act_grad(dy, saved, b, scale, noise, dim, *settings)
    needs_b, needs_scale, needs_noise = settings[-3:]
    dtype = _dtype_of_sums(saved)
    return (
        torch.empty_like(saved, memory_format=channels_format(saved, dim)),
        saved.new_empty([saved.shape[dim]] if needs_b else [0], dtype=dtype),
        saved.new_empty(saved.shape[:2] if needs_scale else [0], dtype=dtype),
        saved.new_empty(noise.shape if needs_noise else [0], dtype=dtype),
    )


def _setup_grad(ctx, inputs, output) -> None:
    dy, saved, b, scale, noise, *ctx.settings = inputs
    *_, ctx.scales_dx, ctx.needs_b, ctx.needs_scale, ctx.needs_noise = ctx.settings
    ctx.set_materialize_grads(False)
    # The gradients are linear in `dy`, which matters only as a factor of scale and input.
    ctx.save_for_backward(None if scale is None else dy, saved, b, scale, noise)


def _backward_grad(ctx, g_dx, g_db, g_dscale, g_dnoise):
    dy, saved, b, scale, noise = ctx.saved_tensors
    dim, *settings = ctx.settings[:6]

    def times_slope(t: Tensor) -> Tensor:
        t = t.to(saved.dtype)
        slopes = (saved, b, scale, noise, dim, *settings)
        return _bias_act_grad(t, *slopes, *[False] * 4)[0]

    g_dy = []  # what each of the gradients adds
    g_saved = g_scale = None
    if g_dx is not None and scale is not None and ctx.scales_dx:
        g_dy.append(g_dx * scale[:, :, None, None])
        g_scale = (times_slope(dy) * g_dx).sum([2, 3], dtype=scale.dtype)
    elif g_dx is not None:
        g_dy.append(g_dx)
    if g_db is not None and ctx.needs_b:
        g_dy.append(g_db.reshape([-1 if i == dim else 1 for i in range(saved.ndim)]))
    if g_dscale is not None and ctx.needs_scale:
        g_dy.append(g_dscale[:, :, None, None] * saved)
        g_saved = times_slope(dy) * g_dscale[:, :, None, None].to(saved.dtype)
    if g_dnoise is not None and ctx.needs_noise:
        g_dy.append(g_dnoise)
    g_dy = times_slope(sum(g_dy).expand_as(saved)) if g_dy else None
    return g_dy, g_saved, None, g_scale, *[None] * 11


_bias_act_grad.register_kernel("cuda", cuda.bias_act_grad)
_bias_act_grad.register_autograd(_backward_grad, setup_context=_setup_grad)


def _check_operands(
    x: Tensor, b: Tensor | None, dim: int, scale: Tensor | None, noise: Tensor | None
) -> int:
    """Refuse what does not fit `x`; return the dimension of the channels, counted from the left."""
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


def _dtype_of_sums(x: Tensor) -> torch.dtype:
    """Dtype of the arithmetic, and of bias, scale and noise."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
