"""Definition of `bias_act` and of its activation functions."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_utils.ops.calls import BiasAct

# Name -> y = function(x, alpha); only the leaky ReLU has an alpha.
ACTIVATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "linear": lambda x, _: x,
    "relu": lambda x, _: F.relu(x),
    "lrelu": lambda x, alpha: F.leaky_relu(x, alpha),
    "tanh": lambda x, _: torch.tanh(x),
    "sigmoid": lambda x, _: torch.sigmoid(x),
    "elu": lambda x, _: F.elu(x),
    "selu": lambda x, _: F.selu(x),
    "softplus": lambda x, _: F.softplus(x),
    "swish": lambda x, _: x * torch.sigmoid(x),
}


def bias_act(x: Tensor, call: BiasAct) -> Tensor:
    """`clamp(act(x * scale + noise + b) * gain)`, with any of the activations."""
    b, scale, noise, dim, act, alpha, gain, clamp = call
    if scale is not None:
        x = x * scale.to(x.dtype)[:, :, None, None]
    if noise is not None:
        x = x + noise.to(x.dtype)
    if b is not None:
        x = x + b.to(x.dtype).reshape([-1 if i == dim else 1 for i in range(x.ndim)])
    x = ACTIVATIONS[act](x, alpha)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)
