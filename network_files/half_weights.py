"""Round weights to float16 for a small file, except those that float16 cannot hold."""

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Of a tensor, relative to its root mean square. Rounding normal numbers changes them by 2**-11 at
# most; a tensor exceeds the limit if it consists of numbers below 2**-14, where digits are lost.
MAX_ERROR = 1e-3
MAX_NAMED = 3


@dataclass
class Rounding:
    """What rounding did to the tensors of a file.

    Attributes:
        counts: Number of tensors by the name of the type that they are stored as.
        kept: Why a weight stays as it is, by name: `out of range` or `too small`.
        max_error: Largest error of a rounded tensor, relative to its root mean square.
        num_zeroed: Weights that became zero.
    """

    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[str, str] = field(default_factory=dict)
    max_error: float = 0
    num_zeroed: int = 0

    def store(self, name: str, weight: Tensor) -> Tensor:
        """The float32 weight as float16, or as it is if it would change too much; counts both."""
        half = weight.to(torch.float16)
        error = _rms(half.double() - weight.double()) / max(_rms(weight.double()), 1e-300)
        reason = None
        if (half.isinf() & weight.isfinite()).any():
            reason = "out of range"
        elif error > MAX_ERROR:
            reason = "too small"
        if reason is not None:
            self.kept[name] = reason
            return self.keep(weight)
        if error == error:  # not of a weight with NaN, which stays NaN
            self.max_error = max(self.max_error, error)
        self.num_zeroed += int(((half == 0) & (weight != 0)).sum())
        return self.keep(half)

    def keep(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is stored as it is."""
        self.counts[type_name(tensor)] += 1
        return tensor

    def describe(self) -> str:
        """One line for the user."""
        counts = ", ".join(f"{num} as {kind}" for kind, num in self.counts.most_common())
        line = f"Tensors: {counts}; rounding changed each by {100 * self.max_error:.2g} % at most"
        if self.num_zeroed:
            line += f", {self.num_zeroed} weights became 0"
        if self.kept:
            named = [f"{name} ({why})" for name, why in list(self.kept.items())[:MAX_NAMED]]
            more = f" and {len(self.kept) - MAX_NAMED} more" if len(self.kept) > MAX_NAMED else ""
            line += f"; float16 cannot hold {', '.join(named)}{more}"
        return line


def type_name(tensor: Tensor) -> str:
    """The name of a tensor's type, such as `float16`."""
    return str(tensor.dtype).removeprefix("torch.")


def _rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item() if x.numel() else 0.0
