"""Record calls of operators while a network runs, and repeat them on other tensors."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import timing

AnyCall = TypeVar("AnyCall", bound=Hashable)


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in memory."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Tensor) -> "Layout":
        """The layout of a tensor."""
        return cls(tuple(x.shape), x.stride(), x.dtype)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return torch.Size(self.shape).numel()

    def random(self, device: torch.device) -> Tensor:
        """A fresh tensor of normal random numbers."""
        last = sum(
            (size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True)
        )
        memory = torch.empty([last + 1 if self.numel else 0], dtype=self.dtype, device=device)
        return memory.normal_().as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class Call:
    """A call of an operator, with layouts in place of tensors; equal calls are equally fast."""

    function: Callable[..., Any]
    args: tuple[Any, ...]

    @classmethod
    def of(cls, function: Callable[..., Any], args: tuple[Any, ...]) -> "Call":
        """The call `function(*args)`."""
        return cls(function, tuple(_freeze(arg) for arg in args))

    def prepare(self, device: torch.device) -> Callable[[], Any]:
        """A function that repeats the call on tensors that it made beforehand."""
        args = [arg.random(device) if isinstance(arg, Layout) else arg for arg in self.args]
        return lambda: self.function(*args)


class ConvolutionCallRecorder(TorchDispatchMode):
    """Context that lists the convolutions inside and their gradients, except depthwise ones.

    Attributes:
        calls: The calls so far, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation, and record it if it is a convolution or the gradient of one."""
        if func is torch.ops.aten.convolution.default:
            x, weight, groups = args[0], args[1], args[8]
        elif func is torch.ops.aten.convolution_backward.default:
            x, weight, groups = args[1], args[2], args[9]
        else:
            return func(*args, **(kwargs or {}))
        if not is_depthwise(x, weight, groups):
            self.calls.append(Call.of(func, args))
        return func(*args, **(kwargs or {}))


def is_depthwise(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether a convolution is a filter of every channel by itself."""
    return weight.shape[1] == 1 and groups == x.shape[1]


def count_calls(calls: Sequence[AnyCall]) -> Iterator[tuple[AnyCall, int]]:
    """Distinct calls, and how often each took place."""
    counts: dict[AnyCall, int] = {}
    for call in calls:
        counts[call] = counts.get(call, 0) + 1
    yield from counts.items()


def measure_calls(
    calls: list[Call], device: torch.device, num_runs: int | None, budget_sec: float
) -> float:
    """Sum of the durations of all calls in seconds; each distinct call is timed once.

    Only one call has tensors at a time, so that this fits into memory wherever training does.

    Args:
        calls: The calls to repeat.
        device: Where.
        num_runs: Timed runs of each, see `timing.measure`.
        budget_sec: Duration of all timed runs to aim at.
    """
    counted = list(count_calls(calls))
    total_sec = 0.0
    for call, count in counted:
        timed = timing.measure_kernels(
            call.prepare(device), device, num_runs, budget_sec=budget_sec / len(counted)
        )
        total_sec += timed.median_sec * count
    return total_sec


def _freeze(arg: Any) -> Any:
    if isinstance(arg, Tensor):
        return Layout.of(arg)
    return tuple(arg) if isinstance(arg, list) else arg
