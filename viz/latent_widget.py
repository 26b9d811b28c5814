"""Where in the plane of latents: seed, fraction, class; dragged or animated."""

from dataclasses import dataclass, replace

import numpy as np
from imgui_bundle import imgui

from gui_utils import controls
from viz.renderer import SEEDS_PER_ROW, Result, View

SEEDS_PER_EM = 0.1  # dragging by ten times the font size leads to the next seed


@dataclass
class LatentState:
    """Motion: whether, and how fast in seeds per second."""

    is_animated: bool = False
    speed: float = 0.25


class LatentWidget:
    """The pane "Latent"."""

    title = "Latent"

    def __init__(self) -> None:
        self.state = LatentState()

    @property
    def is_animated(self) -> bool:
        """Whether frames are needed all the time."""
        return self.state.is_animated

    def draw(self, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane; returns what is to be rendered now."""
        state = self.state
        if state.is_animated:
            view = replace(view, x=view.x + state.speed * elapsed_sec)
        col, row = int(np.floor(view.x)), int(np.floor(view.y))
        controls.label("Seed", "x + 100 * y of the point in the plane of latents")
        imgui.set_next_item_width(controls.em(8))
        changed, seed = imgui.input_int("##seed", col + SEEDS_PER_ROW * row)
        if changed:
            view = replace(view, x=seed + view.x - col, y=view.y - row)
            col, row = seed, 0
        imgui.same_line()
        dx, dy = controls.drag_button("Drag", 4, "Press and drag; or drag the picture itself")
        view = self.drag(view, dx, dy)
        imgui.same_line()
        if controls.button("Reset##latent", 4):
            view = replace(view, x=0, y=0)

        controls.label("Fraction", "How far the point is on the way to the next seeds")
        controls.fill_width()
        fraction = [view.x - np.floor(view.x), view.y - np.floor(view.y)]
        changed, fraction = imgui.slider_float2("##fraction", fraction, 0, 0.999, "%.3f")
        if changed:
            x, y = (float(np.clip(value, 0, 0.999)) for value in fraction)
            view = replace(view, x=np.floor(view.x) + x, y=np.floor(view.y) + y)

        controls.label("Animate", "Move through the seeds")
        _, state.is_animated = imgui.checkbox("##animate latent", state.is_animated)
        imgui.same_line()
        imgui.set_next_item_width(controls.em(8))
        state.speed = controls.slider("##speed", state.speed, -2, 2, "%.2f seeds/s")
        imgui.same_line()
        if controls.button("Snap", 4, "Go to the nearest seed"):
            view = replace(view, x=float(np.rint(view.x)), y=float(np.rint(view.y)))
        return self._draw_class(view, result)

    def drag(self, view: View, dx: float, dy: float) -> View:
        """Move the point with the mouse, which moved by so many font sizes."""
        if dx == dy == 0:
            return view
        return replace(view, x=view.x + dx * SEEDS_PER_EM, y=view.y + dy * SEEDS_PER_EM)

    def _draw_class(self, view: View, result: Result | None) -> View:
        num_classes = result.network.c_dim if result is not None and result.network else 0
        if num_classes == 0:
            return view
        controls.label("Class")
        controls.fill_width()
        _, class_idx = imgui.slider_int("##class", view.class_idx, 0, num_classes - 1)
        return replace(view, class_idx=min(max(class_idx, 0), num_classes - 1))
