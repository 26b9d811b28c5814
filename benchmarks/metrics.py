"""Speed of the Fréchet inception distance, stage by stage: `python -m benchmarks.metrics`.

There are three stages: a generator makes the images, a feature network computes their features, and
the statistics accumulate the features. The benchmark times each stage alone, and then all of them
together, as in calc_metrics.py.
The feature network has random weights, since speed does not depend on the weights. It is
InceptionV3; with --quick, it is a stand-in with as many features.
With --num, the benchmark also times FID, KID, precision and recall, and the inception score of so
many images, each alone and all in one call, which makes the images once.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

from collections.abc import Callable
from dataclasses import dataclass

import click
import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import options, shared_passes, timing
from benchmarks.networks import build_generator
from dnnlib import cli
from metrics import detectors, metric_utils
from metrics.feature_stats import FeatureStats
from metrics.frechet_inception_distance import frechet_distance
from metrics.inception import InceptionV3
from metrics.metric_utils import MetricOptions
from torch_utils import images
from torch_utils.distributed import Worker
from torch_utils.networks import Generator
from training.config import CFGS, Cfg

NUM_FEATURES = 2048
CHECK_FEATURES = 128  # where SciPy's general matrix root is fast, too
MAX_ERROR = 1e-6  # of the distance, relative
HEADER = ("stage", "images/s", "ms/image", "spread", "runs")


@click.command(cls=cli.Command)
@click.option(
    "--cfg",
    type=click.Choice(CFGS),
    default="stylegan3-t",
    show_default=True,
    help="Network that makes the images.",
)
@options.sizes(resolution=256)
@options.number(
    "--batch", "Images per batch of the feature network.  [default: as calc_metrics.py]"
)
@options.number("--features", "Features that the distance is of.", NUM_FEATURES, minimum=2)
@options.number(
    "--num", "Images of metrics in one call and alone.  [default: do not compare them]", minimum=10
)
@options.repeat("each stage")
@click.option("--quick", is_flag=True, help="A tiny network and one run, as a test.")
@options.machine
def main(
    cfg: Cfg,
    resolution: int,
    cbase: int,
    cmax: int,
    batch: int | None,
    features: int,
    num: int | None,
    repeat: int | None,
    quick: bool,
    threads: int | None,
    device: str,
) -> None:
    """Time the stages of the Frechet inception distance.

    Prints images per second of each stage alone and of all together, and the seconds that the
    distance of two Gaussians takes. Before it is timed, the distance is compared with the one by
    SciPy's general matrix root.

    \b
    Examples:
      # StyleGAN3-T at 256x256
      python -m benchmarks.metrics
      # FID, KID, precision and recall, and IS in one call, beside each of them alone
      python -m benchmarks.metrics --num=16 --repeat=1
      # A GPU, with larger images
      python -m benchmarks.metrics --device=cuda --resolution=1024
    """
    if quick:
        resolution, cbase, cmax, features, repeat = 16, 256, 8, min(features, 256), 1
    torch_device = options.start(device, threads)

    check_distance()
    G = build_generator(cfg, resolution, cbase, cmax).to(torch_device)
    detector, name = build_detector(torch_device, is_small=quick)
    stages = measure_stages(G, detector, torch_device, batch, repeat)
    distance = timing.measure(distance_of(features), torch.device("cpu"), repeat, num_warmup=0)

    click.echo(timing.describe_machine(torch_device))
    click.echo(f"{cfg} at {resolution}x{resolution}, cbase {cbase}, cmax {cmax}; {name}")
    click.echo()
    click.echo(timing.format_table(HEADER, [stage.row() for stage in stages]))
    click.echo()
    click.echo(
        f"distance of {features}-dimensional Gaussians: {distance.median_sec:.3g} s "
        f"(spread {distance.spread:.0%}, {len(distance.runs_sec)} runs)"
    )
    if num is not None:
        shared = shared_passes.measure(G, torch_device, num, repeat, is_small=quick)
        click.echo()
        click.echo(timing.format_table(shared_passes.HEADER, shared.rows()))
        click.echo()
        click.echo(f"{num} images; together / longest alone: {shared.ratio:.3g}")


@dataclass(frozen=True)
class Stage:
    """A stage that was measured on batches of some images."""

    name: str
    num_images: int
    time: timing.Timing

    def row(self) -> list[str]:
        """Cells of the table."""
        per_image = self.time.median_sec / self.num_images
        spread, runs = f"{self.time.spread:.0%}", str(len(self.time.runs_sec))
        return [self.name, f"{1 / per_image:.4g}", f"{per_image * 1e3:.4g}", spread, runs]


@torch.no_grad()
def measure_stages(
    G: Generator,
    detector: torch.nn.Module,
    device: torch.device,
    batch: int | None = None,
    num_runs: int | None = None,
) -> list[Stage]:
    """Time the stages alone, on one batch, and together, on two.

    Args:
        G: Generator on the device.
        detector: Feature network on the device.
        device: Where to compute.
        batch: Images per batch; `None` for what `calc_metrics.py` takes.
        num_runs: Timed runs, see `timing.measure`.
    """
    batch = batch or metric_utils.BATCH_SIZE[device.type]
    batch_gen = min(batch, metric_utils.default_batch_gen(G.img_resolution, device))
    z = torch.randn([batch, G.z_dim], generator=torch.Generator().manual_seed(0)).to(device)
    c = torch.zeros([batch, G.c_dim], device=device)

    def generate() -> Tensor:
        parts = zip(z.split(batch_gen), c.split(batch_gen), strict=True)
        return torch.cat([images.to_uint8(G(z=z, c=c)) for z, c in parts])

    def detect() -> Tensor:
        return metric_utils.detect(detector, img, dict(return_features=True))

    stats = FeatureStats(capture_mean_cov=True)

    def together() -> FeatureStats:
        opts = MetricOptions(G=G, worker=Worker(device=device), seed=0)
        return metric_utils.compute_feature_stats_for_generator(
            opts,
            detectors.URLS["inception"],
            dict(return_features=True),
            batch_size=batch,
            capture_mean_cov=True,
            max_items=2 * batch,
        )

    generated = timing.measure(generate, device, num_runs)
    img = generated.result
    detected = timing.measure(detect, device, num_runs)
    taken_in = timing.measure(lambda: stats.append(detected.result), device, num_runs)
    original = metric_utils.get_feature_detector
    metric_utils.get_feature_detector = lambda *args, **kwargs: detector
    try:
        whole = timing.measure(together, device, num_runs)
    finally:
        metric_utils.get_feature_detector = original
    if whole.result.num_items != 2 * batch or not np.isfinite(whole.result.raw_cov).all():
        raise RuntimeError("the features of the images are not what they should be")
    return [
        Stage("generate", batch, generated),
        Stage("features", batch, detected),
        Stage("statistics", batch, taken_in),
        Stage("together", 2 * batch, whole),
    ]


def build_detector(device: torch.device, is_small: bool = False) -> tuple[torch.nn.Module, str]:
    """A feature network with random weights, and its name."""
    if is_small:
        return StandIn().eval().to(device), f"a stand-in with {NUM_FEATURES} features"
    torch.manual_seed(0)
    return InceptionV3().prepare().to(device), "InceptionV3 with random weights"


class StandIn(torch.nn.Module):
    """One layer in place of a feature network."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3 * 8 * 8, NUM_FEATURES)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        """Features `[N, 2048]` of uint8 images."""
        return self.fc(F.adaptive_avg_pool2d(img / 127.5 - 1, 8).flatten(1)).relu()


def distance_of(num_features: int) -> Callable[[], float]:
    """A function that computes the distance of two Gaussians of many features."""
    moments = [_random_moments(num_features, seed) for seed in (0, 1)]
    return lambda: frechet_distance(*moments[0], *moments[1])


def check_distance() -> None:
    """Compare with SciPy's general matrix root.

    Raises:
        RuntimeError: If they differ.
    """
    (mean_a, cov_a), (mean_b, cov_b) = (_random_moments(CHECK_FEATURES, seed) for seed in (0, 1))
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root)
    error = abs(frechet_distance(mean_a, cov_a, mean_b, cov_b) / expected - 1)
    if not error < MAX_ERROR:
        raise RuntimeError(f"the distance differs from SciPy's by {error:.2g}")


def _random_moments(num_features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance with eigenvalues over some decades, as those of real features."""
    rng = np.random.RandomState(seed)
    x = rng.randn(2 * num_features, num_features) * np.logspace(0, -3, num_features)
    return rng.randn(num_features) / 10, x.T @ x / len(x)


if __name__ == "__main__":
    main()
