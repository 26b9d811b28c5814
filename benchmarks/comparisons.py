"""Two or more ways to compute the same, side by side in one run, for `benchmarks/gpu_report.py`.

The sides of a comparison take turns, so that a slow moment of the machine hits all of them.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import iteration, memory, timing
from benchmarks.calls import Layout, count_calls
from benchmarks.gpu_plan import Plan
from benchmarks.networks import build_generator
from benchmarks.report import Item, Row
from benchmarks.synthesis import Convolution, ConvolutionRecorder
from torch_utils import devices
from torch_utils.ops import grid_sample_gradfix
from training.config import Cfg, TrainConfig

HEADER = ("comparison", "side", "ms", "spread", "relative to the first", "peak GB")
NUM_ITERATIONS = 4  # without R1, of which one in 16 has it
PADDINGS = (8, 64)  # numbers of channels become multiples of these


def items(plan: Plan) -> list[Item]:
    """One item for each comparison: whole iterations first, then parts of them.

    cuDNN tries its algorithms.
    """
    devices.configure_backends(plan.device)
    t: Cfg = "stylegan3-t"
    whole: dict[str, list[Side]] = {
        "T, TF32": [Side("off"), Side("on", allow_tf32=True)],
        "T, precision": [
            Side("float16"),
            Side("bfloat16", options=dict(precision="bf16")),
            Side("float32", options=dict(precision="fp32")),
            Side("float32 with TF32", options=dict(precision="fp32"), allow_tf32=True),
        ],
        "T, float16 layers of the discriminator": [
            Side("contiguous"),
            Side("channels_last", change=_channels_last_discriminator),
        ],
        "T, augmentation": [Side("ada"), Side("noaug", options=dict(aug="noaug"))],
    }
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "R, 1x1 convolutions": lambda: _convolutions_as_products(plan),
        "T, channels": lambda: _padded_channels(plan),
        "Adam": lambda: _optimizers(plan),
        "grid_sample of ADA": lambda: _grid_samples(plan),
    }
    return [
        *(Item(k, lambda k=k, v=v: _iterations(plan, t, k, v)) for k, v in whole.items()),  # type: ignore[misc]
        *(Item(name, rows) for name, rows in parts.items()),
    ]


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return (weight.flatten(1) @ x.flatten(2)).unflatten(2, x.shape[2:])


# Ways to compute a 1x1 convolution of contiguous images.
CONVOLUTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "conv2d": F.conv2d,
    "conv2d, channels_last": lambda x, weight: F.conv2d(
        x.contiguous(memory_format=torch.channels_last), weight
    ),
    "matrix product": _product,
}


@dataclass(frozen=True)
class Side:
    """A way to train.

    Attributes:
        name: For the table.
        options: Fields of `TrainOptions` that differ.
        change: Changes the configuration that follows from them.
        allow_tf32: Let convolutions and matrix products of float32 use TF32.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[TrainConfig], TrainConfig] = lambda config: config
    allow_tf32: bool = False


def _iterations(plan: Plan, cfg: Cfg, name: str, sides: list[Side]) -> Iterator[Row]:
    """Time whole iterations of several runs, which all stay in memory."""
    setup = plan.setup(cfg, plan.batches[cfg])
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    peaks: dict[str, int | None] = {}
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(iteration.dataset(plan.resolution))
        runs = {}
        for side in sides:
            config = iteration.config_of(setup, data, plan.device, **side.options)
            run = iteration.started(side.change(config), plan.device)
            runs[side.name] = stack.enter_context(run)
            with _tf32(side.allow_tf32):
                runs[side.name].warm_up(min(NUM_ITERATIONS, plan.num_iterations))
        for _ in range(plan.num_rounds):
            for side in sides:
                before = memory.used_bytes(plan.device)
                memory.reset_peak(plan.device)
                with _tf32(side.allow_tf32):
                    timed = runs[side.name].measure(min(NUM_ITERATIONS, plan.num_iterations))
                found[side.name].append(timed.median_sec)
                peaks[side.name] = _added_peak(plan.device, before)
    yield from _rows(name, found, peaks)


def _added_peak(device: torch.device, before: int | None) -> int | None:
    """Peak memory less what was in use before, by the other sides, too."""
    peak = memory.peak_bytes(device)
    return None if peak is None or before is None else peak - before


@contextlib.contextmanager
def _tf32(is_allowed: bool) -> Iterator[None]:
    backends: tuple[Any, ...] = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = is_allowed
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def _channels_last_discriminator(config: TrainConfig) -> TrainConfig:
    block_kwargs = dict(config.D_kwargs["block_kwargs"], fp16_channels_last=True)
    return dataclasses.replace(config, D_kwargs=dict(config.D_kwargs, block_kwargs=block_kwargs))


def _convolutions_as_products(plan: Plan) -> Iterator[Row]:
    """The 1x1 convolutions of config R and their gradients, as convolutions and as products."""
    total: dict[str, float] = dict.fromkeys(CONVOLUTIONS, 0.0)
    for conv, count in _convolutions(plan, "stylegan3-r"):
        if conv.kernel[2] != 1:
            continue
        x, weight = (layout.random(plan.device) for layout in (conv.x, conv.weight))
        calls = {name: _with_gradients(f, x, weight) for name, f in CONVOLUTIONS.items()}
        found = _alternate(plan, calls)
        yield from _rows(f"R, 1x1, {_describe(conv, count)}", found)
        for name, seconds in found.items():
            total[name] += median(seconds) * count
    yield from _rows("R, 1x1, all", {name: [sec] for name, sec in total.items()})


