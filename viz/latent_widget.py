"""Position in the plane of latents: seed, fraction, class; dragged or animated."""

from dataclasses import dataclass, replace

import numpy as np

from dnnlib import moved
from gui_utils.toolkit import Toolkit
from viz.file_row import FileRow
from viz.renderer import SEEDS_PER_ROW, Result, View
from viz.target_picture import TargetPicture

__getattr__ = moved.names_of(__name__)
MAX_SPEED = 4  # seeds per second
SEEDS_PER_EM = 0.1  # dragging by ten times the font size leads to the next seed


@dataclass
class LatentState:
    """Memory of the pane.

    Attributes:
        is_animated: Whether the point moves.
        speed: Its speed, in seeds per second.
        shows_target: Whether to show the projected picture beside the image.
    """

    is_animated: bool = False
    speed: float = 0.25
    shows_target: bool = False


class LatentWidget:
    """The pane "Latent"."""

    title = "Latent"

    def __init__(self) -> None:
        self.state = LatentState()
        self._row = FileRow(
            "File", "Latents of projector.py, or of other programs", "latents.npz in place of seeds"
        )
        self._is_possible = True
        self._target = TargetPicture()

    @property
    def is_animated(self) -> bool:
        """Whether the pane needs continuous frames."""
        return self._is_possible and self.state.is_animated

    def draw(self, ui: Toolkit, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        if view.latents is not None:
            path = self._row.draw(ui, view.latents)
            if path != view.latents:
                return replace(view, latents=path, latent_idx=0)
        return self.draw_place(ui, view, result, elapsed_sec)

    def draw_place(
        self, ui: Toolkit, view: View, result: Result | None, elapsed_sec: float
    ) -> View:
        """Draw the controls without that of the file, and return the view to render now."""
        self._is_possible = view.latents is None
        if view.latents is None:
            return self._draw_plane(ui, view, result, elapsed_sec)
        view = self._draw_file(ui, view, result)
        return self._draw_class(ui, view, result) if view.mix_layers else view

    def take_entry(self) -> bool:
        """Whether the path of a file was entered since the last call, perhaps the same again."""
        return self._row.take_entry()

    def target(self, result: Result) -> np.ndarray | None:
        """The picture to show beside the image, uint8 `[H, W, 4]`; None for no picture."""
        info = result.latents
        if info is None or info.target is None or not self.state.shows_target:
            return None
        return self._target.pixels(info.target)

    def _draw_file(self, ui: Toolkit, view: View, result: Result | None) -> View:
        """Draw the controls of a file of latents."""
        info = result.latents if result is not None else None
        if result is None or info is None or result.view.latents != view.latents:
            ui.text("no latents of this file are shown")
            if view.latent_idx > 0:
                ui.same_line()
                if ui.button("First image", 7):
                    view = replace(view, latent_idx=0)
            return view
        ui.label("Image", "Number of the image in the file")
        ui.fill_width()
        form = info.name.replace("%", "%%")
        last = info.num - 1
        idx = ui.slider_int("##latent idx", view.latent_idx, 0, last, f"%d  {form}")
        ui.label("Target", "The picture that was projected, as projector.py has written it")
        with ui.disabled(info.target is None, "there is no target.png beside the file"):
            self.state.shows_target = ui.checkbox("Show##target", self.state.shows_target)
        return replace(view, latent_idx=min(max(idx, 0), last))

    def _draw_plane(
        self, ui: Toolkit, view: View, result: Result | None, elapsed_sec: float
    ) -> View:
        """Draw the controls of the plane of latents."""
        state = self.state
        if state.is_animated:
            view = replace(view, x=view.x + state.speed * elapsed_sec)
        col, row = int(np.floor(view.x)), int(np.floor(view.y))
        ui.label("Seed", "x + 100 * y of the point in the plane of latents")
        ui.width(8)
        before_seed = col + SEEDS_PER_ROW * row
        seed = ui.input_int("##seed", before_seed)
        if seed != before_seed:
            view = replace(view, x=seed + view.x - col, y=view.y - row)
            col, row = seed, 0
        ui.same_line()
        dx, dy = ui.drag_button("Drag", 4, "Press and drag; or drag the picture itself")
        view = self.drag(view, dx, dy)
        ui.same_line()
        if ui.button("Reset##latent", 4):
            view = replace(view, x=0, y=0)

        ui.label("Fraction", "How far the point is on the way to the next seeds")
        ui.fill_width()
        before = (float(view.x - np.floor(view.x)), float(view.y - np.floor(view.y)))
        fraction = ui.slider2("##fraction", before, 0, 0.999)
        if fraction != before:
            x, y = (float(np.clip(value, 0, 0.999)) for value in fraction)
            view = replace(view, x=float(np.floor(view.x) + x), y=float(np.floor(view.y) + y))

        ui.label("Animate", "Move through the seeds")
        state.is_animated = ui.checkbox("##animate latent", state.is_animated)
        ui.same_line()
        ui.width(8)
        state.speed = ui.speed_slider("##speed", state.speed, MAX_SPEED, "%.3f seeds/s")
        ui.same_line()
        if ui.button("Snap", 4, "Go to the nearest seed"):
            view = replace(view, x=float(np.rint(view.x)), y=float(np.rint(view.y)))
        return self._draw_class(ui, view, result)

    def drag(self, view: View, dx: float, dy: float) -> View:
        """Move the point by a movement of the mouse in font sizes."""
        if dx == dy == 0 or view.latents is not None:
            return view
        return replace(view, x=view.x + dx * SEEDS_PER_EM, y=view.y + dy * SEEDS_PER_EM)

    def _draw_class(self, ui: Toolkit, view: View, result: Result | None) -> View:
        info = result.network if result is not None else None
        if info is None or info.c_dim == 0:
            return view
        ui.label("Class", "By number, or by the name that the dataset gives it")
        ui.width(7 if info.class_names else 13.5)
        class_idx = min(max(ui.input_int("##class", view.class_idx), 0), info.c_dim - 1)
        ui.same_line()
        if info.class_names:
            ui.fill_width()
            none = "no class of this name"
            class_idx = ui.searched_choice("##class name", class_idx, info.class_names, none)
        else:
            ui.text(f"of {info.c_dim}")
        return replace(view, class_idx=class_idx)
