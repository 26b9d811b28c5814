"""Speed of image synthesis beside that of its bare convolutions: `python -m benchmarks.synthesis`.

The bare convolutions of a network are the convolutions that its layers make: 3x3 in StyleGAN3-T,
1x1 in StyleGAN3-R, 3x3 in StyleGAN2 (transposed where they upsample), and every ToRGB. The
benchmark records them while the network runs, and repeats them on fresh tensors of the same shapes,
strides and types. It leaves out everything else: modulation, bias, noise, nonlinearity, type
conversion, the affine layers of the styles, the Fourier features, and the FIR filters, even where
PyTorch computes filters as (depthwise) convolutions.

An implementation that calls the same convolutions cannot be faster than they are. The ratio of the
two times is the cost of everything else: 1 means that it costs nothing.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import options, timing
from benchmarks.calls import Layout, is_depthwise
from benchmarks.networks import build_generator
from dnnlib import cli
from torch_utils.networks import Generator, device_of
from training.config import Cfg

MAX_ERROR = {torch.float32: 1e-4, torch.float16: 0.1}  # relative to the largest pixel value
HEADER = (
    "config",
    "type",
    "sec/image",
    "spread",
    "bare convs",
    "spread",
    "ratio",
    "convs",
    "GFLOP/image",
    "GFLOP/s",
    "runs",
)


@click.command(cls=cli.Command)
@options.networks(resolution=256)
@options.number("--batch", "Images per run.", default=1)
@click.option(
    "--fp16",
    type=bool,
    help="float16 at the highest resolutions, on cuda only.  [default: as the configs: on cuda]",
)
@options.repeat("each measurement")
@options.machine
def main(
    configs: list[Cfg],
    resolution: int,
    batch: int,
    cbase: int,
    cmax: int,
    fp16: bool | None,
    repeat: int | None,
    threads: int | None,
    device: str,
) -> None:
    """Time the synthesis networks beside their bare convolutions.

    Prints a table with one row per network: the median time per image, the median time per image of
    the network's convolutions alone (the limit that the machine sets), the ratio of the two, the
    work of the convolutions, and the rate at which the machine does this work. Spread is the
    interquartile range relative to the median; with fewer than four runs, the slowest minus the
    fastest. Weights are random; the mapping network is not included.

    Each network is checked before it is timed: every layer makes its convolution, and the images
    are finite, the same in each run, and in float16 close to those in float32.

    \b
    Examples:
      # All configurations at 256x256; takes two to four minutes on two CPU cores.
      python -m benchmarks.synthesis
      # A quick look at what filtering costs in one of them.
      python -m benchmarks.synthesis --configs=stylegan3-t --resolution=64 --cbase=8192
      # Throughput of a GPU in float32.
      python -m benchmarks.synthesis --device=cuda --batch=16 --fp16=false
    """
    torch_device = options.start(device, threads)
    if fp16 and torch_device.type != "cuda":
        raise click.BadParameter(
            f"the networks use float16 on cuda only, not on {torch_device.type}; leave it out",
            param_hint="--fp16",
        )

    rows = []
    for cfg in configs:
        click.echo(f"Measuring {cfg} ...", err=True)
        G = build_generator(cfg, resolution, cbase, cmax).to(torch_device)
        rows.append(_row(cfg, measure_synthesis(G, batch, fp16 is not False, repeat)))
    click.echo(timing.describe_machine(torch_device))
    click.echo(f"{resolution}x{resolution} images, batch {batch}, cbase {cbase}, cmax {cmax}")
    click.echo()
    click.echo(timing.format_table(HEADER, rows))


@dataclass(frozen=True)
class Convolution:
    """A convolution that took place.

    Attributes:
        x: Input.
        weight: Kernels: `[out, in / groups, kh, kw]`, or `[in, out / groups, kh, kw]` transposed.
        settings: Further arguments of `torch.convolution`, without the bias.
        is_transposed: Whether it is a transposed convolution.
        out_shape: Shape of the output `[N, C, H, W]`.
    """

    x: Layout
    weight: Layout
    settings: tuple[Any, ...]
    is_transposed: bool
    out_shape: tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, int, int]:
        """Channels of the input, channels of the output, and width of the kernels."""
        return self.x.shape[1], self.out_shape[1], self.weight.shape[3]

    @property
    def flop(self) -> int:
        """Multiplications and additions, those with the padding included."""
        n, _, h, w = self.x.shape if self.is_transposed else self.out_shape
        return 2 * n * h * w * torch.Size(self.weight.shape).numel()


@dataclass(frozen=True)
class SynthesisResult:
    """Measurement of a synthesis network."""

    batch: int
    network: timing.Timing
    bare_convs: timing.Timing
    convs: tuple[Convolution, ...]

    @property
    def ratio(self) -> float:
        """Time of the network relative to that of its bare convolutions."""
        return self.network.median_sec / self.bare_convs.median_sec

    @property
    def gflop(self) -> float:
        """Work of the bare convolutions of a batch, in 10^9 floating-point operations."""
        return sum(conv.flop for conv in self.convs) / 1e9


@torch.no_grad()
def measure_synthesis(
    G: Generator, batch: int, use_fp16: bool = True, num_runs: int | None = None
) -> SynthesisResult:
    """Check and time the synthesis network of a generator, and its bare convolutions.

    Args:
        G: Generator, on the device to measure; only its synthesis network is measured.
        batch: Images per run.
        use_fp16: Allow float16 where the network means to use it.
        num_runs: Timed runs, see `timing.measure`.

    Raises:
        RuntimeError: If a check fails.
    """
    synthesis, device = G.synthesis, device_of(G)
    random = torch.Generator().manual_seed(0)
    ws = torch.randn([batch, G.num_ws, G.w_dim], generator=random).to(device)

    def synthesize() -> Tensor:
        return synthesis(ws, noise_mode="const", force_fp32=not use_fp16)

    # Recording runs the network once, and `Replay` each convolution: no other warm-up is needed.
    with ConvolutionRecorder() as recorder:
        first = synthesize()
    check_convolutions(recorder.convs, synthesis)
    network = timing.measure(synthesize, device, num_runs, num_warmup=0)
    _check_close("the first run", network.result, first, MAX_ERROR[torch.float32])
    if any(conv.x.dtype == torch.float16 for conv in recorder.convs):
        exact = synthesis(ws, noise_mode="const", force_fp32=True)
        _check_close("float32", network.result, exact, MAX_ERROR[torch.float16])

    bare_convs = timing.measure(Replay(recorder.convs, device), device, num_runs, num_warmup=0)
    return SynthesisResult(batch, network, bare_convs, tuple(recorder.convs))


class ConvolutionRecorder(TorchDispatchMode):
    """Context that lists the convolutions inside, except depthwise ones.

    Attributes:
        convs: The convolutions so far, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convs: list[Convolution] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation, and record it if it is a convolution."""
        y = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            x, weight, _, *settings = args
            if not is_depthwise(x, weight, groups=settings[-1]):
                is_transposed = settings[3]
                frozen = tuple(tuple(s) if isinstance(s, list) else s for s in settings)
                layouts = Layout.of(x), Layout.of(weight)
                conv = Convolution(*layouts, frozen, is_transposed, tuple(y.shape))
                self.convs.append(conv)
        return y


class Replay:
    """Repeats convolutions on tensors of their own, which it makes and tries when constructed."""

    def __init__(self, convs: Sequence[Convolution], device: torch.device) -> None:
        self.calls = [
            (conv.x.random(device), conv.weight.random(device), None, *conv.settings)
            for conv in convs
        ]
        for conv, call in zip(convs, self.calls, strict=True):
            y = torch.convolution(*call)
            if y.shape != conv.out_shape or not y.isfinite().all():
                raise RuntimeError(f"the repeated convolution does not match {conv}")

    def __call__(self) -> None:
        """Run all of them, in order."""
        for call in self.calls:
            torch.convolution(*call)


def check_convolutions(convs: Sequence[Convolution], synthesis: torch.nn.Module) -> None:
    """Compare recorded convolutions with the kernels that the layers of a network have.

    Raises:
        RuntimeError: If one is missing, superfluous or different.
    """
    weights = [p for p in synthesis.parameters() if p.ndim == 4]
    expected = sorted((w.shape[1], w.shape[0], w.shape[3]) for w in weights)
    recorded = sorted(conv.kernel for conv in convs)
    if recorded != expected:
        raise RuntimeError(
            "the network does not make the convolutions of its layers (in, out, kernel): it made "
            f"{recorded}, its layers are {expected}"
        )


def _check_close(name: str, img: Tensor, expected: Tensor, max_error: float) -> None:
    if not img.isfinite().all():
        raise RuntimeError("the images are not finite")
    error = float((img - expected).abs().max() / expected.abs().max())
    if error > max_error:
        raise RuntimeError(f"the images differ from {name} by {error:.2g} (allowed: {max_error:g})")


def _row(cfg: Cfg, result: SynthesisResult) -> list[str]:
    network, bare_convs = result.network, result.bare_convs
    dtypes = {conv.x.dtype for conv in result.convs}
    return [
        cfg,
        "fp16+fp32" if torch.float16 in dtypes else "fp32",
        f"{network.median_sec / result.batch:.4g}",
        f"{network.spread:.0%}",
        f"{bare_convs.median_sec / result.batch:.4g}",
        f"{bare_convs.spread:.0%}",
        f"{result.ratio:.2f}",
        f"{len(result.convs)}",
        f"{result.gflop / result.batch:.4g}",
        f"{result.gflop / bare_convs.median_sec:.4g}",
        f"{len(network.runs_sec)}+{len(bare_convs.runs_sec)}",
    ]


if __name__ == "__main__":
    main()
