"""Speed of rendering and of the window, and the settings that limit it."""

from collections import deque
from dataclasses import dataclass, field, replace

from gui_utils.toolkit import Toolkit
from viz.renderer import Result, View

HISTORY = 120  # length of the graphs, in pictures and in frames
MAX_GAP_SEC = 0.05  # a longer time between a picture and the next request is a pause
NUM_AVERAGED = 20  # pictures in the average rate


@dataclass
class PerformanceState:
    """Settings, and times of the last pictures and frames in milliseconds."""

    fps_limit: int = 60
    use_vsync: bool = True
    is_async: bool = True
    render_ms: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    window_ms: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    interval_ms: deque[float] = field(default_factory=lambda: deque(maxlen=NUM_AVERAGED))


class PerformanceWidget:
    """The pane "Performance".

    Args:
        has_window: Whether the panes are in a window, which has settings of its own.

    Attributes:
        connection: What the connection to a browser takes; empty without a browser.
    """

    title = "Performance"

    def __init__(self, has_window: bool) -> None:
        self._has_window = has_window
        self.connection = ""
        self.state = PerformanceState()
        self._last_result_sec: float | None = None

    def add_result(self, result: Result, submit_sec: float, now_sec: float) -> None:
        """Note the time of a picture.

        Args:
            result: The picture. The first picture of a network is left out: it waits for kernels.
            submit_sec: Time of the request.
            now_sec: Time of arrival, by the same clock.
        """
        if result.error is None and not result.is_first:
            self.state.render_ms.append(result.render_sec * 1e3)
            last_sec = self._last_result_sec
            if last_sec is not None and submit_sec - last_sec <= MAX_GAP_SEC:
                self.state.interval_ms.append((now_sec - last_sec) * 1e3)
            else:
                self.state.interval_ms.clear()  # a new movement begins
        self._last_result_sec = now_sec

    def add_frame(self, frame_sec: float) -> None:
        """Note the time of a frame of the window, without rendering and waiting."""
        self.state.window_ms.append(frame_sec * 1e3)

    @property
    def pictures_per_sec(self) -> float | None:
        """Rate of pictures during the last movement; None if too few came without a gap."""
        intervals = self.state.interval_ms
        return 1e3 * len(intervals) / sum(intervals) if len(intervals) >= 2 else None

    def draw(self, ui: Toolkit, view: View) -> View:
        """Draw the pane, and return the view to render now."""
        rate = self.pictures_per_sec
        shown_rate = "" if rate is None else f", {rate:.1f} pictures/s"
        render_ms = self.state.render_ms
        ui.label("Render", "Time that the last pictures took, without the first one")
        ui.graph("##render", render_ms, _last(render_ms) + shown_rate)
        if self._has_window:
            self._draw_window(ui)
        else:
            ui.label("Connection", "Pictures on the way to this browser")
            ui.text(self.connection)
            ui.label("")
        force_fp32 = ui.checkbox("Force FP32", view.force_fp32)
        ui.hint("Never use half precision (it is used on GPUs only)")
        return replace(view, force_fp32=force_fp32)

    def _draw_window(self, ui: Toolkit) -> None:
        """Draw the controls of the window."""
        state = self.state
        ui.label("Window", "Time that this window took to draw its last frames")
        ui.graph("##frame", state.window_ms, _last(state.window_ms))
        ui.label("FPS limit")
        ui.width(8)
        state.fps_limit = ui.slider_int("##fps limit", state.fps_limit, 5, 240)
        state.fps_limit = min(max(state.fps_limit, 5), 1000)
        ui.same_line()
        state.use_vsync = ui.checkbox("Vsync", state.use_vsync)
        ui.label("")
        state.is_async = ui.checkbox("Async", state.is_async)
        ui.hint("Render in a process of its own: the window never waits")
        ui.same_line()


def _last(values_ms: deque[float]) -> str:
    return f"{values_ms[-1]:.1f} ms" if values_ms else ""
