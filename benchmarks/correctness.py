"""Calls that try every kernel of the ops, and their errors beside the reference in float64."""

import dataclasses
import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import accuracy
from benchmarks.calls import Layout
from benchmarks.networks import Setup
from benchmarks.op_calls import NETWORKS, OPS, OpCall, cfg_of, network_calls
from torch_utils.ops.bias_act import activation_funcs
from torch_utils.ops.cuda import compiler, launcher
from torch_utils.ops.cuda.recorder import Kernel, record_launches
from training.config import Cfg

# A sample that rounding moves across the kink of a nonlinearity has another gradient, correctly.
# This is rare: a correct kernel agrees with the reference for other random numbers.
NUM_DRAWS = 3


@dataclass(frozen=True)
class Errors:
    """Errors of one op in one type and layout over many calls.

    Attributes:
        largest: For each of `accuracy.ORDERS` the largest error.
        worst: For each order the call that it belongs to.
        failures: Calls that are not close to the reference, or raised, and why.
        num_calls: How many calls were tried.
        num_kernels: How many different CUDA kernels they launch, with their gradients.
        num_by_reference: How many of the calls launch none, and use the reference.
    """

    largest: tuple[float, ...]
    worst: tuple[str, ...]
    failures: tuple[str, ...]
    num_calls: int
    num_kernels: int
    num_by_reference: int


def calls_to_try(resolution: int, device: torch.device) -> list[OpCall]:
    """The calls of all networks, with few channels, and some that no network makes."""
    found: list[OpCall] = []
    for network in NETWORKS:
        setup = setup_of_calls(cfg_of(network), resolution)
        for call in network_calls(network, setup, device):
            found.append(dataclasses.replace(call, layer=f"{network} {call.layer}".strip()))
    return found + unusual_calls()


def setup_of_calls(cfg: Cfg, resolution: int) -> Setup:
    """The networks whose calls are tried."""
    return Setup(cfg, resolution, batch=2, cbase=resolution * 16, cmax=12)


def measure_errors(
    calls: Sequence[OpCall], dtype: torch.dtype, channels_last: bool, device: torch.device
) -> Errors:
    """Compare values, first and second gradients of calls of one op with the reference.

    Args:
        calls: The calls.
        dtype: Type of the images.
        channels_last: Layout of the images.
        device: Where.
    """
    num_orders = len(accuracy.ORDERS)
    largest, worst, failures = [0.0] * num_orders, [""] * num_orders, []
    kernels: set[Kernel] = set()
    num_by_reference = 0
    is_without_kernels = device.type == "cuda" and not compiler.is_available(device.index)
    for call in (_in_layout(call.with_dtype(dtype), channels_last) for call in calls):
        try:
            launched = set() if is_without_kernels else _kernels_of_call(call)
            kernels |= launched
            num_by_reference += not launched
            errors = _errors_of_call(call, device)
        except Exception as exception:  # a kernel that cannot be launched is a finding
            failures.append(f"{call.layer}: {type(exception).__name__}: {exception}")
            continue
        if max(errors) > accuracy.MAX_ERROR[dtype]:
            failures.append(f"{call.layer}: {max(errors):.2g}")
        for order, error in enumerate(errors):
            if error >= largest[order]:
                largest[order], worst[order] = error, call.layer
    # A kernel that cannot be built is a finding, too: the reference took its place, and is slow.
    for (source, specialisation, _), reason in launcher.failures.items():
        if (source, specialisation) in kernels:
            failures.append(f"not built: {specialisation} of {source}: {reason}")
    return Errors(
        tuple(largest), tuple(worst), tuple(failures), len(calls), len(kernels), num_by_reference
    )


def kernels_of(calls: Sequence[OpCall], dtypes: Sequence[torch.dtype]) -> set[Kernel]:
    """The CUDA kernels of calls and their gradients, in all types and both layouts."""
    kernels: set[Kernel] = set()
    for call, dtype, channels_last in itertools.product(calls, dtypes, (False, True)):
        kernels |= _kernels_of_call(_in_layout(call.with_dtype(dtype), channels_last))
    return kernels


