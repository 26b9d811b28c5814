"""The calls of ops that networks make, recorded while the networks run."""

import contextlib
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.calls import Layout
from benchmarks.networks import Setup
from benchmarks.work import is_separable
from torch_utils.ops import bias_act, filtered_lrelu, upfirdn2d
from training.config import CFGS, Cfg

OPS: dict[str, Callable[..., Tensor]] = dict(
    filtered_lrelu=filtered_lrelu.filtered_lrelu,
    upfirdn2d=upfirdn2d.upfirdn2d,
    bias_act=bias_act.bias_act,
)
NETWORKS = (*CFGS, "discriminator", "augment")
DATA = ("x", "b", "scale", "noise")  # arguments that are data; other tensors are filters


@dataclass(frozen=True)
class OpCall:
    """A call of an op that a network makes.

    Attributes:
        op: Name of the op.
        layer: The first module that makes it.
        arguments: All arguments by name; a `Layout` for each of `DATA` that is a tensor.
        count: How often the network makes this call.
    """

    op: str
    layer: str
    arguments: dict[str, Any]
    count: int

    @property
    def key(self) -> tuple:
        """Equal for calls that do the same work, whatever the taps of their filters are."""
        values = (
            (tuple(v.shape), is_separable(v)) if isinstance(v, Tensor) else v
            for v in self.arguments.values()
        )
        return self.op, *(tuple(v) if isinstance(v, list) else v for v in values)

    def with_dtype(self, dtype: torch.dtype) -> "OpCall":
        """The same call on images (and what goes with them) of another type."""
        old = self.arguments["x"].dtype
        arguments = {
            name: dataclasses.replace(v, dtype=dtype)
            if isinstance(v, Layout) and v.dtype == old
            else v
            for name, v in self.arguments.items()
        }
        return dataclasses.replace(self, arguments=arguments)

    def prepare(self, device: torch.device) -> tuple[Callable[..., Tensor], list[Tensor]]:
        """The op as a function of its data alone, and random data."""
        layouts = {k: v for k, v in self.arguments.items() if isinstance(v, Layout)}
        constants = {
            k: v.to(device) if isinstance(v, Tensor) else v
            for k, v in self.arguments.items()
            if k not in layouts
        }

        def function(*data: Tensor) -> Tensor:
            return OPS[self.op](**dict(zip(layouts, data, strict=True)), **constants)

        return function, [layout.random(device) for layout in layouts.values()]


def cfg_of(network: str) -> Cfg:
    """The configuration that a network of `NETWORKS` belongs to."""
    # All configurations have the same discriminator.
    return next((cfg for cfg in CFGS if cfg == network), "stylegan2")


def network_calls(network: str, setup: Setup, device: torch.device) -> list[OpCall]:
    """The distinct calls of ops on images that a network makes in a forward pass.

    Args:
        network: One of `NETWORKS`.
        setup: Configuration and sizes.
        device: Where it runs, which decides about layouts and types.
    """
    img = torch.randn([setup.batch, 3, setup.resolution, setup.resolution], device=device)
    torch.manual_seed(0)
    module: torch.nn.Module
    inputs: tuple[Tensor | None, ...]
    if network == "discriminator":
        module, inputs = setup.discriminator(), (img, None)
    elif network == "augment":
        module, inputs = setup.augmentation(), (img,)
    else:
        G = setup.generator()
        ws = torch.randn([setup.batch, G.num_ws, G.w_dim], device=device)
        module, inputs = G.synthesis, (ws,)
    module = module.eval().requires_grad_(False).to(device)
    with torch.no_grad(), record_calls(module) as recorded:
        module(*inputs)
    counted: dict[tuple, OpCall] = {}
    for call in recorded:
        if len(call.arguments["x"].shape) == 4:
            before = counted.get(call.key, dataclasses.replace(call, count=0))
            counted[call.key] = dataclasses.replace(before, count=before.count + 1)
    return list(counted.values())


@contextlib.contextmanager
def record_calls(network: torch.nn.Module) -> Iterator[list[OpCall]]:
    """List the calls of ops that the modules of a network make inside.

    Meanwhile every module of this project that refers to an op refers to a wrapper of the op.
    """
    calls: list[OpCall] = []
    active = [""]  # names of the modules that are running, innermost last
    handles = []
    for name, module in network.named_modules():
        handles += [
            module.register_forward_pre_hook(lambda *_, name=name: active.append(name)),
            module.register_forward_hook(lambda *_: [active.pop(), None][1]),
        ]
    patched = []
    for op, function in OPS.items():
        noting = _noting(op, function, calls, active)
        for name, module in list(sys.modules.items()):
            if name.startswith(("training.", "torch_utils.")):
                names = [key for key, value in vars(module).items() if value is function]
                patched += [(module, key, function) for key in names]
                for key in names:
                    setattr(module, key, noting)
    try:
        yield calls
    finally:
        for module, key, function in patched:
            setattr(module, key, function)
        for handle in handles:
            handle.remove()


def _noting(
    op: str, function: Callable[..., Tensor], calls: list[OpCall], active: list[str]
) -> Callable[..., Tensor]:
    """Wrap an op such that it adds its calls to `calls`."""

    signature = inspect.signature(function)

    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Tensor:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {
            name: Layout.of(v) if name in DATA and isinstance(v, Tensor) else v
            for name, v in bound.arguments.items()
        }
        calls.append(OpCall(op, active[-1], arguments, 1))
        return function(*args, **kwargs)

    return noting
