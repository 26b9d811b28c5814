"""Equivariance of untrained networks and the speed of its operators.

`python -m benchmarks.equivariance`

An untrained network shows the equivariance of its architecture: whether the content of an image
follows when the input is moved or turned, before training has changed this for better or worse.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import options, timing
from benchmarks.networks import build_generator
from dnnlib import cli
from dnnlib.util import EasyDict
from metrics.equivariance import compute_equivariance_metrics
from metrics.metric_utils import MetricOptions
from torch_utils import image_transforms
from torch_utils.distributed import Worker
from torch_utils.networks import Generator
from torch_utils.ops import upfirdn2d
from training.config import Cfg
from training.networks_stylegan3 import SynthesisInput

CONTRAST = 0.5  # standard deviation of the pixels of all networks, for a common scale of the dB
NUM_CONTRAST_IMAGES = 16
MAX_ERROR = 1e-3  # naive positions in the image are rounded to float32
EQ_HEADER = ("network", "EQ-T", "EQ-T_frac", "EQ-R", "sec")
OPERATOR_HEADER = ("operator", "ms/image", "spread", "naive ms/image", "spread", "ratio")


@click.command(cls=cli.Command)
@options.networks(resolution=64, cbase=2048, cmax=128, may_be_empty=True)
@options.number("--num", "Images to measure equivariance with.", default=64)
@options.number("--batch", "Images of one translation and angle.", default=4)
@options.number("--seed", "Seed of latents, translations and angles.", default=0, minimum=None)
@options.number(
    "--operator-resolution", "Size of the images for the operators.", default=256, minimum=16
)
@options.repeat("each operator")
@options.machine
def main(
    configs: list[Cfg],
    resolution: int,
    cbase: int,
    cmax: int,
    num: int,
    batch: int,
    seed: int,
    operator_resolution: int,
    repeat: int | None,
    threads: int | None,
    device: str,
) -> None:
    """Measure the equivariance of untrained networks, and time the operators of the metrics.

    Prints two tables. The first has the equivariance to translation by whole pixels, by fractions
    and to rotation, in dB, of networks with random weights, whose images have all been scaled to
    the same contrast. StyleGAN2 has no input that could be moved: its learned constant is replaced
    by Fourier features of the same size, as in config B of the StyleGAN3 paper. The second has the
    time of the operators beside that of a plain implementation, after a comparison of both.

    \b
    Examples:
      # About a minute on one CPU core.
      python -m benchmarks.equivariance
      # The operators alone.
      python -m benchmarks.equivariance --configs= --operator-resolution=1024
    """
    torch_device = options.start(device, threads)

    click.echo(timing.describe_machine(torch_device))
    rows = []
    for cfg in configs:
        click.echo(f"Measuring {cfg} ...", err=True)
        G = build_movable_generator(cfg, resolution, cbase, cmax).to(torch_device)
        rows.append(measure_network(cfg, G, num, batch, seed, torch_device))
    if rows:
        click.echo(f"Equivariance in dB, {num} images {resolution}x{resolution}, batch {batch}")
        click.echo(f"cbase {cbase}, cmax {cmax}, contrast {CONTRAST}, seed {seed}")
        click.echo()
        click.echo(timing.format_table(EQ_HEADER, rows))
        click.echo()
    rows = measure_operators(operator_resolution, batch, torch_device, repeat)
    click.echo(f"Operators, batch {batch}, {operator_resolution}x{operator_resolution} RGB images")
    click.echo()
    click.echo(timing.format_table(OPERATOR_HEADER, rows))


class ScaledSynthesis(torch.nn.Module):
    """A synthesis network with an input transform whose images are scaled by a constant."""

    def __init__(self, synthesis: torch.nn.Module, input_module: torch.nn.Module) -> None:
        super().__init__()
        self.synthesis = synthesis
        self.input = input_module
        self.scale = 1.0

    def forward(self, ws: Tensor, **kwargs: Any) -> Tensor:
        """Synthesise images from styles."""
        return self.synthesis(ws, **kwargs) * self.scale


class FourierStyleGAN2(ScaledSynthesis):
    """StyleGAN2 with Fourier features of the same 4x4 samples in place of its constant.

    This is config B of Karras et al. 2021; the features reach up to the Nyquist frequency.
    """

    def __init__(self, synthesis: torch.nn.Module, w_dim: int) -> None:
        const = synthesis.get_parameter("b4.const")
        features = SynthesisInput(w_dim, len(const), size=4, sampling_rate=4, bandwidth=1.99)
        super().__init__(synthesis, features.requires_grad_(False))
        self.const = const

    def forward(self, ws: Tensor, **kwargs: Any) -> Tensor:
        """Synthesise images from styles."""
        # In an untrained network the features do not depend on the styles.
        self.const.copy_(self.input(ws[:1, 0])[0])
        return super().forward(ws, **kwargs)


def build_movable_generator(cfg: Cfg, resolution: int, cbase: int, cmax: int) -> Generator:
    """An untrained generator with an input transform, on the CPU, with images of unit contrast."""
    G = build_generator(cfg, resolution, cbase, cmax)
    torch.manual_seed(0)
    if hasattr(G.synthesis, "input"):
        synthesis = ScaledSynthesis(G.synthesis, G.synthesis.get_submodule("input"))
    else:
        synthesis = FourierStyleGAN2(G.synthesis, G.w_dim)
    G.synthesis = synthesis
    with torch.no_grad():
        ws = G.mapping(torch.randn([NUM_CONTRAST_IMAGES, G.z_dim]), None)
        synthesis.scale = CONTRAST / synthesis(ws, noise_mode="const").std().item()
    return G


def measure_network(
    name: str, G: Generator, num: int, batch: int, seed: int, device: torch.device
) -> tuple[str, ...]:
    """Measure all three kinds of equivariance: a row of the table."""
    opts = MetricOptions(G=G, G_kwargs=EasyDict(force_fp32=True), worker=Worker(device=device))

    def measure() -> tuple[float, ...]:
        torch.manual_seed(seed)
        result = compute_equivariance_metrics(
            opts, num, batch, compute_eqt_int=True, compute_eqt_frac=True, compute_eqr=True
        )
        assert isinstance(result, tuple)  # of several metrics
        return result

    result = timing.measure(measure, device, num_runs=1, num_warmup=0)
    return name, *(f"{db:.2f}" for db in result.result), f"{result.median_sec:.1f}"


def measure_operators(
    resolution: int, batch: int, device: torch.device, num_runs: int | None
) -> list[tuple[str, ...]]:
    """Check and time the operators beside the naive ones: rows of the table.

    Raises:
        RuntimeError: If the results differ.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn([batch, 3, resolution, resolution], generator=generator).to(device)
    mat = image_transforms.rotation_matrix(0.7)
    cases = {
        "filter, up=4": (
            lambda: image_transforms.construct_affine_bandlimit_filter(mat, amax=6).to(device),
            lambda: naive_bandlimit_filter(mat, amax=6).float().to(device),
            1,
        ),
        "filter, up=1": (
            lambda: image_transforms.construct_affine_bandlimit_filter(mat, amax=6, up=1).to(
                device
            ),
            lambda: naive_bandlimit_filter(mat, amax=6, up=1).float().to(device),
            1,
        ),
        "rotation": (
            lambda: image_transforms.apply_fractional_rotation(x, 0.7)[0],
            lambda: naive_affine_transformation(x, mat, amax=6)[0],
            batch,
        ),
    }
    rows: list[tuple[str, ...]] = []
    for name, (fast, naive, num) in cases.items():
        click.echo(f"Measuring {name} ...", err=True)
        ours = timing.measure(fast, device, num_runs)
        theirs = timing.measure(naive, device, num_runs)
        error = (ours.result - theirs.result).abs().max().item()
        if not error < MAX_ERROR:
            raise RuntimeError(f"{name}: differs by {error:.2g} from the naive implementation")
        rows.append(
            (
                name,
                f"{1e3 * ours.median_sec / num:.2f}",
                f"{ours.spread:.0%}",
                f"{1e3 * theirs.median_sec / num:.2f}",
                f"{theirs.spread:.0%}",
                f"{theirs.median_sec / ours.median_sec:.1f}",
            )
        )
    return rows


