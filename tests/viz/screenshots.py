"""Make the pictures of docs/visualizer.md.

python -m tests.viz.screenshots NETWORK OUTDIR [WxH [SCALE]]
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from dnnlib import cli
from dnnlib.util import open_url
from editing import directions
from gui_utils.window import Window
from network_files.load import load_network
from torch_utils import images
from torch_utils.layout import beside
from viz.application import Application
from viz.frozen_array import FrozenArray
from viz.renderer import View
from viz.screenshot import take_screenshot
from viz.settings import Settings
from viz.view import Drag, base_of

START = View(x=3.4, y=0.2, truncation_psi=0.9)
MOVED = (0.15, -0.1)
SMALL = (700, 330)  # a window with one open pane


def main(network: str, outdir: Path, size: tuple[int, int], ui_scale: float = 1) -> None:
    def save(name: str, pixels: np.ndarray) -> None:
        images.save_png(pixels.transpose(2, 0, 1), outdir / f"visualizer-{name}.png")

    window = Window("Visualizer", size, is_offscreen=True, ui_scale=ui_scale)
    app = Application(window, Settings(), view=START, device="cpu", is_async=False)
    save("start", take_screenshot(app))
    app.load(network)
    save("network", take_screenshot(app))
    layers = [layer.name for layer in app.result.layers]
    app.view = replace(START, network=network, layer=layers[len(layers) * 2 // 3], normalize=True)
    save("layer", take_screenshot(app))
    app.view = replace(START, network=network, layer=layers[-2], fft=True)
    save("fft", take_screenshot(app))
    with tempfile.NamedTemporaryFile(suffix=".pkl") as f:
        with open_url(network) as whole:
            f.write(whole.read(100_000))
        f.flush()
        app.load(f.name)
        save("error", take_screenshot(app))
    app.close()
    window.close()
    save("equivariance", equivariance(network))
    save("points", points("pretrained:faces-stylegan2", size, ui_scale))


def equivariance(network: str) -> np.ndarray:
    """The pane beside the picture: as it was, moved, and moved back."""
    window = Window("Visualizer", SMALL, is_offscreen=True)
    app = Application(window, Settings(), view=START, device="cpu", is_async=False)
    titles = (app.network, app.latent, app.mixing, app.truncation, app.layers)
    app.settings.folded += [widget.title for widget in titles]
    app.load(network)
    panels = []
    for changes in ({}, {"translate": MOVED}, {"translate": MOVED, "untransform": True}):
        app.view = replace(START, network=network, **changes)
        panels.append(take_screenshot(app))
    app.close()
    window.close()
    return beside(*panels)


def points(network: str, size: tuple[int, int], ui_scale: float) -> np.ndarray:
    """A picture along a direction, with points on their way and a mask."""
    found = directions.find_pca(load_network(network)["G_ema"], 8, 20_000)
    settings = Settings(folded=["Style mixing", "Equivariance", "Performance", "Capture"])
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/pca.npz"
        directions.save(path, found)
        window = Window("Visualizer", size, is_offscreen=True, ui_scale=ui_scale)
        view = View(network=network, x=3, directions=path, amounts=(("pc1", -1.0),))
        rows, columns = np.ogrid[0.5:32, 0.5:32]
        mask = (columns - 14) ** 2 + (rows - 12) ** 2 < 11**2
        drag = Drag(base_of(view), ((12.5, 8.5),), ((17.5, 5.5),), FrozenArray.of(mask))
        view = replace(view, drag=replace(drag, num_steps=12))
        app = Application(window, settings, view=view, device="cpu", is_async=False)
        app.points.state.mode = "points"
        pixels = take_screenshot(app)
        app.close()
        window.close()
    return pixels


if __name__ == "__main__":
    size = cli.parse_size(sys.argv[3]) if len(sys.argv) > 3 else (1280, 800)
    main(sys.argv[1], Path(sys.argv[2]), size, float(sys.argv[4]) if len(sys.argv) > 4 else 1)
