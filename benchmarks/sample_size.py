"""How metrics change with the number of generated images: `python -m benchmarks.sample_size`.

The features are drawn from Gaussians, so that the Fréchet distance of infinitely many images is
known. Their spectrum falls like that of the features of a network.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import warnings

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks import options, timing
from dnnlib import cli
from metrics import extrapolation
from metrics.density_coverage import compute_dc_of_features
from metrics.feature_stats import FeatureStats
from metrics.frechet_inception_distance import frechet_distance
from metrics.kernel_inception_distance import compute_kid_of_features
from metrics.metric_utils import MetricOptions
from metrics.precision_recall import compute_pr_of_features
from torch_utils.distributed import Worker

NUMS = (1000, 2000, 5000, 10_000, 20_000, 50_000)
SCALE, SHIFT = 0.9, 0.15  # of generated features, relative to the spread of real ones
HEADER = ("images", "FID", "extrapolated", "KID", "precision", "recall", "density", "coverage")


@click.command(cls=cli.Command)
@options.number("--num-real", "Real images.", NUMS[-1], minimum=1000)
@options.number("--largest", "Most generated images.", NUMS[-1], minimum=NUMS[0])
@options.number("--features", "Features of an image.", 128, minimum=2)
@options.machine
def main(num_real: int, largest: int, features: int, threads: int | None, device: str) -> None:
    """Print the metrics of the first images, for more and more of them.

    \b
    Examples:
      python -m benchmarks.sample_size
      # Some minutes less
      python -m benchmarks.sample_size --num-real=5000 --largest=5000
    """
    torch_device = options.start(device, threads)
    opts = MetricOptions(worker=Worker(device=torch_device), seed=0)
    spread = np.arange(1, features + 1) ** -0.5
    real = _draw(num_real, spread, np.zeros(features), seed=1)
    gen = _draw(largest, spread * SCALE, spread * SHIFT, seed=2)
    # Covariances are diagonal, so the matrix root is that of numbers.
    known = np.square(spread * SHIFT).sum() + np.square(spread * (1 - SCALE)).sum()
    rows = [_row(opts, real, gen[:num]) for num in NUMS if num <= largest]
    click.echo(timing.describe_machine(torch_device))
    click.echo(f"{features} features, {num_real} real images; known FID {known:.4g}")
    click.echo(timing.format_table(HEADER, rows))


def _draw(num: int, spread: np.ndarray, shift: np.ndarray, seed: int) -> Tensor:
    x = np.random.default_rng(seed).standard_normal([num, len(spread)], dtype=np.float32)
    return torch.from_numpy((x * spread + shift).astype(np.float32))


def _row(opts: MetricOptions, real: Tensor, gen: Tensor) -> list[str]:
    """Cells of a row under `HEADER`."""
    all_stats = [FeatureStats(capture_all=True, capture_mean_cov=True) for _ in range(2)]
    for stats, x in zip(all_stats, (real, gen), strict=True):
        stats.append(x)
    moments = all_stats[0].get_mean_cov()

    def distance_of(stats: FeatureStats) -> float:
        return frechet_distance(*moments, *stats.get_mean_cov())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of too few images; the cell says so
        fid = extrapolation.to_infinity(opts, distance_of(all_stats[1]), all_stats[1], distance_of)
    extrapolated = fid.facts.get("extrapolated")
    kid = compute_kid_of_features(opts, real, gen, 100, 1000)
    shares = [
        *compute_pr_of_features(opts, real, gen, 3, 10_000, 10_000),
        *compute_dc_of_features(opts, real, gen, 5, 5_000, 5_000),
    ]
    return [
        str(len(gen)),
        f"{fid:.4g}",
        "-" if extrapolated is None else f"{extrapolated:.4g}",
        f"{kid:.4g}",
        *(f"{share:.3g}" for share in shares),
    ]


if __name__ == "__main__":
    main()