def naive_bandlimit_filter(
    mat: Tensor,
    amax: int = 16,
    up: int = 4,
    cutoff_in: float = 1,
    cutoff_out: float = 1,
    a: int = 3,
    aflt: int = 64,
) -> Tensor:
    """Compute `construct_affine_bandlimit_filter` by its definition, in float64."""
    t = torch.arange(1 - aflt * up, aflt * up, dtype=torch.float64) / up
    y, x = torch.meshgrid(t, t, indexing="ij")
    p, q = (row[0] * x + row[1] * y for row in mat.double()[:2])

    def convolve(first: Tensor, second: Tensor) -> Tensor:
        product = torch.fft.fft2(first) * torch.fft.fft2(second)
        return torch.fft.fftshift(torch.fft.ifft2(product).real.roll((1, 1), (0, 1)))

    def lanczos(x: Tensor) -> Tensor:
        return image_transforms.lanczos_window(x, a)

    ideal = convolve(
        torch.sinc(p * cutoff_out) * torch.sinc(q * cutoff_out),
        torch.sinc(x * cutoff_in) * torch.sinc(y * cutoff_in),
    )
    f = ideal * convolve(lanczos(p) * lanczos(q), lanczos(x) * lanczos(y))
    center, half = aflt * up - 1, amax * up - 1
    f = f[center - half : center + half + 1, center - half : center + half + 1].clone()
    for phase_y in range(up):
        for phase_x in range(up):
            component = f[phase_y::up, phase_x::up]
            component /= component.sum() * up**2
    return f


def naive_affine_transformation(
    x: Tensor, mat: Tensor, up: int = 4, amax: int = 16, **filter_kwargs: Any
) -> tuple[Tensor, Tensor]:
    """The result of `apply_affine_transformation` by its definition."""
    f = naive_bandlimit_filter(mat, amax=amax, up=up, **filter_kwargs).float().to(x.device)
    border = amax * up
    samples = upfirdn2d.upfirdn2d(x, f, up=up, gain=up**2, padding=2 * border - 1)
    mask = torch.zeros_like(samples)
    inside = slice(2 * border - up // 2, -2 * border - up // 2)
    mask[..., inside, inside] = 1

    # Positions are normalised such that the outer edges of the samples are at -1 and 1.
    height, width = x.shape[2:]
    j, i = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    positions = torch.stack(
        [(i + 0.5) / width - 0.5, (j + 0.5) / height - 0.5, torch.ones([height, width])], dim=-1
    ).double()
    positions = positions @ torch.linalg.inv(mat.double()).T  # in image widths from the centre
    size = torch.tensor([width, height])
    index = ((positions[..., :2] + 0.5) * size - 0.5) * up + border
    grid = (2 * index + 1) / (size * up + 2 * border) - 1
    grid = grid.to(x).expand(len(x), -1, -1, -1)
    out = F.grid_sample(samples, grid, mode="bilinear", align_corners=False)
    return out, F.grid_sample(mask, grid, mode="nearest", align_corners=False)


if __name__ == "__main__":
    main()
