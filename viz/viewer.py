"""The viewer without a front end: a view, the panes that change it, and the pictures that come."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dnnlib import errors
from dnnlib.paths import expand_home
from gui_utils.inputs import KeyPress, Pointer
from gui_utils.toolkit import Toolkit
from torch_utils import npz
from viz import browse
from viz.capture_widget import CaptureWidget, Store
from viz.editing_widget import EditingWidget
from viz.equivariance_widget import EquivarianceWidget
from viz.history import History
from viz.latent_widget import LatentWidget
from viz.layer_widget import LayerWidget
from viz.mixing_widget import MixingWidget
from viz.network_widget import NetworkWidget
from viz.performance_widget import PerformanceWidget
from viz.renderer import Result, View
from viz.settings import Settings
from viz.truncation_widget import TruncationWidget
from viz.view import rendered

MAX_STEP_SEC = 0.5  # largest step of animations, which wait for slow pictures
PATIENCE_SEC = 0.5  # wait before the viewer says that it is waiting


class ViewRenderer(Protocol):
    """What renders for a viewer, see `viz.async_renderer`."""

    @property
    def is_busy(self) -> bool:
        """Whether a result will come."""

    @property
    def status(self) -> str | None:
        """A line for the user about work that takes long."""

    def submit(self, view: View) -> None:
        """Request a view, in place of the view that waits."""

    def poll(self) -> Result | None:
        """The latest result, once."""

    def close(self) -> None:
        """End the work."""


class Viewer(ABC):
    """What a user sees and does. A front end draws the panes and the picture, and hands on input.

    Args:
        settings: Remembered settings, which change but are not saved here.
        store: Where captured files go.
        view: The first view, without its network.
        browse_dirs: Folders of runs; by default those that the demo and the examples use.
        has_window: Whether the panes are in a window, which has settings of its own.

    Attributes:
        view: The view to render.
        result: The last result.
        is_animated: Whether an open pane changes the view all the time; whoever draws the panes
            sets it.
        renderer: What renders; the front end sets it.
    """

    renderer: ViewRenderer

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        view: View | None = None,
        browse_dirs: Sequence[Path] = (),
        has_window: bool,
    ) -> None:
        self.settings = settings
        self.view = view or View()
        self.result: Result | None = None
        self.browse_dirs = browse_dirs or browse.usual_folders()
        self.network = NetworkWidget(settings, self.browse_dirs)
        self.latent = LatentWidget()
        self.mixing = MixingWidget()
        self.editing = EditingWidget()
        self.points = self.editing.points
        self.truncation = TruncationWidget()
        self.layers = LayerWidget()
        self.equivariance = EquivarianceWidget()
        self.performance = PerformanceWidget(has_window)
        self.capture = CaptureWidget(store, self.copy, has_window)
        self.history = History()
        self._submitted: View | None = None
        self._submit_sec = 0.0
        self._layer_idx: int | None = None  # of the shown layer of the previous network
        self._is_blank = True  # no network has been loaded yet
        self._note: tuple[View | None, str] = (None, "")  # a view, and a status line about it
        self.is_animated = False
        self._was_animated = False  # in the last frame
        if self.view.directions is not None:
            self._unfold(self.editing.title)

    # What front ends provide

    @abstractmethod
    def copy(self, command: str, left_out: list[str]) -> None:
        """Put a command into the clipboard; it leaves out the settings of these names."""

    @abstractmethod
    def request_frame(self) -> None:
        """Something has changed: draw the panes and the picture again."""

    @abstractmethod
    def report(self, message: str) -> None:
        """Print a line about an error, or a warning."""

    # Networks and files

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
            self.say(f"not opened: {errors.message_of(error)}")
            self.report(f"Error: {errors.message_of(error)}")
            return
        if is_directions:
            self.view = replace(self.view, directions=path, amounts=(), direction_layers=None)
        else:
            self.view = replace(self.view, latents=path, latent_idx=0)
        self._unfold(self.editing.title if is_directions else self.latent.title)
        self._submitted = None  # read the same file again, too
        self.request_frame()

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
                self.history.amend(before, self.view)
        if network != self.view.network:
            self.view = replace(self.view, drag=None)  # its points belong to another picture
        self.view = replace(self.view, network=network)
        self._submitted = None  # try the same file again, too
        self.request_frame()

    # Panes

    def draw_panes(self, ui: Toolkit, elapsed_sec: float) -> None:
        """Draw all panes, and change the view as the user does.

        Args:
            ui: What to draw with.
            elapsed_sec: Time since the last call, by which animations go on.
        """
        view, result = self.view, self.result
        chosen = None
        self.is_animated = False
        self.points.is_folded = True
        if self._section(ui, self.network.title):
            chosen = self.network.draw(ui, view, result)
        for widget in (self.latent, self.mixing, self.editing, self.truncation):
            if self._section(ui, widget.title):
                with ui.blank(self._is_blank):
                    view = widget.draw(ui, view, result, elapsed_sec)
                self.is_animated |= widget.is_animated
        for pane in (self.latent, self.editing.directions):
            if pane.take_entry():
                self._submitted = None  # read the same file again, too
        if self._section(ui, self.layers.title):
            with ui.blank(self._is_blank):
                view = self.layers.draw(ui, view, result)
        if self._section(ui, self.equivariance.title):
            with ui.blank(self._is_blank):
                view = self.equivariance.draw(ui, view, result, elapsed_sec)
            self.is_animated |= self.equivariance.is_animated
        if self._section(ui, self.performance.title):
            view = self.performance.draw(ui, view)
        if self._section(ui, self.capture.title):
            self.capture.draw(ui, result)
        self.view = view
        if chosen is not None:
            self.open(chosen)

    def _section(self, ui: Toolkit, title: str) -> bool:
        """Draw the header of a pane, and return whether the pane is open."""
        was_open = title not in self.settings.folded
        is_open = ui.section(title, was_open)
        if is_open and not was_open:
            self.settings.folded.remove(title)
        elif was_open and not is_open:
            self.settings.folded.append(title)
        return is_open

    def _unfold(self, title: str) -> None:
        if title in self.settings.folded:
            self.settings.folded.remove(title)

    # Frames and keys

    def elapsed(self, interval_sec: float) -> float:
        """Seconds by which animations go on, a time after the last frame."""
        return min(interval_sec, MAX_STEP_SEC) if self._was_animated else 0.0

    def end_frame(self, is_changing: bool) -> bool:
        """End a frame, after the request for a picture; whether the next one shall follow at once.

        Args:
            is_changing: Whether the user goes on with the last change, see `History.note`.
        """
        self.history.note(self.view, is_changing or self.is_animated)
        self._was_animated = self.is_animated
        # Rendering gets the whole processor; a finished picture asks for a frame.
        has_network = self.view.network is not None
        return self.is_animated and has_network and not self.renderer.is_busy

    def press(self, key: KeyPress) -> None:
        """Do what a key of `viz.keys.COMMON` does."""
        if key.ctrl and key.name in ("Z", "Y"):
            self.undo(is_redo=key.name == "Y" or key.shift)
        elif key.is_repeat or not key.ctrl:
            return
        elif key.name == "S":
            self.capture.save_image(self.result)
        elif key.name == "C" and key.shift:
            self.capture.copy_command(self.result)

    # The picture

    def drag_picture(self, dx: float, dy: float) -> None:
        """Move through the latents, by a movement of the mouse in ems."""
        if not self._is_blank:
            self.view = self.latent.drag(self.view, dx, dy)

    def point(self, pointer: Pointer) -> None:
        """Set points, or paint, if `points.takes_mouse`."""
        self.view = self.points.handle(self.view, self.result, pointer)

    def follow(self) -> None:
        """Take dragged points back to their start if the image without them has changed."""
        followed = self.points.follow(self.view)
        if followed is not self.view:
            self.view = followed
            self.say("the image has changed, so dragging begins anew")

    def undo(self, is_redo: bool = False) -> None:
        """Take back the last change of the view, or do it again."""
        self.points.stop()
        self.history.note(self.view, is_changing=False)  # the steps so far are one step
        step = self.history.redo if is_redo else self.history.undo
        self.view = step(self.view) or self.view

    # Rendering

    @property
    def is_settled(self) -> bool:
        """Whether the picture shows the current view."""
        is_rendered = rendered(self.view) == self._submitted and not self.renderer.is_busy
        return is_rendered or self.view.network is None

    @property
    def is_blank(self) -> bool:
        """Whether no network has been loaded yet."""
        return self._is_blank

    @property
    def is_late(self) -> bool:
        """Whether the picture lets the user wait."""
        waited_sec = time.perf_counter() - self._submit_sec
        return self.renderer.is_busy and waited_sec >= PATIENCE_SEC * 0.9

    def submit(self) -> bool:
        """Request a picture if the view has changed, and return whether it has."""
        wanted = rendered(self.view)
        if self.view.network is None or self.is_submitted(wanted):
            return False
        if not self.renderer.is_busy:
            self._submit_sec = time.perf_counter()
        self.renderer.submit(wanted)
        self._submitted = wanted
        return True

    def take_result(self) -> bool:
        """Take the next result, and return whether there was one."""
        result = self.renderer.poll()
        if result is None:
            return False
        now_sec = time.perf_counter()
        self.performance.add_result(result, self._submit_sec, now_sec)
        if self.renderer.is_busy:  # renders the waiting view
            self._submit_sec = now_sec
        is_mended = result.view.network == self.view.network and self._mend_view(result)
        if result.error is not None and not is_mended:
            if self.result is None or self.result.error != result.error:  # not for every frame
                self.report(f"Error: {result.details or result.error}")
        elif result.error is None and result.view.network is not None:
            self.settings.add_recent(result.view.network)
            for field, path in result.view.files.items():
                if field != "network":
                    self.settings.add_recent_file(path)
        if result.notice is not None and (self.result is None or not self.result.notice):
            self.report(f"Warning: {result.notice}")
        self._is_blank = self._is_blank and result.network is None
        self.result = result
        return True

    def is_submitted(self, wanted: View) -> bool:
        """Whether a view is the last one that was requested."""
        return wanted == self._submitted

    def refuse(self, wanted: View, reason: str) -> None:
        """Show a reason in place of the picture of a view, which is not requested."""
        self._submitted = wanted
        network = self.result.network if self.result is not None else None
        layers = self.result.layers if self.result is not None else ()
        self.result = Result(wanted, error=reason, network=network, layers=layers)

    def forget_submitted(self) -> None:
        """Request the view again, although it has not changed."""
        self._submitted = None

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
            self.say(f"this network has no layer {before.layer}")
        last = result.network.c_dim - 1
        if 0 <= last < self.view.class_idx:
            self.view = replace(self.view, class_idx=last)
            self.say(f"this network has classes 0 to {last} only")
        self.history.amend(before, self.view)
        return self.view != before

    # Messages

    def say(self, message: str) -> None:
        """Show a status line until the view changes."""
        self._note = (self.view, message)

    def message(self) -> str | None:
        """What to show in place of a picture; None if there is a picture, or an error."""
        network, result = self.view.network, self.result
        if network is None:
            return None
        if result is None or (self.is_late and result.view.network != network):
            return self.renderer.status or f"Loading {network} …"
        return None

    def status(self) -> str:
        """The status line."""
        if self.is_late:
            return self.renderer.status or "rendering …"
        if self.view == self._note[0]:
            return self._note[1]
        if self.capture.state.message:
            return self.capture.state.message
        return self.facts()

    def facts(self) -> str:
        """Size of the picture and time of rendering; empty if there is no picture."""
        if self.result is None or self.result.image is None:
            return ""
        height, width, _ = self.result.image.shape
        return f"{width}x{height}, {self.result.render_sec * 1e3:.0f} ms"
