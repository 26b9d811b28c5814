"""The content of the viewer's window: panes on the left, the picture on the right."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from imgui_bundle import imgui

from dnnlib import errors, moved
from dnnlib.paths import expand_home
from gui_utils import controls
from gui_utils.keys import KeyPress
from gui_utils.placement import Zoom
from gui_utils.window import SETTLE_FRAMES, Window
from torch_utils import npz
from viz import browse
from viz.async_renderer import AsyncRenderer, InlineRenderer
from viz.capture_widget import CaptureWidget
from viz.dialogs import Dialogs
from viz.editing_widget import EditingWidget
from viz.equivariance_widget import EquivarianceWidget
from viz.history import History
from viz.latent_widget import LatentWidget
from viz.layer_widget import LayerWidget
from viz.mixing_widget import MixingWidget
from viz.network_widget import NetworkWidget
from viz.performance_widget import PerformanceWidget
from viz.picture_pane import PicturePane
from viz.renderer import Result, View
from viz.settings import Settings
from viz.truncation_widget import TruncationWidget
from viz.view import rendered
from viz.welcome import Welcome

PANE_EMS = 27  # width of the panes
PATIENCE_SEC = 0.5  # wait before the window says that it is waiting
MAX_STEP_SEC = 0.5  # largest step of animations, which wait for slow pictures
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


class Application:
    """The content of the window, and its reaction to input.

    Args:
        window: Where to draw.
        settings: Remembered settings, which change but are not saved here.
        view: The first view, without its network.
        capture_dir: Folder for saved pictures.
        browse_dirs: Folders of runs; by default those that the demo and the examples use.
        device: See `Renderer`.
        allow_untrusted: See `Renderer`.
        is_async: Whether to render in another process, at first.

    Attributes:
        view: The view to render.
        result: The last result.
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
        browse_dirs = browse_dirs or browse.usual_folders()
        self.window = window
        self.settings = settings
        self.view = view or View()
        self.result: Result | None = None
        self._options = (device, allow_untrusted)
        self._submitted: View | None = None
        self._submit_sec = 0.0
        self._inline_sec = 0.0  # rendering time in the last frame
        self._layer_idx: int | None = None  # of the shown layer of the previous network
        self._is_blank = True  # no network has been loaded yet
        self._note: tuple[View | None, str] = (None, "")  # a view, and a status line about it
        self._is_animated = False  # by an open pane
        self._was_animated = False
        self._spare_height = 0.0  # below the panes, in the last frame
        self._dialogs = Dialogs()
        self._history = History()
        self._welcome = Welcome(settings, browse_dirs)
        self.picture = PicturePane()
        self.network = NetworkWidget(settings, browse_dirs)
        self.latent = LatentWidget()
        self.mixing = MixingWidget()
        self.editing = EditingWidget()
        self.points = self.editing.points
        self.truncation = TruncationWidget()
        self.layers = LayerWidget()
        self.equivariance = EquivarianceWidget()
        self.performance = PerformanceWidget()
        self.performance.state.is_async = is_async
        self.capture = CaptureWidget(capture_dir)
        self.renderer = self._new_renderer()
        if self.view.directions is not None:
            self._unfold(self.editing.title)
        window.on_drop = lambda paths: self.open(paths[0])

    def open(self, path: str) -> None:
        """Show another network, or latents or directions from a file.

        Args:
            path: See `load`; NPZ files hold latents or directions.
        """
        if not path.lower().endswith(".npz"):
            self.load(path)
            return
        try:
            is_directions = "directions" in npz.names(expand_home(path))
        except (OSError, ValueError) as error:
            self._note = (self.view, f"not opened: {errors.message_of(error)}")
            click.echo(f"Error: {errors.message_of(error)}", err=True)
            return
        if is_directions:
            self.view = replace(self.view, directions=path, amounts=(), direction_layers=None)
        else:
            self.view = replace(self.view, latents=path, latent_idx=0)
        self._unfold(self.editing.title if is_directions else self.latent.title)
        self._submitted = None  # read the same file again, too
        self.window.request_frame()

    def load(self, network: str) -> None:
        """Show another network; the controls stay unchanged.

        Args:
            network: Path or URL. A folder stands for its newest network.
        """
        network = browse.resolve(network)
        if network != self.view.network and self.view.layer is not None:
            names = [layer.name for layer in self.result.layers] if self.result else []
            if self.view.layer in names:
                self._layer_idx = names.index(self.view.layer)
                before, self.view = self.view, replace(self.view, layer=None)
                self._history.amend(before, self.view)
        if network != self.view.network:
            self.view = replace(self.view, drag=None)  # its points belong to another picture
        self.view = replace(self.view, network=network)
        self._submitted = None  # try the same file again, too
        self.window.request_frame()

    @property
    def is_settled(self) -> bool:
        """Whether the picture shows the current view."""
        is_rendered = rendered(self.view) == self._submitted and not self.renderer.is_busy
        return is_rendered or self.view.network is None

    def draw(self) -> None:
        """Draw one frame."""
        self._take_result()
        elapsed_sec = min(self.window.interval_sec, MAX_STEP_SEC) if self._was_animated else 0
        if self.window.frame_sec > 0:
            self.performance.add_frame(max(self.window.frame_sec - self._inline_sec, 0))
        for key in self.window.take_keys():
            self._handle_key(key)
        width, height = imgui.get_io().display_size
        pane_width = min(controls.em(PANE_EMS), width * 0.6)
        self._draw_panes(pane_width, height, elapsed_sec)
        self._apply_settings()
        imgui.set_next_window_pos((pane_width, 0))
        imgui.set_next_window_size((width - pane_width, height))
        imgui.push_style_color(imgui.Col_.window_bg, (0.06, 0.06, 0.07, 1))
        flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
        imgui.begin("picture", None, FIXED | flags)
        imgui.pop_style_color()
        self.picture.begin()
        if self.points.takes_mouse:
            self.view = self.points.handle(self.view, self.result, self.picture.pointer)
        elif not self._is_blank:
            self.view = self.latent.drag(self.view, *self.picture.drag)
        followed = self.points.follow(self.view)
        if followed is not self.view:
            self.view = followed
            self._note = (
                followed,
                "the image has changed, so dragging begins anew",
            )
        self._submit()
        self._draw_picture()
        imgui.end()
        if self._dialogs.draw():
            self.window.request_close()
        self._history.note(self.view, imgui.is_any_item_active() or self._is_animated)
        self._was_animated = self._is_animated
        # Rendering gets the whole processor; the finished picture wakes the window.
        if self._is_animated and self.view.network is not None and not self.renderer.is_busy:
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
        elif key.name in "ZY" and not imgui.get_io().want_text_input:
            is_redo = key.name == "Y" or key.shift
            self.points.stop()
            self._history.note(self.view, is_changing=False)  # the steps so far are one step
            step = self._history.redo if is_redo else self._history.undo
            self.view = step(self.view) or self.view
        elif key.is_repeat:
            return
        elif key.name == "S":
            self.capture.save_image(self.result)
        elif key.name == "0":
            self.picture.zoom = Zoom()
        elif key.name == "C" and key.shift:
            self.capture.copy_command(self.result)

    def _escape(self) -> None:
        """Close the popup or dialog that was opened last; if none is open, ask whether to quit."""
        any_popup = imgui.PopupFlags_.any_popup_id | imgui.PopupFlags_.any_popup_level
        if imgui.is_popup_open("", any_popup):
            imgui.internal.close_popup_to_level(0, True)
        elif not imgui.get_io().want_text_input and not self._dialogs.close():
            self._dialogs.ask_to_quit()  # Dear ImGui itself ends typing

    def _draw_panes(self, width: float, height: float, elapsed_sec: float) -> None:
        imgui.set_next_window_pos((0, 0))
        imgui.set_next_window_size((width, height))
        # A new control makes the list of layers lower only in the next frame; until then the panes
        # must not get a scroll bar.
        is_narrow = width < controls.em(PANE_EMS)
        is_fitting = not is_narrow and self.layers.can_grow(self._spare_height)
        flags = imgui.WindowFlags_
        bars = flags.no_scrollbar if is_fitting else flags.horizontal_scrollbar
        imgui.begin("panes", None, FIXED | bars)
        view, result = self.view, self.result
        chosen = None
        self._is_animated = False
        self.points.is_folded = True
        if self._section(self.network.title):
            chosen = self.network.draw(view, result)
        for widget in (self.latent, self.mixing, self.editing, self.truncation):
            if self._section(widget.title):
                with controls.blank(self._is_blank):
                    view = widget.draw(view, result, elapsed_sec)
                self._is_animated |= widget.is_animated
        for pane in (self.latent, self.editing.directions):
            if pane.take_entry():
                self._submitted = None  # read the same file again, too
        self.layers.is_folded = not self._section(self.layers.title)
        if not self.layers.is_folded:
            with controls.blank(self._is_blank):
                view = self.layers.draw(view, result, self._spare_height)
        if self._section(self.equivariance.title):
            with controls.blank(self._is_blank):
                view = self.equivariance.draw(view, result, elapsed_sec)
            self._is_animated |= self.equivariance.is_animated
        if self._section(self.performance.title):
            view = self.performance.draw(view)
        if self._section(self.capture.title):
            self.capture.draw(result)
        bottom = imgui.get_cursor_pos_y() + imgui.get_style().window_padding.y
        # A horizontal scroll bar takes height, which can cause a vertical one, which takes width,
        # which causes the horizontal one. Only a lower list ends this circle.
        bar = imgui.internal.get_current_window().scrollbar_sizes.y
        self._spare_height = height - bar - bottom - imgui.get_scroll_y()
        imgui.end()
        self.view = view
        if chosen is not None:
            self.open(chosen)

    def _section(self, title: str) -> bool:
        """Draw the header of a pane, and return whether the pane is open."""
        was_open = title not in self.settings.folded
        imgui.set_next_item_open(was_open)
        is_open = imgui.collapsing_header(title)
        if is_open and not was_open:
            self.settings.folded.remove(title)
        elif was_open and not is_open:
            self.settings.folded.append(title)
        return is_open

    def _unfold(self, title: str) -> None:
        if title in self.settings.folded:
            self.settings.folded.remove(title)

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
        result, network = self.result, self.view.network
        if network is None:
            if (chosen := self._welcome.draw(self.picture.area)) is not None:
                self.load(chosen)
        elif result is None or (self._is_late and result.view.network != network):
            self.picture.say(self.renderer.status or f"Loading {network} …")
        else:
            drag = self.points.shown(self.view, result)
            self.picture.show(result, self.latent.target(result), drag)
        self.picture.draw_status(self._status())

    def _submit(self) -> None:
        """Request a picture if the view has changed."""
        self._inline_sec = 0.0
        wanted = rendered(self.view)
        if self.view.network is None or wanted == self._submitted:
            return
        start_sec = time.perf_counter()
        if not self.renderer.is_busy:
            self._expect_result(start_sec)
        self.renderer.submit(wanted)
        self._submitted = wanted
        self._inline_sec = time.perf_counter() - start_sec
        if not self.renderer.is_busy:
            self._take_result()

    def _expect_result(self, now_sec: float) -> None:
        """Note the time; the window says that it waits if rendering takes long."""
        self._submit_sec = now_sec
        self.window.request_frame_in(PATIENCE_SEC, "patience")

    def _take_result(self) -> None:
        """Take the next result."""
        result = self.renderer.poll()
        if result is None:
            return
        # The panes show the result, too, and some are laid out again.
        self.window.request_frame(1 if self._was_animated else SETTLE_FRAMES)
        now_sec = time.perf_counter()
        self.performance.add_result(result, self._submit_sec, now_sec)
        if self.renderer.is_busy:  # renders the waiting view
            self._expect_result(now_sec)
        is_mended = result.view.network == self.view.network and self._mend_view(result)
        if result.error is not None and not is_mended:
            if self.result is None or self.result.error != result.error:  # not for every frame
                click.echo(f"Error: {result.details or result.error}", err=True)
        elif result.error is None and result.view.network is not None:
            self.settings.add_recent(result.view.network)
            for path in filter(None, (result.view.latents, result.view.directions)):
                self.settings.add_recent_file(path)
        if result.notice is not None and (self.result is None or not self.result.notice):
            click.echo(f"Warning: {result.notice}", err=True)
        if self.result is None or result.view.network != self.result.view.network:
            self.window.set_title(f"{Path(result.view.network or '').name} - Visualizer")
        self._is_blank = self._is_blank and result.network is None
        self.result = result

    def _mend_view(self, result: Result) -> bool:
        """Replace a layer or class that the network lacks; return whether this was needed."""
        if result.network is None:
            return False
        before = self.view
        names = [layer.name for layer in result.layers]
        if names and self._layer_idx is not None:  # take the layer at the same place
            layer = names[min(self._layer_idx, len(names) - 1)]
            self.view, self._layer_idx = replace(self.view, layer=layer), None
        elif names and self.view.layer is not None and self.view.layer not in names:
            self.view = replace(self.view, layer=None)
            self._note = (self.view, f"this network has no layer {before.layer}")
        last = result.network.c_dim - 1
        if 0 <= last < self.view.class_idx:
            self.view = replace(self.view, class_idx=last)
            self._note = (self.view, f"this network has classes 0 to {last} only")
        self._history.amend(before, self.view)
        return self.view != before

    @property
    def _is_late(self) -> bool:
        waited_sec = time.perf_counter() - self._submit_sec
        return self.renderer.is_busy and waited_sec >= PATIENCE_SEC * 0.9

    def _status(self) -> str:
        if self._is_late:
            return self.renderer.status or "rendering …"
        if self.view == self._note[0]:
            return self._note[1]
        if self.capture.state.message:
            return self.capture.state.message
        if self.result is None or self.result.image is None:
            return ""
        height, width, _ = self.result.image.shape
        scale = self.picture.zoom.scale
        zoom = "" if scale is None else f", enlarged {scale:.3g} times (Ctrl+0: the whole picture)"
        return f"{width}x{height}, {self.result.render_sec * 1e3:.0f} ms{zoom}"


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
