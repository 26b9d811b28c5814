"""Speed of the viewer in a browser; `benchmarks.viewer` prints it."""

import time
from collections.abc import Callable
from functools import partial

from benchmarks.viewer_page import ANIMATE, CANVAS, SLIDER, ViewerPage, open_page, serve
from benchmarks.viewer_speed import FrontEnd, Latency

DRAG_PIXELS = 30  # from one input to the next
WARMUP_SEC = 2


def measure_browser(
    network: str, device: str, seconds: float, size: tuple[int, int], num_inputs: int
) -> FrontEnd:
    """Move the latent for some time, and then use the mouse, in headless Chromium.

    A picture counts as shown when it is drawn on the canvas, which is on screen when the browser
    refreshes the screen next.

    Args:
        network: Path or URL.
        device: See `Renderer`.
        seconds: Time to count pictures.
        size: Width and height of the page.
        num_inputs: Movements of the mouse, and presses on the slider.

    Raises:
        RuntimeError: If the network cannot be rendered, or if an input changes nothing.
    """
    with (
        serve(f"--device={device}", network) as server,
        open_page(server.links[0], size) as page,
    ):
        rate = count_pictures(page, seconds)
        return FrontEnd(rate, _drag_picture(page, num_inputs), _press_slider(page, num_inputs))


def count_pictures(page: ViewerPage, seconds: float) -> float:
    """Pictures per second on the canvas while the latent moves."""
    page.click(ANIMATE)
    time.sleep(WARMUP_SEC)
    start, before = time.perf_counter(), page.num_pictures()
    time.sleep(seconds)
    count, sec = page.num_pictures() - before, time.perf_counter() - start
    page.click(ANIMATE)
    page.rest()
    return count / sec


def _drag_picture(page: ViewerPage, count: int) -> Latency:
    """Drag to the right, and back."""
    left, top, width, height = page.area(CANVAS)
    x, y = left + width / 2, top + height / 2
    page.settle()
    page.mouse("mousePressed", x, y)
    places = [x + DRAG_PIXELS * (1 - idx % 2) for idx in range(count)]
    latency = _measure(page, [partial(page.mouse, "mouseMoved", x, y) for x in places])
    page.mouse("mouseReleased", x, y)
    return latency


def _press_slider(page: ViewerPage, count: int) -> Latency:
    """Press on the left half and on the right half of the slider in turn."""
    left, top, width, height = page.area(SLIDER)
    places = [left + width * (0.75 if idx % 2 else 0.25) for idx in range(count)]
    y = top + height / 2
    return _measure(
        page,
        [partial(page.mouse, "mousePressed", x, y) for x in places],
        lambda: page.mouse("mouseReleased", left + width / 2, y),
    )


def _measure(
    page: ViewerPage, inputs: list[Callable[[], None]], end: Callable[[], None] = lambda: None
) -> Latency:
    """Time each input, once the page rests."""
    total_sec, render_sec = [], []
    for act in inputs:
        page.settle()
        before = page.pixels()
        total_sec.append(page.expect(act))
        page.settle()
        if page.pixels() == before:
            raise RuntimeError("the picture of the page has not changed")
        render_sec.append(page.render_sec())
        if render_sec[-1] > total_sec[-1] + 1e-3:
            raise RuntimeError("a picture came before it could be rendered")
        end()
    return Latency(total_sec, render_sec)
