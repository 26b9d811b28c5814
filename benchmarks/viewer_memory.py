"""Memory of the served viewer during a long animation: `python -m benchmarks.viewer_memory`.

Needs requirements-web.txt, Selenium and Chromium.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import psutil

from benchmarks import timing, viewer_networks
from benchmarks.viewer_page import ANIMATE, ViewerPage, missing, open_page, serve
from dnnlib import cli
from dnnlib.errors import MachineError
from dnnlib.options import NETWORK_METAVAR, device_option
from torch_utils import devices

WARMUP = 0.3  # part of the time that the slopes leave out: caches fill
HEADER = ("", "first", "last", "slope", "error")


@click.command(cls=cli.Command)
@click.option(
    "--network",
    type=cli.Address(),
    metavar=NETWORK_METAVAR,
    help="A network.  [default: a tiny one, for many pictures]",
)
@click.option(
    "--minutes",
    type=cli.FiniteFloat(min=0, min_open=True),
    default=10,
    show_default=True,
    help="Time to watch.",
)
@click.option(
    "--every",
    type=cli.FiniteFloat(min=0, min_open=True),
    default=5,
    show_default=True,
    metavar="SEC",
    help="Time between two looks.",
)
@click.option(
    "--size", type=cli.Size(), default="1280x800", show_default=True, help="Size of the page."
)
@device_option
def main(
    network: str | None, minutes: float, every: float, size: tuple[int, int], device: str
) -> None:
    """Watch the memory of server, rendering process and page while the latent moves.

    The slopes are those of lines through the samples, without the first 30 % of the time. Their
    standard error takes the samples as independent.

    Example: python -m benchmarks.viewer_memory --minutes=60
    """
    if (reason := missing()) is not None:
        raise MachineError(reason)
    with tempfile.TemporaryDirectory() as folder:
        if network is None:
            network = viewer_networks.save_fast(Path(folder))
        with (
            serve(f"--device={device}", network) as server,
            open_page(server.links[0], size) as page,
        ):
            page.click(ANIMATE)
            count, start = page.num_pictures(), time.monotonic()
            seconds, samples = watch(_sizes(server.process, page), minutes * 60, every)
            count, sec = page.num_pictures() - count, time.monotonic() - start
    click.echo(timing.describe_machine(devices.resolve_device(device)))
    click.echo(f"{sec / 60:.1f} minutes, {count} pictures, {count / sec:.1f} a second")
    click.echo()
    rows = [_row(name, seconds, sizes) for name, sizes in samples.items()]
    click.echo(timing.format_table(HEADER, rows))


def watch(
    sizes: dict[str, Callable[[], int]], duration_sec: float, every_sec: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Look at sizes again and again.

    Args:
        sizes: Functions that return bytes, by name.
        duration_sec: Time to watch.
        every_sec: Time between two looks.

    Returns:
        Times in seconds, `[N]`, and bytes, `[N]` for each name; N is at least 3.
    """
    start, seconds = time.monotonic(), [0.0]
    found = {name: [size()] for name, size in sizes.items()}
    while seconds[-1] < duration_sec or len(seconds) < 3:
        time.sleep(every_sec)
        seconds.append(time.monotonic() - start)
        for name, size in sizes.items():
            found[name].append(size())
    return np.array(seconds), {name: np.array(values) for name, values in found.items()}


def slope(seconds: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Slope of the line through sizes, and its standard error, in bytes per second.

    Args:
        seconds: Times, `[N]` with N from 3 on.
        sizes: Bytes, `[N]`.
    """
    x, y = seconds - seconds.mean(), sizes - sizes.mean()
    rise = (x @ y) / (x @ x)
    variance = np.square(y - rise * x).sum() / (len(x) - 2)
    return float(rise), float(np.sqrt(variance / (x @ x)))


def _row(name: str, seconds: np.ndarray, sizes: np.ndarray) -> list[str]:
    first = min(int(len(seconds) * WARMUP), len(seconds) - 3)
    rise, error = (3600 / 1e6 * value for value in slope(seconds[first:], sizes[first:]))
    ends = [f"{size / 1e6:.1f} MB" for size in (sizes[first], sizes[-1])]
    return [name, *ends, f"{rise:+.1f} MB/h", f"{error:.1f}"]


def _sizes(server: psutil.Process, page: ViewerPage) -> dict[str, Callable[[], int]]:
    """What is watched: resident memory of processes, and the heap of the page."""
    (renderer,) = [p for p in server.children() if "spawn_main" in " ".join(p.cmdline())]
    holder = page.process()

    def heap() -> int:
        page.command("HeapProfiler.collectGarbage")
        return page.command("Runtime.getHeapUsage")["usedSize"]

    return {
        "server": lambda: server.memory_info().rss,
        "rendering process": lambda: renderer.memory_info().rss,
        "heap of the page, after garbage collection": heap,
        "process of the page": lambda: holder.memory_info().rss,
    }


if __name__ == "__main__":
    main()
