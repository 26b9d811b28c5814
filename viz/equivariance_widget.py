"""Move and turn the content, to see whether the details move along."""

from dataclasses import dataclass, replace

import numpy as np

from gui_utils.toolkit import Toolkit
from viz.renderer import Result, View

FAST, SLOW = 1 / 20, 1 / 400  # images per font size of mouse movement
DEGREES = 90  # rotation for the movement that translates by one image
MAX_SPEED = 1  # images per second
MAX_TURN_SPEED = 180  # degrees per second


@dataclass
class EquivarianceState:
    """The transform before rounding, and its speed."""

    x: float = 0
    y: float = 0
    angle: float = 0
    is_moving: bool = False
    speed: tuple[float, float] = (0.05, 0.03)
    is_rounded: bool = False
    is_turning: bool = False
    turn_speed: float = 10
    is_turn_rounded: bool = False


class EquivarianceWidget:
    """The pane "Equivariance"."""

    title = "Equivariance"

    def __init__(self) -> None:
        self.state = EquivarianceState()
        self._returned = ((0.0, 0.0), 0.0)
        self._is_possible = False

    @property
    def is_animated(self) -> bool:
        """Whether the pane needs continuous frames."""
        return self._is_possible and (self.state.is_moving or self.state.is_turning)

    def draw(self, ui: Toolkit, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        if (view.translate, view.rotate) != self._returned:  # by an option, or undone
            (self.state.x, self.state.y), self.state.angle = view.translate, view.rotate
        info = result.network if result is not None else None
        is_possible = self._is_possible = info is not None and info.has_transform
        reason = "this network has no input transform" if info is not None else ""
        with ui.disabled(not is_possible, reason):
            self._draw_translation(ui, elapsed_sec if is_possible else 0)
            self._draw_rotation(ui, elapsed_sec if is_possible else 0)
            ui.label("Undo", "Move the finished picture back: what still moves is glued")
            untransform = ui.checkbox("Untransform", view.untransform)
            ui.same_line()
            if ui.button("Reset##transform", 5):
                self.state = EquivarianceState(
                    speed=self.state.speed, turn_speed=self.state.turn_speed
                )
        state = self.state
        translate, angle = (state.x, state.y), state.angle
        if state.is_rounded and info is not None:
            size = info.img_resolution
            translate = _rounded(state.x, size), _rounded(state.y, size)
        if state.is_turn_rounded:
            angle = float(np.rint(angle / 90) * 90)
        self._returned = (translate, angle)
        return replace(view, translate=translate, rotate=angle, untransform=untransform)

    def _draw_translation(self, ui: Toolkit, elapsed_sec: float) -> None:
        state = self.state
        if state.is_moving:
            state.x = _wrap(state.x + state.speed[0] * elapsed_sec, 0.5)
            state.y = _wrap(state.y + state.speed[1] * elapsed_sec, 0.5)
        ui.label("Translate", "x and y, in fractions of the image")
        ui.fill_width(5)
        state.x, state.y = ui.drag2("##translate", (state.x, state.y), 0.002)
        ui.same_line()
        state.is_rounded = ui.checkbox("Round##translate", state.is_rounded)
        ui.hint("To whole pixels")
        ui.label("")
        dx, dy = _drag_buttons(ui, "translate")
        state.x, state.y = state.x + dx, state.y + dy
        state.is_moving = ui.checkbox("Animate##translate", state.is_moving)
        if state.is_moving:
            ui.label("Speed", "x and y, in images per second")
            ui.fill_width()
            state.speed = ui.speed_slider2("##speed of translation", state.speed, MAX_SPEED, "%.3f")

    def _draw_rotation(self, ui: Toolkit, elapsed_sec: float) -> None:
        state = self.state
        if state.is_turning:
            state.angle = _wrap(state.angle + state.turn_speed * elapsed_sec, 180)
        ui.label("Rotate", "Counterclockwise")
        ui.fill_width(5)
        state.angle = ui.drag("##rotate", state.angle, 0.25, "%.2f°")
        ui.same_line()
        state.is_turn_rounded = ui.checkbox("Round##rotate", state.is_turn_rounded)
        ui.hint("To multiples of 90 degrees")
        ui.label("")
        state.angle += _drag_buttons(ui, "rotate")[0] * DEGREES
        state.is_turning = ui.checkbox("Animate##rotate", state.is_turning)
        if state.is_turning:
            ui.label("Speed")
            ui.fill_width()
            state.turn_speed = ui.speed_slider(
                "##speed of rotation", state.turn_speed, MAX_TURN_SPEED, "%.2f°/s"
            )


def _rounded(value: float, size: int) -> float:
    return float(np.rint(value * size) / size)


def _drag_buttons(ui: Toolkit, what: str) -> tuple[float, float]:
    """Draw two buttons to drag, fast and slow; returns the movement in images, in x and y."""
    x = y = 0.0
    for name, images_per_em in (("Drag fast", FAST), ("Drag slow", SLOW)):
        dx, dy = ui.drag_button(f"{name}##{what}", 5.5)
        x, y = x + dx * images_per_em, y + dy * images_per_em
        ui.same_line()
    return x, y


def _wrap(value: float, limit: float) -> float:
    return (value + limit) % (2 * limit) - limit