def unusual_calls() -> list[OpCall]:
    """Calls with parameters that no network uses, for the general kernels."""
    f5, f7, f9 = (torch.hann_window(taps + 2, periodic=False)[1:-1] / taps for taps in (5, 7, 9))
    f3x4 = torch.arange(12.0).reshape(3, 4).sin()
    f5x3 = torch.arange(15.0).reshape(5, 3).cos()
    lrelu, fir = "filtered_lrelu", "upfirdn2d"
    calls = [
        _call(lrelu, "up 3 down 2", [2, 5, 13, 11], fu=f9, fd=f5, up=3, down=2,
              padding=[4, 3, 5, 2], clamp=0.7),
        _call(lrelu, "no up filter, cropped", [1, 3, 12, 14], fd=f5, padding=[-1, 2, 1, -2],
              slope=0.0, gain=0.5),
        _call(lrelu, "2D filters, flipped", [2, 4, 9, 10], fu=f3x4, fd=f5x3, up=2, down=3,
              padding=[5, 4, 3, 6], flip_filter=True),
        _call(lrelu, "one pixel", [3, 17, 1, 1], fu=f7, fd=f7, up=2, down=2, padding=8, clamp=0.2),
        _call(lrelu, "small clamp", [2, 33, 16, 16], fu=f9, fd=f9, up=2, down=2, padding=9,
              clamp=0.3),
        _call(fir, "different factors", [2, 5, 13, 11], f=f3x4, up=[2, 1], down=[1, 3],
              padding=[3, -1, 2, 1], flip_filter=True, gain=1.5),
        _call(fir, "7 taps", [1, 3, 17, 18], f=f7, up=3, down=2, padding=[6, 5, 4, 3]),
        _call(fir, "no filter, cropped", [2, 2, 9, 8], f=None, padding=[-2, 1, 0, -3]),
        _call(fir, "one pixel", [3, 17, 1, 1], f=f5x3, up=4, padding=5),
    ]  # fmt: skip
    for act in activation_funcs:
        calls.append(_call("bias_act", act, [2, 7, 9, 10], act=act, gain=1.5, clamp=0.8))
        calls.append(_call("bias_act", f"{act}, no clamp", [2, 7, 9, 10], act=act))
    return calls


def _kernels_of_call(call: OpCall) -> set[Kernel]:
    """The CUDA kernels of a call and its gradients; the meta device stands for the GPU."""
    function, data = call.prepare(torch.device("meta"))
    with record_launches() as kernels:
        accuracy.derivatives(function, data, len(accuracy.ORDERS))
    return kernels


def _errors_of_call(call: OpCall, device: torch.device) -> list[float]:
    best: list[float] = []
    for seed in range(NUM_DRAWS):
        torch.manual_seed(seed)
        function, data = call.prepare(device)
        errors = accuracy.errors(function, data)
        if not best or max(errors) < max(best):
            best = errors
        if max(best) <= accuracy.MAX_ERROR[call.arguments["x"].dtype]:
            break
    return best


def _in_layout(call: OpCall, channels_last: bool) -> OpCall:
    x = call.arguments["x"]
    _, c, h, w = x.shape
    stride = (c * h * w, 1, w * c, c) if channels_last else (c * h * w, h * w, w, 1)
    x = dataclasses.replace(x, stride=stride)
    return dataclasses.replace(call, arguments=call.arguments | dict(x=x))


def _call(op: str, layer: str, shape: list[int], **arguments: Any) -> OpCall:
    bias = Layout((shape[1],), (1,), torch.float32)
    x = Layout.of(torch.empty(shape))
    if op != "upfirdn2d":
        arguments["b"] = bias
    bound = inspect.signature(OPS[op]).bind(x, **arguments)
    bound.apply_defaults()
    return OpCall(op, layer, dict(bound.arguments), count=1)
