"""The viewer's window: panes on the left, the picture on the right."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from imgui_bundle import imgui

from gui_utils import controls, text
from gui_utils.texture import Texture
from gui_utils.window import Window
from viz.async_renderer import AsyncRenderer, InlineRenderer
from viz.capture_widget import CaptureWidget
from viz.equivariance_widget import EquivarianceWidget
from viz.latent_widget import LatentWidget
from viz.layer_widget import LayerWidget
from viz.memory import Memory
from viz.mixing_widget import MixingWidget
from viz.network_widget import NetworkWidget
from viz.performance_widget import PerformanceWidget
from viz.renderer import Result, View
from viz.truncation_widget import TruncationWidget

PANE_EMS = 27  # width of the panes
PATIENCE_SEC = 0.5  # before the window says that it is waiting
SETTLE_FRAMES = 4  # until the panes have been laid out
BUSY_FPS = 40  # of animations that wait for pictures
MAX_STEP_SEC = 0.1  # of animations: they wait for slow frames
ERROR_COLOR = (1, 0.45, 0.4)
WELCOME = (
    "Drop a network here, type its path or URL on the left, or choose one with Recent or Browse."
    "\n\n"
    "F1 shows the keys."
)
HELP = (
    ("Drag in the picture", "move through the latents"),
    ("Drop a file", "load a network"),
    ("Ctrl + S", "save the picture"),
    ("Ctrl + Plus, Ctrl + Minus", "larger, smaller controls"),
    ("Ctrl + click on a slider", "type a number"),
    ("F1", "show or hide this help"),
    ("Esc", "quit"),
)
FIXED = (
    imgui.WindowFlags_.no_title_bar
    | imgui.WindowFlags_.no_resize
    | imgui.WindowFlags_.no_move
    | imgui.WindowFlags_.no_collapse
    | imgui.WindowFlags_.no_bring_to_front_on_focus
    | imgui.WindowFlags_.no_saved_settings
)


class Application:
    """What the window shows, and what it does with input.

    Args:
        window: Where to draw.
        memory: State that is remembered; changed, but not saved.
        capture_dir: Where saved pictures go.
        browse_dir: Folder of runs.
        device: As for `Renderer`.
        allow_untrusted: As for `Renderer`.
        is_async: Whether to render in another process, at first.

    Attributes:
        view: What is to be rendered.
        result: What was rendered last.
    """

    def __init__(
        self,
        window: Window,
        memory: Memory,
        *,
        capture_dir: Path = Path("screenshots"),
        browse_dir: Path = Path("training-runs"),
        device: str = "auto",
        allow_untrusted: bool | None = None,
        is_async: bool = True,
    ) -> None:
        self.window = window
        self.memory = memory
        self.view = View()
        self.result: Result | None = None
        self._options = (device, allow_untrusted)
        self._submitted: View | None = None
        self._submit_time = 0.0
        self._is_help_open = False
        self._texture = Texture()
        self.network = NetworkWidget(memory, browse_dir)
        self.latent = LatentWidget()
        self.mixing = MixingWidget()
        self.truncation = TruncationWidget()
        self.layers = LayerWidget()
        self.equivariance = EquivarianceWidget()
        self.performance = PerformanceWidget()
        self.performance.state.is_async = is_async
        self.capture = CaptureWidget(capture_dir)
        self.renderer = self._new_renderer()
        window.on_drop = lambda paths: self.load(paths[0])

    def load(self, network: str) -> None:
        """Show another network; the controls stay as they are."""
        self.view = replace(self.view, network=network)
        self._submitted = None  # the same file again is worth another try
        self.window.request_frame()

    @property
    def is_settled(self) -> bool:
        """Whether what is shown is what was asked for."""
        is_rendered = self.view == self._submitted and not self.renderer.is_busy
        return is_rendered or self.view.network is None

    def draw(self) -> None:
        """Draw one frame."""
        start = time.perf_counter()
        elapsed_sec = min(self.window.interval_sec, MAX_STEP_SEC)
        self.performance.add_frame(self.window.interval_sec)
        self._handle_keys()
        width, height = imgui.get_io().display_size
        pane_width = min(controls.em(PANE_EMS), width * 0.6)
        self._draw_panes(pane_width, height, elapsed_sec)
        self._apply_settings()
        imgui.set_next_window_pos((pane_width, 0))
        imgui.set_next_window_size((width - pane_width, height))
        imgui.push_style_color(imgui.Col_.window_bg, (0.06, 0.06, 0.07, 1))
        imgui.begin("picture", None, FIXED | imgui.WindowFlags_.no_scrollbar)
        imgui.pop_style_color()
        self._draw_picture()
        imgui.end()
        if self._is_help_open:
            self._draw_help(width, height)
        animated = (self.latent, self.mixing, self.truncation, self.equivariance)
        if any(widget.is_animated for widget in animated):
            if self.renderer.is_busy:  # leave the processor to it; its result wakes the window
                rest_sec = start + 1 / BUSY_FPS - time.perf_counter()
                self.window.request_frame_in(rest_sec, "animation", 1)
            else:
                self.window.request_frame(1)

    def close(self) -> None:
        """End the rendering process, and note what is to be remembered."""
        self.memory.window_size = self.window.size
        self.memory.ui_scale = self.window.ui_scale
        self.renderer.close()

    def _handle_keys(self) -> None:
        io = imgui.get_io()
        if imgui.is_key_pressed(imgui.Key.f1, False):
            self._is_help_open = not self._is_help_open
        if imgui.is_key_pressed(imgui.Key.escape, False) and not io.want_text_input:
            if self._is_help_open or imgui.is_popup_open(
                "", imgui.PopupFlags_.any_popup_id | imgui.PopupFlags_.any_popup_level
            ):
                self._is_help_open = False
            else:
                self.window.request_close()
        if not io.key_ctrl:
            return
        if imgui.is_key_pressed(imgui.Key.s, False):
            self.capture.save_image(self.result)
        for keys, factor in (
            ((imgui.Key.equal, imgui.Key.keypad_add), 1.1),
            ((imgui.Key.minus, imgui.Key.keypad_subtract), 1 / 1.1),
        ):
            if any(imgui.is_key_pressed(key) for key in keys):
                self.window.ui_scale *= factor

    def _draw_panes(self, width: float, height: float, elapsed_sec: float) -> None:
        imgui.set_next_window_pos((0, 0))
        imgui.set_next_window_size((width, height))
        imgui.begin("panes", None, FIXED | imgui.WindowFlags_.horizontal_scrollbar)
        before = self.view.network
        view, result = self.view, self.result
        if _section(self.network.title):
            view = self.network.draw(view, result)
        for widget in (self.latent, self.mixing, self.truncation):
            if _section(widget.title):
                view = widget.draw(view, result, elapsed_sec)
        if _section(self.layers.title):
            view = self.layers.draw(view, result)
        if _section(self.equivariance.title):
            view = self.equivariance.draw(view, result, elapsed_sec)
        if _section(self.performance.title):
            view = self.performance.draw(view)
        if _section(self.capture.title):
            self.capture.draw(result)
        imgui.end()
        self.view = view
        if self.network.take_load_request() or view.network != before:
            self._submitted = None

    def _apply_settings(self) -> None:
        state = self.performance.state
        self.window.fps_limit = state.fps_limit
        self.window.set_vsync(state.use_vsync)
        if state.is_async != isinstance(self.renderer, AsyncRenderer):
            self.renderer.close()
            self.renderer = self._new_renderer()
            self._submitted = None
        if self.capture.state.is_window_requested:
            self.capture.state.is_window_requested = False
            self.window.capture(self._save_window)

    def _new_renderer(self) -> AsyncRenderer | InlineRenderer:
        if self.performance.state.is_async:
            return AsyncRenderer(*self._options, wake=self.window.wake)
        return InlineRenderer(*self._options)

    def _save_window(self, pixels: np.ndarray) -> None:
        self.capture.save_window(pixels)
        self.window.request_frame()

    def _draw_picture(self) -> None:
        left, top = imgui.get_cursor_screen_pos()
        room = imgui.get_content_region_avail()
        status_height = imgui.get_text_line_height_with_spacing()
        area = (left, top, left + room.x, top + room.y - status_height)
        imgui.invisible_button("picture", (max(room.x, 1), max(room.y - status_height, 1)))
        self.view = self.latent.drag(self.view, *controls.drag_delta())
        self._render()
        result = self.result
        if self.view.network is None:
            text.draw_centered(WELCOME, area)
        elif result is None or (self._is_late and result.view.network != self.view.network):
            text.draw_centered(f"Loading {self.view.network} …", area)
        elif result.error is not None:
            text.draw_centered(f"No picture: {result.error}", area, ERROR_COLOR)
        else:
            self._texture.draw(result.image, area)
            if result.notice is not None:
                text.draw_centered(result.notice, area, ERROR_COLOR)
        self._draw_status(left, area[3], room.x)

    def _render(self) -> None:
        """Ask for what has changed, and take what has been rendered."""
        if self.view.network is not None and self.view != self._submitted:
            if not self.renderer.is_busy:
                self._submit_time = time.perf_counter()
                self.window.request_frame_in(PATIENCE_SEC, "patience")
            self.renderer.submit(self.view)
            self._submitted = self.view
        result = self.renderer.poll()
        if result is None:
            return
        self.window.request_frame()  # the panes show it, too
        self._submit_time = time.perf_counter()
        self.performance.add_result(result)
        if result.error is not None:
            if self.result is None or self.result.error != result.error:  # not for every frame
                click.echo(f"Error: {result.details or result.error}", err=True)
        elif result.view.network not in self.memory.recent[:1]:
            self.memory.add_recent(result.view.network)
        if result.notice is not None and (self.result is None or not self.result.notice):
            click.echo(f"Warning: {result.notice}", err=True)
        if self.result is None or result.view.network != self.result.view.network:
            self.window.set_title(f"{Path(result.view.network or '').name} - Visualizer")
        self.result = result

    @property
    def _is_late(self) -> bool:
        waited_sec = time.perf_counter() - self._submit_time
        return self.renderer.is_busy and waited_sec >= PATIENCE_SEC * 0.9

    def _draw_status(self, left: float, top: float, width: float) -> None:
        message = self.capture.state.message
        if self._is_late:
            message = "rendering …"
        elif not message and self.result is not None and self.result.image is not None:
            height, width_px, _ = self.result.image.shape
            message = f"{width_px}x{height}, {self.result.render_sec * 1e3:.0f} ms"
        imgui.set_cursor_screen_pos((left, top))
        imgui.text_disabled(text.shorten(message, width))

    def _draw_help(self, width: float, height: float) -> None:
        imgui.set_next_window_pos((width / 2, height / 2), imgui.Cond_.always, (0.5, 0.5))
        flags = imgui.WindowFlags_.no_saved_settings | imgui.WindowFlags_.always_auto_resize
        _, self._is_help_open = imgui.begin("Help", True, flags | imgui.WindowFlags_.no_collapse)
        if imgui.begin_table("keys", 2, imgui.TableFlags_.sizing_fixed_fit):
            for keys, effect in HELP:
                imgui.table_next_column()
                imgui.text_unformatted(keys)
                imgui.table_next_column()
                imgui.text_disabled(effect)
            imgui.end_table()
        imgui.end()


def take_screenshot(application: Application, timeout_sec: float = 600) -> np.ndarray:
    """The pixels of the window once it shows what was asked for, uint8 `[H, W, 3]`.

    Raises:
        RuntimeError: If that takes too long.
    """
    window, deadline = application.window, time.monotonic() + timeout_sec
    captured: list[np.ndarray] = []
    settled_frames = 0
    while not captured:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no picture after {timeout_sec:.0f} seconds")
        settled_frames = settled_frames + 1 if application.is_settled else 0
        if settled_frames == SETTLE_FRAMES:
            window.capture(captured.append)
        window.request_frame(1)
        window.step(application.draw)
    return captured[0]


def run(
    make_window: Callable[[Memory], Window], memory: Memory, networks: list[str], **options
) -> None:
    """Show the window until it is closed.

    Args:
        make_window: Opens the window.
        memory: Remembered state, saved in the end.
        networks: Paths or URLs; the first one is shown, the others are offered.
        options: As for `Application`.
    """
    window = make_window(memory)
    application = Application(window, memory, **options)
    try:
        for network in reversed(networks):
            memory.add_recent(network)
        if networks:
            application.load(networks[0])
        window.run(application.draw)
    finally:
        application.close()
        memory.save()
        window.close()


def _section(title: str) -> bool:
    return imgui.collapsing_header(title, imgui.TreeNodeFlags_.default_open)
