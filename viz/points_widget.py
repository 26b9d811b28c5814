"""Drag points of the picture to other places, and watch the picture follow."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from gui_utils.inputs import Pointer
from gui_utils.toolkit import Toolkit
from viz.frozen_array import FrozenArray
from viz.renderer import Result, View
from viz.view import Drag, DragProgress, base_of, rendered

MAX_BRUSH = 0.5  # radius, in fractions of the image
MIN_BRUSH_PIXELS = 0.8


@dataclass
class PointsState:
    """What the mouse does in the picture, and what goes on.

    Attributes:
        mode: Place points, paint the part that may change, or neither.
        is_running: Whether the points move.
        held: Number of the pair of points whose target the mouse holds.
        brush: Radius of the brush, in fractions of the image.
    """

    mode: Literal["points", "mask"] | None = None
    is_running: bool = False
    held: int | None = None
    brush: float = 0.08


class PointsWidget:
    """The lower half of the pane "Directions & points".

    Attributes:
        is_folded: Whether the pane is folded; then it does nothing.
    """

    def __init__(self) -> None:
        self.state = PointsState()
        self.is_folded = True

    @property
    def is_animated(self) -> bool:
        """Whether the points move."""
        return self.state.is_running

    @property
    def takes_mouse(self) -> bool:
        """Whether the left mouse button belongs to this pane."""
        return self.state.mode is not None and not self.is_folded

    def stop(self) -> None:
        """Let the points rest."""
        self.state.is_running, self.state.held = False, None

    def follow(self, view: View) -> View:
        """Take the points back to their start if the image without them has changed.

        Points and mask of another network are dropped: its images may have another size.
        """
        drag = view.drag
        if self.is_folded:
            self.stop()
        if drag is None or drag.base == base_of(view):
            return view
        self.stop()
        if drag.base.network != view.network:
            return replace(view, drag=None)
        return replace(view, drag=Drag(base_of(view), drag.points, drag.targets, drag.mask))

    def shown(self, view: View, result: Result) -> Drag | None:
        """The drag to draw over a picture, its points where the picture has them; None for none."""
        drag = view.drag
        if drag is None or not _is_plain(result.view) or base_of(result.view) != drag.base:
            return None
        if (progress := _progress_of(drag, result)) is not None:
            return replace(drag, points=progress.points)
        return drag

    def draw(self, ui: Toolkit, view: View, result: Result | None) -> View:
        """Draw the controls, and return the view to render now."""
        self.is_folded = False
        reason = _obstacle(view, result)
        self._draw_mouse(ui, reason)
        view = self._draw_actions(ui, view, result, reason)
        if reason:
            self.stop()
        self._draw_status(ui, view, result)
        return self._advanced(view, result)

    def _draw_mouse(self, ui: Toolkit, reason: str) -> None:
        state = self.state
        ui.label("Mouse", "What the left mouse button does in the picture")
        with ui.disabled(reason != "", reason):
            is_on = state.mode == "points"
            hint = "Press on a point of the picture, and drag to where it shall go"
            if ui.toggle("Set points", is_on, 6.5, hint) != is_on:
                state.mode = None if is_on else "points"
            ui.same_line()
            is_on = state.mode == "mask"
            hint = "Paint the part of the picture that may change; without paint, all of it may"
            if ui.toggle("Paint mask", is_on, 6.5, hint) != is_on:
                state.mode = None if is_on else "mask"
            if state.mode == "mask":
                ui.same_line()
                ui.fill_width()
                radius = ui.slider("##brush", state.brush, 0.01, MAX_BRUSH, "radius %.2f")
                state.brush = min(max(radius, 0.01), MAX_BRUSH)

    def _draw_actions(self, ui: Toolkit, view: View, result: Result | None, reason: str) -> View:
        state, drag = self.state, view.drag
        is_late = drag is not None and _settled(drag, result) is None
        waits = reason or ("the picture is on its way" if is_late else "")
        ui.label("Points")
        hindrance = waits or _hindrance(drag)
        with ui.disabled(hindrance != "" and not state.is_running, hindrance):
            name = "Stop" if state.is_running else "Start"
            if ui.button(f"{name}##points", 3.8, "Let the points go to their targets"):
                state.is_running = not state.is_running
                if state.is_running:  # the steps begin where the picture is
                    view = _changed(view, result)
        ui.same_line()
        has_points = drag is not None and len(drag.points) > 0
        with ui.disabled(waits != "" or not has_points, waits or "there are no points"):
            if ui.button("Clear##points", 3.8, "Forget the points; the picture stays"):
                view, state.is_running = _changed(view, result, points=(), targets=()), False
        ui.same_line()
        has_mask = drag is not None and drag.mask is not None
        with ui.disabled(waits != "" or not has_mask, waits or "nothing is painted"):
            if ui.button("No mask", 4.8, "Let all of the picture change"):
                view = _changed(view, result, mask=None)
        ui.same_line()
        with ui.disabled(drag is None, "nothing was dragged"):
            if ui.button("Reset##points", 3.8, "The picture as it was, without points"):
                view, state.is_running = replace(view, drag=None), False
        return view

    def _draw_status(self, ui: Toolkit, view: View, result: Result | None) -> None:
        drag = view.drag
        if drag is None or not drag.points:
            ui.text("Press on the picture to set points" if self.state.mode else " ")
            return
        progress = None if result is None else _progress_of(drag, result)
        if progress is None or drag.num_steps == 0:
            ui.text(f"{drag.num_steps} steps" if drag.num_steps else " ")
        elif progress.is_done:
            ui.text(f"arrived after {drag.num_steps} steps")
        else:
            ui.text(f"{drag.num_steps} steps, {progress.distance:.1f} pixels to go")

    def _advanced(self, view: View, result: Result | None) -> View:
        """Take the next step if the last one is on screen."""
        state, drag = self.state, view.drag
        if drag is None or not drag.points or result is None:
            state.is_running = False
        elif state.is_running and state.held is None and rendered(view) == result.view:
            progress = _progress_of(drag, result)
            if drag.num_steps > 0 and (progress is None or progress.is_done):
                state.is_running = False
            else:
                return replace(view, drag=replace(drag, num_steps=drag.num_steps + 1))
        return view

    def handle(self, view: View, result: Result | None, pointer: Pointer) -> View:
        """Set points, or paint, on the picture that is on screen."""
        if not pointer.is_held and self.state.held is None:
            return view
        if result is None or _obstacle(view, result) or base_of(result.view) != base_of(view):
            return view
        if view.drag is not None and _settled(view.drag, result) is None:
            return view
        if self.state.mode == "mask":
            return self._paint(view, result, pointer) if pointer.is_held else view
        return self._place(view, result, pointer)

    def _place(self, view: View, result: Result, pointer: Pointer) -> View:
        """A press begins a pair of points, or takes hold of a target; then the target follows."""
        state = self.state
        if pointer.is_pressed:
            view = _changed(view, result)
            drag = view.drag or Drag(base_of(view))
            distances = [math.dist(pointer.position, target) for target in drag.targets]
            if distances and min(distances) < pointer.reach:
                state.held = distances.index(min(distances))
                return view
            state.held = len(drag.points)
            points = (*drag.points, pointer.position)
            targets = (*drag.targets, pointer.position)
            return replace(view, drag=replace(drag, points=points, targets=targets))
        if state.held is None or view.drag is None or state.held >= len(view.drag.points):
            state.held = None
            return view
        held, pairs = state.held, list(zip(view.drag.points, view.drag.targets, strict=True))
        if pointer.is_held:
            pairs[held] = (pairs[held][0], pointer.position)
        else:
            state.held = None
            if math.dist(*pairs[held]) < pointer.reach / 4:  # a click is no way
                del pairs[held]
        points, targets = (tuple(pair[side] for pair in pairs) for side in (0, 1))
        return replace(view, drag=replace(view.drag, points=points, targets=targets))

    def _paint(self, view: View, result: Result, pointer: Pointer) -> View:
        assert result.image is not None
        height, width, _ = result.image.shape
        view = _changed(view, result)
        drag = view.drag or Drag(base_of(view))
        mask = np.zeros([height, width], bool) if drag.mask is None else drag.mask.array()
        rows, columns = np.ogrid[0.5:height, 0.5:width]
        x, y = pointer.position
        radius = max(self.state.brush * width, MIN_BRUSH_PIXELS)
        painted = mask | ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)
        if drag.mask is not None and (painted == mask).all():
            return view
        return replace(view, drag=replace(drag, mask=FrozenArray.of(painted)))


def _is_plain(view: View) -> bool:
    """Whether the picture of a view is the image itself, in its own place."""
    return view.layer is None and not view.fft and not view.untransform


def _obstacle(view: View, result: Result | None) -> str:
    """Why the picture has no points that could be dragged; empty if it has."""
    if view.layer is not None:
        return "a layer is shown, not the image"
    if view.fft:
        return "the spectrum is shown, not the image"
    if view.untransform:
        return "Untransform moves the picture"
    if result is None or result.image is None:
        return "there is no picture"
    return "" if _is_plain(result.view) else "the picture is on its way"


def _hindrance(drag: Drag | None) -> str:
    """Why the points cannot start; empty if they can."""
    if drag is None or not drag.points:
        return "set points first"
    if drag.mask is not None:
        mask = drag.mask.array()
        height, width = mask.shape
        for x, y in drag.points:
            if not mask[min(int(y), height - 1), min(int(x), width - 1)]:
                return "a point is outside the painted part: paint around it, or No mask"
    return ""


def _progress_of(drag: Drag, result: Result) -> DragProgress | None:
    """Where a result has the points of a drag; None if the result shows another drag."""
    shown = result.view.drag
    if shown is None or replace(shown, num_steps=0) != replace(drag, num_steps=0):
        return None
    return result.drag


def _settled(drag: Drag, result: Result | None) -> Drag | None:
    """The drag begun anew where the picture is; None if the picture does not show it yet.

    Points and mask can then change, and the picture stays.
    """
    if drag.num_steps == 0:
        return drag
    if result is None or result.ws is None or result.view.drag is None:
        return None
    progress = _progress_of(drag, result)
    if progress is None:
        return None
    start = FrozenArray.of(result.ws)
    return replace(drag, points=progress.points, start=start, num_steps=0)


def _changed(view: View, result: Result | None, **changes: Any) -> View:
    """Change points or mask; the picture stays as it is now."""
    if view.drag is None:
        return view
    settled = _settled(view.drag, result)
    return view if settled is None else replace(view, drag=replace(settled, **changes))
