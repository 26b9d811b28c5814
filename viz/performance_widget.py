"""How fast it is, and what limits that."""

from collections import deque
from dataclasses import dataclass, field, replace

from imgui_bundle import imgui

from gui_utils import controls
from viz.renderer import Result, View

HISTORY = 120  # frames


@dataclass
class PerformanceState:
    """Settings, and times of the last frames in milliseconds."""

    fps_limit: int = 60
    use_vsync: bool = True
    is_async: bool = True
    render_ms: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    interval_ms: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))


class PerformanceWidget:
    """The pane "Performance"."""

    title = "Performance"

    def __init__(self) -> None:
        self.state = PerformanceState()

    def add_result(self, result: Result) -> None:
        """Note how long a picture took."""
        if result.error is None:
            self.state.render_ms.append(result.render_sec * 1e3)

    def add_frame(self, interval_sec: float) -> None:
        """Note how long after the one before a frame was drawn; 0 after a pause."""
        if interval_sec > 0:
            self.state.interval_ms.append(interval_sec * 1e3)

    def draw(self, view: View) -> View:
        """Draw the pane; returns what is to be rendered now."""
        state = self.state
        controls.label("Render", "Time that the last pictures took")
        controls.graph("##render", state.render_ms, _last(state.render_ms))
        controls.label("Frame", "Time between frames of this window while it is not resting")
        mean = sum(state.interval_ms) / max(len(state.interval_ms), 1)
        rate = f"{_last(state.interval_ms)}, {1e3 / mean:.0f} fps" if mean > 0 else ""
        controls.graph("##frame", state.interval_ms, rate)

        controls.label("FPS limit")
        imgui.set_next_item_width(controls.em(8))
        _, state.fps_limit = imgui.slider_int("##fps limit", state.fps_limit, 5, 240)
        state.fps_limit = min(max(state.fps_limit, 5), 1000)
        imgui.same_line()
        _, state.use_vsync = imgui.checkbox("Vsync", state.use_vsync)
        controls.label("")
        _, state.is_async = imgui.checkbox("Async", state.is_async)
        controls.hint("Render in a process of its own: the window never waits")
        imgui.same_line()
        _, force_fp32 = imgui.checkbox("Force FP32", view.force_fp32)
        controls.hint("Never use half precision (it is used on GPUs only)")
        return replace(view, force_fp32=force_fp32)


def _last(values_ms: deque[float]) -> str:
    return f"{values_ms[-1]:.1f} ms" if values_ms else ""
