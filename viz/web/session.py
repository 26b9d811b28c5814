"""The viewer in one browser, without the page: what the page shows, and what it hands on."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dnnlib.errors import InputError
from gui_utils.inputs import KeyPress
from gui_utils.toolkit import Toolkit
from viz import color_maps, view_link
from viz.capture_widget import Store
from viz.frozen_array import FrozenArray
from viz.renderer import Result, View
from viz.settings import Settings
from viz.view import rendered
from viz.viewer import PATIENCE_SEC, Viewer, ViewRenderer
from viz.web import simple_panes
from web_utils.overlay import Axes, Overlay

HIDDEN = "-"  # in links, in place of a path
QUIET_SEC = 0.4  # changes of the view that follow one another faster are one step

log = logging.getLogger(__name__)


class Files(Protocol):
    """Which files a visitor may open."""

    def check(self, path: str) -> None:
        """Raise an `InputError` for a path that may not be opened."""

    def is_uploaded(self, path: str) -> bool:
        """Whether the visitor has uploaded a file."""

    def with_names(self, text: str) -> str:
        """A message, in which uploaded files have their own names in place of paths."""


class Session(Viewer):
    """The viewer in one browser.

    Args:
        renderer: Renders for this session alone.
        store: Where captured files go.
        files: Which files may be opened.
        networks: Networks of the command line; the first is shown.
        view: The first view, without its network.
        browse_dirs: Folders of runs.
        is_simple: Whether there are few controls only.
        request_frame: Called when something has changed.
        copy: Puts text into the clipboard.

    Attributes:
        is_held: Whether a button of the mouse or a finger is down; changes are one step until then.
    """

    def __init__(
        self,
        renderer: ViewRenderer,
        store: Store,
        files: Files,
        *,
        networks: Sequence[str] = (),
        view: View | None = None,
        browse_dirs: Sequence[Path] = (),
        is_simple: bool = False,
        request_frame: Callable[[], None],
        copy: Callable[[str], object],
    ) -> None:
        self._request_frame = request_frame
        self._copy = copy
        self._files = files
        self._is_simple = is_simple
        self._refused: tuple[View, str] | None = None  # a view that may not be rendered, and why
        settings = Settings(recent=list(networks))
        super().__init__(settings, store, view=view, browse_dirs=browse_dirs, has_window=False)
        self.renderer = renderer
        self._first_view = self.view
        self._last_frame_sec = time.monotonic()
        self._last_change_sec = 0.0
        self._shown_view = self.view
        self._mask: tuple[FrozenArray, np.ndarray] | None = None  # the last one, and its values
        self.is_held = False
        if networks:
            self.load(networks[0])
            self._first_view = self.view

    # What front ends provide

    def copy(self, command: str, left_out: list[str]) -> None:
        self._copy(command)

    def request_frame(self) -> None:
        self._request_frame()

    def report(self, message: str) -> None:
        log.warning("%s", message)

    # Files

    def open(self, path: str) -> None:
        if self._is_refused(path):
            return
        super().open(path)

    def load(self, network: str) -> None:
        if not self._is_refused(network):
            super().load(network)

    def submit(self) -> bool:
        """Request a picture if the view has changed, and if its files may be opened."""
        wanted = rendered(self.view)
        if wanted.network is not None and not self.is_submitted(wanted):
            self._refused = None
            for path in wanted.files.values():
                try:
                    self._files.check(path)
                except InputError as error:
                    self._refused = (wanted, str(error))
                    self.refuse(*self._refused)
                    return False
        return super().submit()

    def take_result(self) -> bool:
        """Take the next result, and return whether there was one."""
        has_come = super().take_result()
        if has_come and self._refused is not None and rendered(self.view) == self._refused[0]:
            self.refuse(*self._refused)  # the result of a view before comes late
        return has_come

    def _is_refused(self, path: str) -> bool:
        try:
            self._files.check(path)
        except InputError as error:
            self.say(f"not opened: {error}")
            self.request_frame()
            return True
        return False

    # Frames

    def draw_panes(self, ui: Toolkit, elapsed_sec: float) -> None:
        if self._is_simple:
            simple_panes.draw(self, ui, elapsed_sec)
        else:
            super().draw_panes(ui, elapsed_sec)

    def interval(self) -> float:
        """Seconds since the last call."""
        before, self._last_frame_sec = self._last_frame_sec, time.monotonic()
        return self._last_frame_sec - before

    def advance(self) -> float | None:
        """Let the picture follow the view, once the panes are drawn.

        Returns:
            Seconds until the next frame is due, if nothing else asks for one; None for never.
        """
        self.follow()
        self.submit()
        now = time.monotonic()
        if self.view != self._shown_view:
            self._shown_view, self._last_change_sec = self.view, now
        if self.end_frame(self.is_held or not self.is_quiet):
            return 0.0
        waits_sec = []
        if self.renderer.is_busy and not self.is_late:
            waits_sec.append(PATIENCE_SEC)  # then the page says that it waits
        if not (self.is_quiet or self.is_animated):
            waits_sec.append(QUIET_SEC)
        return min(waits_sec, default=None)

    @property
    def is_quiet(self) -> bool:
        """Whether the view has rested for a while."""
        return not self.is_animated and time.monotonic() - self._last_change_sec >= QUIET_SEC

    # The picture

    def picture(self) -> tuple[np.ndarray | None, Overlay]:
        """The picture on screen, uint8 `[H, W, C]`, and what is drawn over it."""
        if self.view.network is None:
            return None, Overlay()
        if (message := self.message()) is not None:
            return None, Overlay(message=message)
        result = self.result
        if result is None:
            return None, Overlay()
        if result.image is None:
            return None, Overlay(message=self._files.with_names(result.error or ""), is_error=True)
        drag = self.points.shown(self.view, result)
        return result.image, Overlay(
            points=() if drag is None else drag.points,
            targets=() if drag is None else drag.targets,
            mask=None if drag is None or drag.mask is None else self._values(drag.mask),
            axes=_axes(result),
            target=self.latent.target(result),
            notice=self._files.with_names(result.notice or ""),
        )

    def message(self) -> str | None:
        """As for all viewers; uploaded files have their own names."""
        message = super().message()
        return None if message is None else self._files.with_names(message)

    def status(self) -> str:
        """As for all viewers; uploaded files have their own names."""
        return self._files.with_names(super().status())

    def _values(self, mask: FrozenArray) -> np.ndarray:
        """The values of a mask; the same array as long as they are the same."""
        if self._mask is None or self._mask[0] != mask:
            self._mask = (mask, mask.array())
        return self._mask[1]

    # Keys and links

    def press(self, key: KeyPress) -> None:
        """Do what a key of `viz.web.keys` does."""
        if not (self._is_simple and key.name == "C"):  # a command has the paths of the server
            super().press(key)
        if key.name in STEPS and not key.ctrl and self.view.latents is None:
            dx, dy = STEPS[key.name]
            x, y = np.rint(self.view.x) + dx, np.rint(self.view.y) + dy
            self.view = replace(self.view, x=float(x), y=float(y))

    def link(self) -> tuple[str, list[str]]:
        """The link of the view, and what it leaves out."""
        view, left_out = self.view, view_link.left_out(self.view)
        uploaded = {path for path in view.files.values() if self._files.is_uploaded(path)}
        if view.network in uploaded:
            view = replace(view, network=None)
        if view.latents in uploaded:
            view = replace(view, latents=None, latent_idx=0)
        if view.directions in uploaded:
            view = replace(view, directions=None, amounts=(), direction_layers=None)
        if uploaded:
            left_out = [*left_out, "what was uploaded"]
        if self._is_simple:  # the paths of the server are no business of visitors
            hidden: dict[str, Any] = dict.fromkeys(view.files, HIDDEN)
            view = replace(view, **{**hidden, "network": None})
        return view_link.to_link(view), left_out

    def follow_link(self, link: str) -> bool:
        """Show the view of a link; a wrong one is refused in the status line, and false."""
        try:
            view = view_link.from_link(link)
        except InputError as error:
            self.say(f"the link is wrong: {error}")
            self.request_frame()
            return False
        first = self._first_view
        if self._is_simple:
            kept: dict[str, Any] = {name: getattr(view, name) for name in simple_panes.FIELDS}
            self.view = replace(first, **kept)
        else:
            network = view.network
            self.view = replace(view, network=None)
            network = first.network if network is None else network
            if network is not None:
                self.load(network)
        self.request_frame()
        return True


STEPS = {"ArrowLeft": (-1, 0), "ArrowRight": (1, 0), "ArrowUp": (0, -1), "ArrowDown": (0, 1)}


def _axes(result: Result) -> Axes | None:
    """Axes of a spectrum."""
    view = result.view
    if not view.fft:
        return None
    is_own = view.color_map == color_maps.GREY
    colors = color_maps.colors(color_maps.SPECTRUM if is_own else view.color_map)
    low_db, high_db = view.fft_range_db
    return Axes(result.content_width / 2, low_db, high_db, colors)
