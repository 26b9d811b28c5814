"""The viewer: rendering beside bare synthesis, and speed and latency of window and browser.

Needs requirements-gui.txt, requirements-web.txt, Selenium and Chromium, but no display. What is
missing is said in its row.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from benchmarks import options, timing, viewer_networks, viewer_page, viewer_speed
from dnnlib import cli
from dnnlib.options import NETWORK_METAVAR, device_option
from torch_utils import devices, latents
from viz.renderer import Renderer, View


@click.command(cls=cli.Command)
@click.option(
    "--network",
    type=cli.Address(),
    metavar=NETWORK_METAVAR,
    help="A network.  [default: config T, untrained]",
)
@options.number("--resolution", "Image size of the default.", default=256, minimum=None)
@options.number("--cbase", "Capacity multiplier of the default.", default=16384, minimum=None)
@options.number("--repeats", "Pairs of runs.", default=10)
@click.option(
    "--seconds",
    type=cli.FiniteFloat(),
    default=10,
    show_default=True,
    help="Time to count pictures.",
)
@options.number("--inputs", "Movements of the mouse, and presses on a slider.", default=20)
@click.option(
    "--size",
    type=cli.Size(),
    default="1280x800",
    show_default=True,
    help="Size of the window and of the page.",
)
@device_option
def main(
    network: str | None,
    resolution: int,
    cbase: int,
    repeats: int,
    seconds: float,
    inputs: int,
    size: tuple[int, int],
    device: str,
) -> None:
    """Measure the viewer.

    Prints a table for the network, and one for a tiny network that renders in about 2 ms on a CPU.
    Rates are those of new pictures while the latent moves all the time; latencies are medians. An
    input is a movement of the mouse that drags the picture, or a press on a slider; the time beside
    rendering is what all the rest takes.

    Example: python -m benchmarks.viewer --resolution=128
    """
    click.echo(timing.describe_machine(devices.resolve_device(device)))
    with tempfile.TemporaryDirectory() as folder:
        if network is None:
            network = viewer_networks.save(Path(folder), resolution, cbase)
            title = f"config T, {resolution}x{resolution}, cbase {cbase}, untrained"
        else:
            title = network
        fast = viewer_networks.save_fast(Path(folder))
        for name, path in ((title, network), ("tiny network, 128x128", fast)):
            click.echo(f"Measuring {name} ...", err=True)
            cost = measure_overhead(path, device, repeats)
            rows = [
                viewer_speed.rendering_row("bare synthesis", cost.bare_sec),
                viewer_speed.rendering_row("renderer", cost.render_sec),
                *_window_rows(path, device, seconds, size, inputs),
                *_browser_rows(path, device, seconds, size, inputs),
            ]
            click.echo(f"\n{name}; overhead of the renderer {cost.overhead:.2%} (median of pairs)")
            click.echo(timing.format_table(viewer_speed.HEADER, rows))


@dataclass(frozen=True)
class Cost:
    """Bare synthesis and the renderer, taken in turns.

    Attributes:
        bare_sec: Wall-clock time of bare synthesis.
        render_sec: That of the renderer.
        overhead: What the renderer adds, as a part of bare synthesis: the median of pairs. On the
            CPU it is one of processor time, which other programs do not change.
    """

    bare_sec: list[float]
    render_sec: list[float]
    overhead: float


@torch.no_grad()
def measure_overhead(network: str, device: str, repeats: int) -> Cost:
    """Time bare synthesis and the renderer.

    Raises:
        RuntimeError: If the network cannot be rendered.
    """
    renderer = Renderer(device)
    clock = time.process_time if renderer.device.type == "cpu" else time.perf_counter
    G = renderer.load(network)
    bare_sec: list[float] = []
    render_sec: list[float] = []
    ratios: list[float] = []
    for seed in range(repeats + 1):
        start, start_sec = clock(), time.perf_counter()
        z = latents.z_from_seed(seed, G.z_dim).to(torch.float32).to(renderer.device)
        c = latents.label_from_class(0, G.c_dim, 1, renderer.device)
        G.synthesis(G.mapping(z, c), noise_mode="const").cpu()
        middle, middle_sec = clock(), time.perf_counter()
        result = renderer.render(View(network=network, x=seed))
        end, end_sec = clock(), time.perf_counter()
        if result.error is not None:
            raise RuntimeError(result.error)
        if seed > 0:  # the first one warms up
            bare_sec.append(middle_sec - start_sec)
            render_sec.append(end_sec - middle_sec)
            ratios.append((end - middle) / (middle - start))
    return Cost(bare_sec, render_sec, statistics.median(ratios) - 1)


def _window_rows(
    network: str, device: str, seconds: float, size: tuple[int, int], num_inputs: int
) -> list[list[str]]:
    try:
        measure_window = _import_window()
    except ImportError as error:
        return [viewer_speed.missing_row("window", f"{error}: install requirements-gui.txt")]
    found = measure_window(network, device, seconds, size, num_inputs)
    return viewer_speed.front_end_rows("window", found)


def _import_window() -> Callable[..., viewer_speed.FrontEnd]:
    from benchmarks.viewer_window import measure_window

    return measure_window


def _browser_rows(
    network: str, device: str, seconds: float, size: tuple[int, int], num_inputs: int
) -> list[list[str]]:
    if (reason := viewer_page.missing()) is not None:
        return [viewer_speed.missing_row("browser", reason)]
    from benchmarks.viewer_browser import measure_browser

    found = measure_browser(network, device, seconds, size, num_inputs)
    return viewer_speed.front_end_rows("browser", found)


if __name__ == "__main__":
    main()