def _padded_channels(plan: Plan) -> Iterator[Row]:
    """Convolutions of config T whose channels are no multiples of 8 or 64, with more channels."""
    total: dict[str, float] = {}
    for conv, count in _convolutions(plan, "stylegan3-t"):
        if all(channels % PADDINGS[-1] == 0 for channels in conv.kernel[:2]):
            continue
        convolve = functools.partial(F.conv2d, padding=conv.kernel[2] - 1)  # as in the network
        calls = {}
        for multiple in (1, *PADDINGS):
            name = "as they are" if multiple == 1 else f"multiples of {multiple}"
            x, weight = _padded(conv, multiple)
            tensors = x.random(plan.device), weight.random(plan.device)
            calls[name] = _with_gradients(convolve, *tensors)
        found = _alternate(plan, calls)
        yield from _rows(f"T, channels, {_describe(conv, count)}", found)
        for name, seconds in found.items():
            total[name] = total.get(name, 0) + median(seconds) * count
    yield from _rows("T, channels, all", {name: [sec] for name, sec in total.items()})


def _padded(conv: Convolution, multiple: int) -> tuple[Layout, Layout]:
    """Images and kernels with as many channels as the next multiple, contiguous."""
    inputs, outputs = (-(-channels // multiple) * multiple for channels in conv.kernel[:2])
    n, _, h, w = conv.x.shape
    shapes = [n, inputs, h, w], [outputs, inputs, *conv.weight.shape[2:]]
    x, weight = (torch.empty(shape, dtype=conv.x.dtype, device="meta") for shape in shapes)
    return Layout.of(x), Layout.of(weight)


def _optimizers(plan: Plan) -> Iterator[Row]:
    """A step of Adam for the weights of config T."""
    G = build_generator("stylegan3-t", plan.resolution, plan.cbase, plan.cmax).to(plan.device)
    calls = {}
    for name in ("foreach", "fused"):
        params = [torch.nn.Parameter(p.detach().clone()) for p in G.parameters()]
        for p in params:
            p.grad = torch.randn_like(p)
        adam = torch.optim.Adam(params, lr=0.002, betas=(0.0, 0.99), **{name: True})
        calls[name] = adam.step
    yield from _rows("Adam", _alternate(plan, calls, timing.measure))


def _grid_samples(plan: Plan) -> Iterator[Row]:
    """Bilinear sampling of images and its gradient, as large as the augmentation needs it."""
    size = 2 * plan.resolution + 12
    batch = plan.batches["stylegan3-t"]
    images = torch.randn([batch, 3, size, size], device=plan.device)
    theta = torch.eye(2, 3, device=plan.device).repeat(batch, 1, 1)
    theta[:, 0, 1] = 0.3  # a shear
    grid = F.affine_grid(theta, [batch, 3, size, size], align_corners=False)

    def deterministic(x: Tensor) -> Tensor:
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            y = grid_sample_gradfix.grid_sample(x, grid)
            return torch.autograd.grad(y.sum(), x)[0]
        finally:
            torch.use_deterministic_algorithms(before)

    def usual(x: Tensor) -> Tensor:
        return torch.autograd.grad(grid_sample_gradfix.grid_sample(x, grid).sum(), x)[0]

    x = images.requires_grad_()
    calls = {"usual": lambda: usual(x), "deterministic": lambda: deterministic(x)}
    yield from _rows("grid_sample of ADA", _alternate(plan, calls))


def _convolutions(plan: Plan, cfg: Cfg) -> list[tuple[Convolution, int]]:
    """The different convolutions of a synthesis network in training, and how often they occur."""
    G = build_generator(cfg, plan.resolution, plan.cbase, plan.cmax).to(plan.device)
    ws = torch.zeros([plan.batches[cfg], G.num_ws, G.w_dim], device=plan.device)
    with torch.no_grad(), ConvolutionRecorder() as recorder:
        G.synthesis(ws)
    return list(count_calls(recorder.convs))


def _describe(conv: Convolution, count: int) -> str:
    _, _, h, w = conv.x.shape
    inputs, outputs, _ = conv.kernel
    return f"{inputs} to {outputs} at {w}x{h}, {str(conv.x.dtype).removeprefix('torch.')}, {count}x"


def _with_gradients(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor
) -> Callable[[], object]:
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    dy = torch.randn_like(function(x, weight))
    return lambda: torch.autograd.grad(function(x, weight), [x, weight], dy)


def _alternate(
    plan: Plan,
    calls: Mapping[str, Callable[[], object]],
    measure: Callable[..., timing.Timing] = timing.measure_kernels,
) -> dict[str, list[float]]:
    """Median seconds of each call, in each round."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(plan.num_rounds):
        for name, call in calls.items():
            timed = measure(call, plan.device, plan.num_runs, budget_sec=0.05)
            found[name].append(timed.median_sec)
    return found


def _rows(
    comparison: str,
    found: Mapping[str, list[float]],
    peaks: Mapping[str, int | None] | None = None,
) -> Iterator[Row]:
    first = median(next(iter(found.values()), [1.0]))
    for name, seconds in found.items():
        timed = timing.Timing(tuple(seconds), None)
        row = [comparison, name, f"{timed.median_sec * 1e3:.4g}", f"{timed.spread:.0%}"]
        row.append(f"{timed.median_sec / first:.3f}")
        yield [*row, memory.gigabytes((peaks or {}).get(name))]
