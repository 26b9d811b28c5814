"""The viewer: cost of the renderer beside bare synthesis, and frames per second of the window.

Needs requirements-gui.txt, but no display.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
import torch

from benchmarks import options
from dnnlib import cli
from dnnlib.options import NETWORK_METAVAR, device_option
from torch_utils import latents
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
    help="Time to watch the window.",
)
@click.option(
    "--size", type=cli.Size(), default="1280x800", show_default=True, help="Size of the window."
)
@device_option
def main(
    network: str | None,
    resolution: int,
    cbase: int,
    repeats: int,
    seconds: float,
    size: tuple[int, int],
    device: str,
) -> None:
    """Measure the viewer.

    Example: python -m benchmarks.viewer --resolution=128
    """
    with tempfile.TemporaryDirectory() as folder:
        if network is None:
            network = str(Path(folder) / "network.pkl")
            _save_untrained(network, resolution, cbase)
        bare_sec, render_sec = measure_overhead(network, device, repeats)
        ratio = statistics.median(r / b for r, b in zip(render_sec, bare_sec, strict=True))
        click.echo(f"bare synthesis      {statistics.median(bare_sec) * 1e3:8.1f} ms")
        click.echo(f"renderer            {statistics.median(render_sec) * 1e3:8.1f} ms")
        click.echo(f"overhead            {(ratio - 1) * 100:8.2f} % (median of pairs)")
        frames, pictures = measure_window(network, device, seconds, size)
        mean = sum(frames) / len(frames)
        worst = sorted(frames)[int(len(frames) * 0.99)]
        click.echo(f"window, async       {1 / mean:8.1f} fps; 99 % of frames within {worst:.3f} s")
        click.echo(f"pictures meanwhile  {seconds / max(pictures, 1):8.2f} s each")


@torch.no_grad()
def measure_overhead(network: str, device: str, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of bare synthesis and of the renderer, taken in turns.

    On the CPU they are processor time of this process, which other programs do not change.
    """
    renderer = Renderer(device)
    clock = time.process_time if renderer.device.type == "cpu" else time.perf_counter
    G = renderer.load(network)
    bare_sec: list[float] = []
    render_sec: list[float] = []
    for seed in range(repeats + 1):
        start = clock()
        z = latents.z_from_seed(seed, G.z_dim).to(torch.float32).to(renderer.device)
        c = latents.label_from_class(0, G.c_dim, 1, renderer.device)
        G.synthesis(G.mapping(z, c), noise_mode="const").cpu()
        middle = clock()
        result = renderer.render(View(network=network, x=seed))
        end = clock()
        if result.error is not None:
            raise RuntimeError(result.error)
        if seed > 0:  # the first one warms up
            bare_sec.append(middle - start)
            render_sec.append(end - middle)
    return bare_sec, render_sec


def measure_window(
    network: str, device: str, seconds: float, size: tuple[int, int]
) -> tuple[list[float], int]:
    """Seconds between frames while the latent moves all the time, and the number of pictures."""
    from gui_utils.window import Window
    from viz.application import Application
    from viz.settings import Settings

    window = Window("Visualizer", size, is_offscreen=True)
    app = Application(window, Settings(), device=device, is_async=True)
    app.load(network)
    while app.result is None:
        window.request_frame(1)
        window.step(app.draw)
    app.view = replace(app.view, x=0.1)
    app.latent.state.is_animated = True
    frames, pictures, shown = [], 0, app.result
    start = last = time.perf_counter()
    while last - start < seconds:
        window.step(app.draw)
        pictures += app.result is not shown
        shown = app.result
        now = time.perf_counter()
        frames.append(now - last)
        last = now
    app.close()
    window.close()
    return frames, pictures


def _save_untrained(path: str, resolution: int, cbase: int) -> None:
    import pickle

    from training.networks_stylegan3 import Generator

    G = Generator(512, 0, 512, resolution, 3, channel_base=cbase)
    Path(path).write_bytes(pickle.dumps({"G_ema": G.eval().requires_grad_(False)}))


if __name__ == "__main__":
    main()
