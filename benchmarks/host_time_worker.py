"""Measures the host time of launches and ops; `benchmarks/host_time.py` runs it in a checkout.

It imports nothing of `benchmarks`, so that it can measure a checkout that lacks this file. The
folder of the checkout is the first on the path. Prints `{name: microseconds}` as JSON.

A driver that does nothing stands in for CUDA's, and tensors on the CPU for tensors on a GPU: what
is left is the time of Python, and of allocating the results.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from ctypes import c_int32, c_int64, c_void_p
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch


class Stream:
    """In place of `torch.cuda.Stream`, of which each look at the current stream makes one."""

    def __init__(self, **kwargs: int) -> None:
        self.cuda_stream = 0


def current_stream(device: int | None = None) -> Stream:
    """What PyTorch does for `torch.cuda.current_stream`."""
    torch.cuda._lazy_init()
    index = torch.cuda._utils._get_device_index(device, optional=True)
    return Stream(stream_id=0, device_index=index, device_type=1)


def replace(where: Any, **attributes: Any) -> None:
    """Replace attributes for the rest of the process."""
    for name, value in attributes.items():
        setattr(where, name, value)


# CPU builds of PyTorch lack these functions, which answer without the driver.
replace(torch.cuda, _lazy_init=lambda: None, current_stream=current_stream)
replace(torch._C, _cuda_getDevice=lambda: 0, _cuda_getCurrentRawStream=lambda index: 0)

from torch_utils.ops import (  # noqa: E402
    bias_act,
    filtered_lrelu,
    registration,
    selection,
    upfirdn2d,
)
from torch_utils.ops.cuda import ahead, compiler, launcher  # noqa: E402

GPU = torch.device("cuda", 0)
CALLS = 100  # between two looks at the clock
CHAIN = 10  # calls of an op, one after the other, of which one call has its share


def main() -> None:
    """Measure what the options say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, required=True)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    times = {}
    for name, call in cpu_calls().items():
        times[f"{name}, CPU"] = shortest(call, rounds, CHAIN)
    stand_in_for_gpu()
    times |= {name: shortest(call, rounds) for name, call in launches().items()}
    times |= {f"{name}, CUDA": shortest(call, rounds, CHAIN) for name, call in op_calls().items()}
    json.dump(times, sys.stdout)


def shortest(call: Callable[[], Any], rounds: int, chain: int = 1) -> float:
    """Microseconds of the thread's processor time, the least of several rounds.

    Args:
        call: What to measure.
        rounds: How often to look at the clock.
        chain: Calls of an op in one call.
    """
    best, calls = float("inf"), CALLS // chain
    for _ in range(rounds + 1):  # the first round finds out what later ones know
        start = time.thread_time()
        for _ in range(calls):
            call()
        best = min(best, time.thread_time() - start)
    return best / (calls * chain) * 1e6


def cpu_calls() -> dict[str, Callable[[], Any]]:
    """The calls of ops with the kernels of the CPU, none where these cannot be built."""
    return op_calls() if selection.cpu._has_kernels() else {}


def stand_in_for_gpu() -> None:
    """Let the ops take tensors on the CPU for tensors on a GPU, and load nothing."""
    cubin = SimpleNamespace(kind="cubin", code=b"\x7fELF", symbol="kernel")
    replace(ahead, take=lambda source, specialisation, arch: cubin)
    replace(compiler, _arch=lambda index: "sm_90")
    launch = launcher.launch

    def launch_on_gpu(source: str, name: str, device: torch.device, *args: Any) -> None:
        launch(source, name, GPU, *args)

    replace(launcher, launch=launch_on_gpu)
    replace(selection.cpu, is_supported=lambda x, *filters: True)
    if hasattr(registration, "_is_direct"):  # on a GPU, calls pass PyTorch's dispatcher
        replace(registration, _is_direct=lambda arguments: False)
    for module in (bias_act, filtered_lrelu, upfirdn2d):
        replace(module, cpu=module.cuda)


def launches() -> dict[str, Callable[[], None]]:
    """Launches alone, with the numbers of arguments that the kernels have."""

    def launch_with(*args: Any) -> Callable[[], None]:
        return lambda: launcher.launch("a.cu", "kernel", GPU, (7, 2, 3), (256, 1, 1), args)

    four = c_void_p(64), c_int32(1), c_int64(2), c_int32(3)
    return {"launch, 1 argument": launch_with(four[0]), "launch, 4 arguments": launch_with(*four)}


def op_calls() -> dict[str, Callable[[], Any]]:
    """Each op as networks call it: without gradients, with them, and with the backward pass."""
    x, b, scale = torch.randn(2, 4, 8, 8), torch.randn(4), torch.randn(2, 4)
    image_taps, taps = torch.ones(4, 4), torch.ones(12)
    ops: dict[str, Callable[..., torch.Tensor]] = {
        "bias_act": lambda x, b, scale: bias_act.bias_act(x, b, act="lrelu", clamp=256.0),
        "upfirdn2d": lambda x, b, scale: upfirdn2d.upfirdn2d(x, image_taps, padding=[2, 1, 2, 1]),
        "filtered_lrelu": lambda x, b, scale: filtered_lrelu.filtered_lrelu(
            x, taps, taps, b, up=2, down=2, padding=[11, 10, 11, 10], clamp=256.0, scale=scale
        ),
    }
    leaves = [t.clone().requires_grad_() for t in (x, b, scale)]
    calls: dict[str, Callable[[], Any]] = {}
    for name, op in ops.items():
        inputs = leaves[: 3 if name == "filtered_lrelu" else 2 if name == "bias_act" else 1]
        calls[f"{name}, no gradients"] = partial(chain, op, x, b, scale)
        calls[f"{name}, forward"] = partial(chain, op, *leaves)
        calls[f"{name}, forward and backward"] = partial(differentiate, op, leaves, inputs, x)
    return calls


def differentiate(
    op: Callable[..., torch.Tensor],
    leaves: list[torch.Tensor],
    inputs: list[torch.Tensor],
    dy: torch.Tensor,
) -> None:
    """Compute the gradients of a chain."""
    torch.autograd.grad(chain(op, *leaves), inputs, dy)


def chain(op: Callable[..., torch.Tensor], x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """Apply an op that keeps the shape several times, as a network does."""
    for _ in range(CHAIN):
        x = op(x, *others)
    return x


if __name__ == "__main__":
    main()
