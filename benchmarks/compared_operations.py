"""Several ways to compute parts of an iteration, for `benchmarks/comparisons.py`."""

import functools
from collections.abc import Callable, Iterator
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import timing
from benchmarks.calls import Layout, count_calls
from benchmarks.gpu_plan import Plan
from benchmarks.networks import build_generator
from benchmarks.report import Row
from benchmarks.side_by_side import alternate, rows
from benchmarks.synthesis import Convolution, ConvolutionRecorder
from torch_utils.ops import grid_sample_gradfix
from training.config import Cfg

PADDINGS = (8, 64)  # numbers of channels become multiples of these


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


def convolutions_as_products(plan: Plan) -> Iterator[Row]:
    """The 1x1 convolutions of config R and their gradients, as convolutions and as products."""
    total: dict[str, float] = dict.fromkeys(CONVOLUTIONS, 0.0)
    for conv, count in _convolutions(plan, "stylegan3-r"):
        if conv.kernel[2] != 1:
            continue
        x, weight = (layout.random(plan.device) for layout in (conv.x, conv.weight))
        calls = {name: _with_gradients(f, x, weight) for name, f in CONVOLUTIONS.items()}
        found = alternate(plan, calls)
        yield from rows(f"R, 1x1, {_describe(conv, count)}", found)
        for name, seconds in found.items():
            total[name] += median(seconds) * count
    yield from rows("R, 1x1, all", {name: [sec] for name, sec in total.items()})


def padded_channels(plan: Plan) -> Iterator[Row]:
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
        found = alternate(plan, calls)
        yield from rows(f"T, channels, {_describe(conv, count)}", found)
        for name, seconds in found.items():
            total[name] = total.get(name, 0) + median(seconds) * count
    yield from rows("T, channels, all", {name: [sec] for name, sec in total.items()})


def _padded(conv: Convolution, multiple: int) -> tuple[Layout, Layout]:
    """Images and kernels with as many channels as the next multiple, contiguous."""
    inputs, outputs = (-(-channels // multiple) * multiple for channels in conv.kernel[:2])
    n, _, h, w = conv.x.shape
    shapes = [n, inputs, h, w], [outputs, inputs, *conv.weight.shape[2:]]
    x, weight = (torch.empty(shape, dtype=conv.x.dtype, device="meta") for shape in shapes)
    return Layout.of(x), Layout.of(weight)


def optimizers(plan: Plan) -> Iterator[Row]:
    """A step of Adam for the weights of config T."""
    G = build_generator("stylegan3-t", plan.resolution, plan.cbase, plan.cmax).to(plan.device)
    calls = {}
    for name in ("foreach", "fused"):
        params = [torch.nn.Parameter(p.detach().clone()) for p in G.parameters()]
        for p in params:
            p.grad = torch.randn_like(p)
        adam = torch.optim.Adam(params, lr=0.002, betas=(0.0, 0.99), **{name: True})
        calls[name] = adam.step
    yield from rows("Adam", alternate(plan, calls, timing.measure))


def grid_samples(plan: Plan) -> Iterator[Row]:
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
    yield from rows("grid_sample of ADA", alternate(plan, calls))


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
