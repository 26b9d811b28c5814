"""Speed of the viewer's window, which needs no display; `benchmarks.viewer` prints it."""

import time
from collections.abc import Callable
from functools import partial

from imgui_bundle import imgui
from OpenGL import GL

from benchmarks.viewer_speed import FrontEnd, Latency
from gui_utils.imgui_toolkit import ImguiToolkit
from gui_utils.window import Window
from viz.application import Application
from viz.settings import Settings

SLIDER = "##psi"
DRAG_PIXELS = 30  # from one input to the next
SETTLE_FRAMES = 10
WARMUP_SEC = 1


def measure_window(
    network: str, device: str, seconds: float, size: tuple[int, int], num_inputs: int
) -> FrontEnd:
    """Move the latent for some time, and then use the mouse.

    A picture counts as shown when OpenGL has drawn its frame.

    Args:
        network: Path or URL.
        device: See `Renderer`.
        seconds: Time to count pictures.
        size: Width and height of the window.
        num_inputs: Movements of the mouse, and presses on the slider.

    Raises:
        RuntimeError: If the network cannot be rendered, or if an input changes nothing.
    """
    window = Window("Visualizer", size, is_offscreen=True)
    app = Application(window, Settings(), device=device, is_async=True)
    try:
        user = _User(window, app)
        app.load(network)
        user.settle()
        if app.result is None or app.result.error is not None:
            raise RuntimeError(f"{network} is not shown: {app.result and app.result.error}")
        rate = user.count_pictures(seconds)
        return FrontEnd(rate, user.drag_picture(num_inputs), user.press_slider(num_inputs))
    finally:
        app.close()
        window.close()


class _Toolkit(ImguiToolkit):
    """Remembers where the slider is."""

    middle = (0.0, 0.0)
    length = 0.0

    def slider(self, name: str, value: float, low: float, high: float, form: str = "%.2f") -> float:
        value = super().slider(name, value, low, high, form)
        if name == SLIDER:
            start, end = imgui.get_item_rect_min(), imgui.get_item_rect_max()
            self.middle = ((start.x + end.x) / 2, (start.y + end.y) / 2)
            self.length = end.x - start.x
        return value


class _User:
    """Uses the mouse in a window without a display."""

    def __init__(self, window: Window, app: Application) -> None:
        self._window, self._app = window, app
        self._toolkit = app._toolkit = _Toolkit()

    def step(self) -> None:
        """Draw a frame to its end."""
        self._window.step(self._app.draw)
        GL.glFinish()

    def settle(self) -> None:
        """Wait until the window shows what was asked for."""
        settled = 0
        while settled < SETTLE_FRAMES:
            self._window.request_frame(1)
            self.step()
            settled = settled + 1 if self._app.is_settled else 0

    def count_pictures(self, seconds: float) -> float:
        """Pictures per second while the latent moves."""
        app = self._app
        app.latent.state.is_animated = True
        self._window.request_frame()
        self._count_for(WARMUP_SEC)
        start = time.perf_counter()
        count = self._count_for(seconds)
        rate = count / (time.perf_counter() - start)
        app.latent.state.is_animated = False
        self.settle()
        return rate

    def _count_for(self, seconds: float) -> int:
        """Draw frames for so long, and until the next picture; the number of pictures."""
        end = time.perf_counter() + seconds
        count, shown = 0, self._app.result
        while count == 0 or time.perf_counter() < end:
            self.step()
            count += self._app.result is not shown
            shown = self._app.result
        return count

    def drag_picture(self, count: int) -> Latency:
        """Drag to the right, and back."""
        left, top, right, bottom = self._app.picture.area
        x, y = (left + right) / 2, (top + bottom) / 2
        self._move(x, y)
        self.settle()
        self._press(True)
        self.settle()
        moves = [x + DRAG_PIXELS * (1 - idx % 2) for idx in range(count)]
        latency = self._measure([partial(self._move, x, y) for x in moves])
        self._press(False)
        self.settle()
        return latency

    def press_slider(self, count: int) -> Latency:
        """Press on the left half and on the right half of the slider in turn."""

        def bring(idx: int) -> None:
            self._press(False)
            x, y = self._toolkit.middle
            self._move(x + self._toolkit.length * (0.25 if idx % 2 else -0.25), y)

        return self._measure([lambda: self._press(True)] * count, bring)

    def _measure(
        self, inputs: list[Callable[[], None]], bring: Callable[[int], None] = lambda idx: None
    ) -> Latency:
        """Time each input, once the window is ready for it."""
        total_sec, render_sec = [], []
        app = self._app
        for idx, act in enumerate(inputs):
            bring(idx)
            self.settle()
            before, view = app.result, app.view
            start = time.perf_counter()
            act()
            while app.result is before:
                self.step()
            total_sec.append(time.perf_counter() - start)
            if app.view == view or app.result is None:
                raise RuntimeError("the window has not changed the view")
            render_sec.append(app.result.render_sec)
        self._press(False)
        self.settle()
        return Latency(total_sec, render_sec)

    def _move(self, x: float, y: float) -> None:
        imgui.get_io().add_mouse_pos_event(x, y)
        self._window.request_frame()  # as each input does

    def _press(self, is_down: bool) -> None:
        imgui.get_io().add_mouse_button_event(0, is_down)
        self._window.request_frame()
