"""Make the pictures of docs/visualizer.md: python -m tests.viz.screenshots NETWORK OUTDIR [WxH]"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from dnnlib import cli
from gui_utils.window import Window
from torch_utils import images
from viz.application import Application, take_screenshot
from viz.memory import Memory


def main(network: str, outdir: Path, size: tuple[int, int], ui_scale: float = 1) -> None:
    window = Window("Visualizer", size, is_offscreen=True, ui_scale=ui_scale)
    app = Application(window, Memory(), device="cpu", is_async=False)

    def shoot(name: str) -> None:
        pixels = take_screenshot(app)
        images.save_png(pixels.transpose(2, 0, 1), outdir / f"visualizer-{name}.png")

    shoot("start")
    app.load(network)
    app.view = replace(app.view, x=3.4, y=0.2, truncation_psi=0.9)
    shoot("network")
    layer = app.result.layers[len(app.result.layers) * 2 // 3].name
    app.view = replace(app.view, layer=layer, normalize=True)
    shoot("layer")
    app.view = replace(app.view, layer=app.result.layers[-2].name, fft=True, normalize=False)
    shoot("fft")
    app.view = replace(app.view, layer=None, fft=False, untransform=True)
    app.equivariance.state.x, app.equivariance.state.y = 0.15, -0.1
    shoot("equivariance")
    with tempfile.NamedTemporaryFile(suffix=".pkl") as f:
        f.write(Path(network).read_bytes()[:100_000])
        f.flush()
        app.load(f.name)
        shoot("error")
    app.close()
    window.close()


if __name__ == "__main__":
    size = cli.parse_size(sys.argv[3]) if len(sys.argv) > 3 else (1280, 800)
    main(sys.argv[1], Path(sys.argv[2]), size, float(sys.argv[4]) if len(sys.argv) > 4 else 1)
