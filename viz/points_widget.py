"""Drag points of the picture to other places, and watch the picture follow."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from imgui_bundle import imgui

from gui_utils import controls
from viz.frozen_array import FrozenArray
from viz.picture_pane import Pointer
from viz.renderer import Result, View
from viz.view import Drag, Point, base_of

MAX_BRUSH = 0.5  # radius, in fractions of the image


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
    """The pane "Points"."""

    title = "Points"

    def __init__(self) -> None:
        self.state = PointsState()
        self._is_possible = False

    @property
    def is_animated(self) -> bool:
        """Whether the points move."""
        return self.state.is_running

    @property
    def takes_mouse(self) -> bool:
        """Whether the left mouse button belongs to this pane."""
        return self._is_possible and self.state.mode is not None

    def follow(self, view: View) -> View:
        """Take the points back to their start if the image without them has changed."""
        drag = view.drag
        if drag is None or drag.base == base_of(view):
            return view
        self.state.is_running = False
        return replace(view, drag=Drag(base_of(view), drag.points, drag.targets, drag.mask))

    def draw(self, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        state = self.state
        reason = _obstacle(view, result)
        self._is_possible = reason == ""
        with controls.disabled(not self._is_possible, reason):
            self._draw_modes()
            view = self._draw_actions(view, result)
        if not self._is_possible:
            state.is_running = False
            return view
        return self._advanced(view, result)

    def _draw_modes(self) -> None:
        state = self.state
        controls.label("Mouse", "What the left mouse button does in the picture")
        is_on = state.mode == "points"
        hint = "Press on a point of the picture, and drag to where it shall go"
        if controls.toggle("Set points", is_on, 6.5, hint) != is_on:
            state.mode = None if is_on else "points"
        imgui.same_line()
        is_on = state.mode == "mask"
        hint = "Paint the part of the picture that may change; without paint, all of it may"
        if controls.toggle("Paint mask", is_on, 6.5, hint) != is_on:
            state.mode = None if is_on else "mask"
        if state.mode == "mask":
            imgui.same_line()
            controls.fill_width()
            state.brush = controls.slider("##brush", state.brush, 0.01, MAX_BRUSH, "radius %.2f")

    def _draw_actions(self, view: View, result: Result | None) -> View:
        state, drag = self.state, view.drag
        has_points = drag is not None and len(drag.points) > 0
        controls.label("Points")
        with controls.disabled(not has_points, "set points first"):
            name = "Stop" if state.is_running else "Start"
            if controls.button(f"{name}##points", 3.8, "Let the points go to their targets"):
                state.is_running = not state.is_running
            imgui.same_line()
            if controls.button("Clear##points", 3.8, "Forget the points; the picture stays"):
                assert drag is not None
                view = _with(view, result, points=(), targets=())
        state.is_running &= view.drag is not None and len(view.drag.points) > 0
        imgui.same_line()
        with controls.disabled(drag is None or drag.mask is None, "nothing is painted"):
            if controls.button("No mask", 4.8, "Let all of the picture change"):
                view = _with(view, result, mask=None)
        imgui.same_line()
        with controls.disabled(drag is None, "nothing to undo"):
            if controls.button("Reset##points", 3.8, "The picture as it was, without points"):
                view, state.is_running = replace(view, drag=None), False
        return view

    def _advanced(self, view: View, result: Result | None) -> View:
        """Say how far the points are; take the next step if the last one is on screen."""
        state, drag = self.state, view.drag
        if drag is None or not drag.points or result is None:
            imgui.text_disabled("Press on the picture to set points" if state.mode else " ")
            return view
        progress = result.drag
        if result.view.drag == drag and progress is not None:
            if progress.is_done:
                text = f"arrived after {drag.num_steps} steps"
            else:
                text = f"{drag.num_steps} steps, {progress.distance:.1f} pixels to go"
            imgui.text_disabled(text)
        else:
            imgui.text_disabled(f"{drag.num_steps} steps")
        if not state.is_running or result.view != view:
            return view
        if progress is None or progress.is_done:
            state.is_running = False
            return view
        return replace(view, drag=replace(drag, num_steps=drag.num_steps + 1))

    def handle(self, view: View, result: Result | None, pointer: Pointer) -> View:
        """Set points, or paint."""
        if result is None or result.image is None:
            return view
        if self.state.mode == "mask":
            return self._paint(view, result, pointer)
        return self._place(view, result, pointer)

    def _place(self, view: View, result: Result, pointer: Pointer) -> View:
        """A press begins a pair of points, or takes hold of a target; then the target follows."""
        state = self.state
        if pointer.is_pressed:
            view = _settled(view, result)
            drag = view.drag or Drag(base_of(view))
            distances = [math.dist(pointer.position, target) for target in drag.targets]
            if distances and min(distances) < pointer.reach:
                state.held = distances.index(min(distances))
            else:
                state.held = len(drag.points)
                points = (*drag.points, pointer.position)
                drag = replace(drag, points=points, targets=(*drag.targets, pointer.position))
            return replace(view, drag=drag)
        if state.held is None or view.drag is None or state.held >= len(view.drag.points):
            return view
        drag = view.drag
        if pointer.is_held:
            return replace(view, drag=_moved(drag, state.held, pointer.position))
        point, target = drag.points[state.held], drag.targets[state.held]
        if math.dist(point, target) < pointer.reach / 4:  # a click is no way
            drag = _without(drag, state.held)
        state.held = None
        return replace(view, drag=drag)

    def _paint(self, view: View, result: Result, pointer: Pointer) -> View:
        if not pointer.is_held:
            return view
        assert result.image is not None
        height, width, _ = result.image.shape
        view = _settled(view, result)
        drag = view.drag or Drag(base_of(view))
        mask = np.zeros([height, width], bool) if drag.mask is None else drag.mask.array()
        rows, columns = np.ogrid[0.5:height, 0.5:width]
        x, y = pointer.position
        painted = (columns - x) ** 2 + (rows - y) ** 2 <= max(self.state.brush * width, 0.8) ** 2
        return replace(view, drag=replace(drag, mask=FrozenArray.of(mask | painted)))


def _obstacle(view: View, result: Result | None) -> str:
    """Why the picture has no points that could be dragged; empty if it has."""
    if result is None or result.image is None:
        return "there is no picture"
    if view.layer is not None:
        return "a layer is shown, not the image"
    if view.fft:
        return "the spectrum is shown, not the image"
    if view.untransform:
        return "Untransform moves the picture"
    return ""


def _with(view: View, result: Result | None, **changes) -> View:  # type: ignore[no-untyped-def]
    """Change points or mask; the picture stays as it is now."""
    view = _settled(view, result)
    return replace(view, drag=replace(view.drag or Drag(base_of(view)), **changes))


def _settled(view: View, result: Result | None) -> View:
    """Begin anew where the drag has led; points and mask can then change, and the picture stays."""
    drag = view.drag
    if drag is None or drag.num_steps == 0 or result is None:
        return view
    if result.drag is None or result.ws is None or result.view.drag is None:
        return view
    start = FrozenArray.of(result.ws)
    points = result.drag.points
    return replace(view, drag=replace(drag, points=points, start=start, num_steps=0))


def _moved(drag: Drag, idx: int, target: Point) -> Drag:
    return replace(drag, targets=(*drag.targets[:idx], target, *drag.targets[idx + 1 :]))


def _without(drag: Drag, idx: int) -> Drag:
    points, targets = (pairs[:idx] + pairs[idx + 1 :] for pairs in (drag.points, drag.targets))
    return replace(drag, points=points, targets=targets)
