"""The content of the viewer's window: panes on the left, the picture on the right."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from imgui_bundle import imgui

from dnnlib import moved
from gui_utils import controls
from gui_utils.imgui_toolkit import ImguiToolkit
from gui_utils.inputs import KeyPress
from gui_utils.placement import Zoom
from gui_utils.window import SETTLE_FRAMES, Window
from viz.async_renderer import AsyncRenderer, InlineRenderer
from viz.capture_folder import CaptureFolder
from viz.dialogs import Dialogs
from viz.picture_pane import PicturePane
from viz.renderer import View
from viz.settings import Settings
from viz.viewer import PATIENCE_SEC, Viewer
from viz.welcome import Welcome

PANE_EMS = 27  # width of the panes
LARGER, SMALLER = ("=", "+"), ("-", "_")  # keys, also those of the number pad
FIXED = (
    imgui.WindowFlags_.no_title_bar
    | imgui.WindowFlags_.no_resize
    | imgui.WindowFlags_.no_move
    | imgui.WindowFlags_.no_collapse
    | imgui.WindowFlags_.no_bring_to_front_on_focus
    | imgui.WindowFlags_.no_saved_settings
)
__getattr__ = moved.names_of(__name__)


class Application(Viewer):
    """The viewer in a window.

    Args:
        window: Where to draw.
        settings: Remembered settings, which change but are not saved here.
        view: The first view, without its network.
        capture_dir: Folder for saved pictures.
        browse_dirs: Folders of runs; by default those that the demo and the examples use.
        device: See `Renderer`.
        allow_untrusted: See `Renderer`.
        is_async: Whether to render in another process, at first.
    """

    def __init__(
        self,
        window: Window,
        settings: Settings,
        *,
        view: View | None = None,
        capture_dir: Path = Path("screenshots"),
        browse_dirs: Sequence[Path] = (),
        device: str = "auto",
        allow_untrusted: bool | None = None,
        is_async: bool = True,
    ) -> None:
        store = CaptureFolder(capture_dir)
        super().__init__(settings, store, view=view, browse_dirs=browse_dirs, has_window=True)
        self.window = window
        self._options = (device, allow_untrusted)
        self._inline_sec = 0.0  # rendering time in the last frame
        self._toolkit = ImguiToolkit()
        self._dialogs = Dialogs()
        self._welcome = Welcome(settings, self.browse_dirs)
        self.picture = PicturePane()
        self.performance.state.is_async = is_async
        self.renderer: AsyncRenderer | InlineRenderer = self._new_renderer()
        window.on_drop = lambda paths: self.open(paths[0])

    def copy(self, command: str, left_out: list[str]) -> None:
        imgui.set_clipboard_text(command)
        click.echo(command)  # there may be no clipboard, over SSH for example
        if left_out:
            click.echo(f"Note: gen_images.py does not know {', '.join(left_out)}.", err=True)

    def request_frame(self) -> None:
        self.window.request_frame()

    def report(self, message: str) -> None:
        click.echo(message, err=True)

    def draw(self) -> None:
        """Draw one frame."""
        self._take_result()
        elapsed_sec = self.elapsed(self.window.interval_sec)
        if self.window.frame_sec > 0:
            self.performance.add_frame(max(self.window.frame_sec - self._inline_sec, 0))
        for key in self.window.take_keys():
            self._handle_key(key)
        width, height = imgui.get_io().display_size
        pane_width = min(controls.em(PANE_EMS), width * 0.6)
        self._draw_window_of_panes(pane_width, height, elapsed_sec)
        self._apply_settings()
        imgui.set_next_window_pos((pane_width, 0))
        imgui.set_next_window_size((width - pane_width, height))
        imgui.push_style_color(imgui.Col_.window_bg, (0.06, 0.06, 0.07, 1))
        flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
        imgui.begin("picture", None, FIXED | flags)
        imgui.pop_style_color()
        self.picture.begin()
        if self.points.takes_mouse:
            self.point(self.picture.pointer)
        else:
            self.drag_picture(*self.picture.drag)
        self.follow()
        self._submit()
        self._draw_picture()
        imgui.end()
        if self._dialogs.draw():
            self.window.request_close()
        if self.end_frame(imgui.is_any_item_active()):
            self.window.request_frame(1)

    def close(self) -> None:
        """End the rendering process, and update the settings."""
        self.settings.window_size = self.window.size
        self.settings.ui_scale = self.window.ui_scale
        self.renderer.close()

    def _handle_key(self, key: KeyPress) -> None:
        if key.ctrl:
            self._handle_chord(key)
        elif key.is_repeat:
            return
        elif key.name == "F1":
            self._dialogs.toggle_help()
        elif key.name == "Enter" and self._dialogs.is_asking:
            self.window.request_close()
        elif key.name == "Esc":
            self._escape()

    def _handle_chord(self, key: KeyPress) -> None:
        if key.name in LARGER + SMALLER:
            self.window.ui_scale *= 1.1 if key.name in LARGER else 1 / 1.1
        elif key.name == "0":
            self.picture.zoom = Zoom()
        elif key.name not in ("Z", "Y") or not imgui.get_io().want_text_input:
            self.press(key)  # a field of text has an undo of its own

    def _escape(self) -> None:
        """Close the popup or dialog that was opened last; if none is open, ask whether to quit."""
        any_popup = imgui.PopupFlags_.any_popup_id | imgui.PopupFlags_.any_popup_level
        if imgui.is_popup_open("", any_popup):
            imgui.internal.close_popup_to_level(0, True)
        elif not imgui.get_io().want_text_input and not self._dialogs.close():
            self._dialogs.ask_to_quit()  # Dear ImGui itself ends typing

    def _draw_window_of_panes(self, width: float, height: float, elapsed_sec: float) -> None:
        toolkit = self._toolkit
        imgui.set_next_window_pos((0, 0))
        imgui.set_next_window_size((width, height))
        # A new control makes the list of layers lower only in the next frame; until then the panes
        # must not get a scroll bar.
        is_narrow = width < controls.em(PANE_EMS)
        is_fitting = not is_narrow and toolkit.can_grow(toolkit.spare_height)
        flags = imgui.WindowFlags_
        bars = flags.no_scrollbar if is_fitting else flags.horizontal_scrollbar
        imgui.begin("panes", None, FIXED | bars)
        toolkit.begin_frame()
        self.draw_panes(toolkit, elapsed_sec)
        bottom = imgui.get_cursor_pos_y() + imgui.get_style().window_padding.y
        # A horizontal scroll bar takes height, which can cause a vertical one, which takes width,
        # which causes the horizontal one. Only a lower list ends this circle.
        bar = imgui.internal.get_current_window().scrollbar_sizes.y
        toolkit.spare_height = height - bar - bottom - imgui.get_scroll_y()
        imgui.end()

    def _apply_settings(self) -> None:
        state = self.performance.state
        self.window.fps_limit = state.fps_limit
        self.window.set_vsync(state.use_vsync)
        if state.is_async != isinstance(self.renderer, AsyncRenderer):
            self.renderer.close()
            self.renderer = self._new_renderer()
            self.forget_submitted()
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
        if self.view.network is None:
            if (chosen := self._welcome.draw(self.picture.area)) is not None:
                self.load(chosen)
        elif (message := self.message()) is not None:
            self.picture.say(message)
        elif self.result is not None:
            drag = self.points.shown(self.view, self.result)
            self.picture.show(self.result, self.latent.target(self.result), drag)
        self.picture.draw_status(self.status())

    def facts(self) -> str:
        facts, scale = super().facts(), self.picture.zoom.scale
        if not facts or scale is None:
            return facts
        return f"{facts}, enlarged {scale:.3g} times (Ctrl+0: the whole picture)"

    def _submit(self) -> None:
        """Request a picture if the view has changed."""
        self._inline_sec = 0.0
        start_sec = time.perf_counter()
        was_busy = self.renderer.is_busy  # then the user waits already
        if not self.submit():
            return
        if not was_busy:
            self.window.request_frame_in(PATIENCE_SEC, "patience")
        self._inline_sec = time.perf_counter() - start_sec
        if not self.renderer.is_busy:
            self._take_result()

    def _take_result(self) -> None:
        """Take the next result."""
        before = self.result
        if not self.take_result():
            return
        # The panes show the result, too, and some are laid out again.
        self.window.request_frame(1 if self._was_animated else SETTLE_FRAMES)
        if self.renderer.is_busy:  # renders the waiting view
            self.window.request_frame_in(PATIENCE_SEC, "patience")
        assert self.result is not None
        network = self.result.view.network
        if before is None or network != before.view.network:
            self.window.set_title(f"{Path(network or '').name} - Visualizer")


def run(
    make_window: Callable[[Settings], Window],
    settings: Settings,
    networks: list[str],
    **options: Any,
) -> None:
    """Show the window until it is closed.

    Args:
        make_window: Opens the window.
        settings: Remembered settings, saved in the end.
        networks: Paths or URLs; the first one is shown, the others are offered.
        options: Keyword arguments of `Application`.
    """
    window = make_window(settings)
    application = Application(window, settings, **options)
    try:
        for network in reversed(networks):
            settings.add_recent(network)
        if networks:
            application.load(networks[0])
        window.run(application.draw)
    finally:
        application.close()
        settings.save()
        window.close()
