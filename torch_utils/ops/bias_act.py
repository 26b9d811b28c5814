"""Bias, activation function, gain and clamp in one step."""

from typing import Literal

import numpy as np
from torch import Tensor

import dnnlib
from torch_utils.ops.reference import bias_act as reference
from torch_utils.ops.selection import wants_reference


def _entry(def_gain: float, def_alpha: float, has_2nd_grad: bool) -> dnnlib.EasyDict:
    return dnnlib.EasyDict(def_gain=def_gain, def_alpha=def_alpha, has_2nd_grad=has_2nd_grad)


# Gains keep the variance of a normal input; `has_2nd_grad` is false for piecewise linear functions.
# Sources inside published pickles look up `activation_funcs[name].def_gain`.
activation_funcs: dict[str, dnnlib.EasyDict] = {
    "linear": _entry(1.0, 0.0, False),
    "relu": _entry(float(np.sqrt(2)), 0.0, False),
    "lrelu": _entry(float(np.sqrt(2)), 0.2, False),
    "tanh": _entry(1.0, 0.0, True),
    "sigmoid": _entry(1.0, 0.0, True),
    "elu": _entry(1.0, 0.0, True),
    "selu": _entry(1.0, 0.0, True),
    "softplus": _entry(1.0, 0.0, True),
    "swish": _entry(float(np.sqrt(2)), 0.0, True),
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
) -> Tensor:
    """Add a bias, apply an activation function, scale and clamp; differentiable to any order.

    Args:
        x: Activations of any shape and floating-point type.
        b: Bias `[x.shape[dim]]`, or `None`.
        dim: Dimension of `x` that the bias belongs to.
        act: Name of the activation function, a key of `activation_funcs`.
        alpha: Slope of `"lrelu"` below zero; `None` for the default.
        gain: Factor after the activation; `None` for the default of the activation.
        clamp: Limit of the absolute value after the gain; `None` for no limit.
        impl: `"cuda"` stands for the best kernel there is, `"ref"` for the reference.

    Returns:
        Tensor in the shape and dtype of `x`.

    Raises:
        ValueError: If the activation is unknown, the bias does not fit, or the clamp is negative.
    """
    wants_reference("bias_act", impl)
    if act not in activation_funcs:
        raise ValueError(f"bias_act: unknown `act` {act!r}; known: {', '.join(activation_funcs)}")
    if clamp is not None and clamp < 0:
        raise ValueError(f"bias_act: `clamp` must not be negative, got {clamp}")
    if b is not None:
        if not -x.ndim <= dim < x.ndim or b.shape != (x.shape[dim],):
            raise ValueError(
                f"bias_act: bias {tuple(b.shape)} does not fit dimension {dim} of {tuple(x.shape)}"
            )
        dim %= x.ndim
    defaults = activation_funcs[act]
    alpha = defaults.def_alpha if alpha is None else float(alpha)
    gain = defaults.def_gain if gain is None else float(gain)
    return reference.bias_act(x, b, dim, act, alpha, gain, clamp)
