"""Memory and time of comparing neighbours: `python -m benchmarks.neighbours`.

Precision and recall, and density and coverage, of random features in the sizes of VGG16's, each in
a process of its own, as calc_metrics.py computes them. Memory is what the process takes at most
beyond what it took when the features were there.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import click
import torch

from benchmarks import memory, options, timing
from dnnlib import cli
from dnnlib.errors import MachineError
from metrics import density_coverage, precision_recall
from metrics.feature_stats import FeatureStats
from metrics.metric_utils import MetricOptions
from torch_utils.distributed import Worker

METRICS = ("precision and recall", "density and coverage")
BATCH = 64  # features that arrive at a time
NUM_FEATURES = 4096  # of VGG16
CLUSTERS = torch.tensor([-300.0, 300.0])
HEADER = ("of 2 x", "features", "GB", "beside them, GB", "s", "values")


@click.command(cls=cli.Command)
@options.number("--num", "Images of each kind.", 12_000, minimum=10)
@options.number("--features", "Features of an image.", NUM_FEATURES)
@click.option("--close", is_flag=True, help="Features in two clusters far from each other.")
@options.machine
def main(num: int, features: int, close: bool, threads: int | None, device: str) -> None:
    """Measure the memory beside the features, and the seconds.

    The memory does not depend on the number of images, once these fill a block of 10,000 rows.

    \b
    Examples:
      python -m benchmarks.neighbours
      # Where distances need float64
      python -m benchmarks.neighbours --close
      # Whether memory grows with the number of images
      python -m benchmarks.neighbours --num=24000 --features=64
    """
    torch_device = options.start(device, threads)
    click.echo(timing.describe_machine(torch_device))
    rows = []
    for name in METRICS:
        found = measure_alone(name, num, features, close, threads, device)
        rows.append(
            [
                str(num),
                str(features),
                memory.gigabytes(found.features_bytes),
                memory.gigabytes(found.more_bytes),
                f"{found.seconds:.3g}",
                ", ".join(f"{value:.4g}" for value in found.values),
            ]
        )
    table = zip(("metrics", *METRICS), (HEADER, *rows), strict=True)
    header, *lines = [[name, *row] for name, row in table]
    click.echo(timing.format_table(header, lines))


@dataclass(frozen=True)
class Usage:
    """What a comparison takes.

    Attributes:
        features_bytes: Size of all features.
        more_bytes: Most memory of the process beyond what it took before the comparison.
        seconds: Duration.
        values: The two values.
    """

    features_bytes: int
    more_bytes: int
    seconds: float
    values: tuple[float, float]


def measure_alone(
    name: str, num: int, num_features: int, is_close: bool, threads: int | None, device: str
) -> Usage:
    """Measure a comparison in a new process, whose peak of memory is that of the comparison."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(measure, name, num, num_features, is_close, threads, device).result()


def measure(
    name: str, num: int, num_features: int, is_close: bool, threads: int | None, device: str
) -> Usage:
    """Measure a comparison in this process; see `measure_alone`.

    Args:
        name: One of `METRICS`.
        num: Images of each kind.
        num_features: Features of an image.
        is_close: Whether the features lie in two clusters, so that distances need float64.
        threads: CPU threads; `None` leaves PyTorch's choice.
        device: Where to compute.

    Raises:
        MachineError: If the system does not tell how much memory a process takes.
    """
    opts = MetricOptions(worker=Worker(device=options.start(device, threads)), seed=0)
    all_stats = [FeatureStats(capture_all=True, max_items=num) for _ in range(2)]
    for seed, stats in enumerate(all_stats):
        generator = torch.Generator().manual_seed(seed)
        while not stats.is_full():
            x = torch.randn([BATCH, num_features], generator=generator)
            stats.append(x + CLUSTERS.repeat(BATCH // 2)[:, None] if is_close else x)
    real, gen = (stats.get_all_torch() for stats in all_stats)
    before = memory.resident_bytes("VmRSS")
    start = time.perf_counter()
    if name == METRICS[0]:
        values = precision_recall.compute_pr_of_features(opts, real, gen, 3, 10_000, 10_000)
    else:
        values = density_coverage.compute_dc_of_features(opts, real, gen, 5, 5_000, 5_000)
    seconds = time.perf_counter() - start
    peak = memory.resident_bytes("VmHWM")
    if before is None or peak is None:
        raise MachineError("this system does not tell the memory of a process; Linux does")
    first, second = map(float, values)
    return Usage(real.nbytes + gen.nbytes, peak - before, seconds, (first, second))


if __name__ == "__main__":
    main()
