"""Input helpers: labelled rows, buttons to drag on, tooltips, graphs."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from imgui_bundle import imgui

LABEL_EMS = 6.5  # width of the column of labels
NO_NUMBER = " "  # a format that shows nothing
MAX_INT = 2**53  # whole numbers are exact up to here in double precision
SPEED_FLAGS = imgui.SliderFlags_.logarithmic | imgui.SliderFlags_.always_clamp

_are_blank = False  # whether numbers are shown, see `blank`


def em(count: float = 1) -> float:
    """Multiples of the font size, in screen coordinates."""
    return count * imgui.get_font_size()


def label(name: str, tooltip: str = "") -> None:
    """Begin a row with its name; the next controls follow to the right."""
    start = imgui.get_cursor_pos_x()
    imgui.align_text_to_frame_padding()
    imgui.text_unformatted(name)
    hint(tooltip)
    imgui.same_line()
    imgui.set_cursor_pos_x(start + em(LABEL_EMS))


def hint(tooltip: str, *, is_disabled: bool = False) -> None:
    """Explain the last control while the mouse rests on it.

    The text appears to the right of the control's window, so that it covers no other control.
    """
    flags = imgui.HoveredFlags_.for_tooltip
    if is_disabled:
        flags |= imgui.HoveredFlags_.allow_when_disabled
    if not tooltip or not imgui.is_item_hovered(flags):
        return
    right = imgui.get_window_pos().x + imgui.get_window_width()
    room = imgui.get_io().display_size.x - right - em(2)
    imgui.set_next_window_pos((right + em(0.4), imgui.get_item_rect_min().y))
    if imgui.begin_tooltip():
        imgui.push_text_wrap_pos(max(min(room, em(30)), em(8)))
        imgui.text_unformatted(tooltip)
        imgui.pop_text_wrap_pos()
        imgui.end_tooltip()


def fill_width(rest_ems: float = 0) -> None:
    """Give the next control the remaining width, less `rest_ems`."""
    imgui.set_next_item_width(max(imgui.get_content_region_avail().x - em(rest_ems), em(2)))


def button(name: str, width_ems: float = 5, tooltip: str = "") -> bool:
    """Draw a button of a given width, and return whether it was clicked."""
    clicked = imgui.button(name, (em(width_ems), 0))
    hint(tooltip)
    return clicked


def toggle(name: str, is_on: bool, width_ems: float, tooltip: str = "") -> bool:
    """Draw a button that stays pressed, and return whether it is pressed now."""
    if is_on:
        imgui.push_style_color(imgui.Col_.button, imgui.get_style_color_vec4(imgui.Col_.check_mark))
    clicked = button(name, width_ems, tooltip)
    if is_on:
        imgui.pop_style_color()
    return is_on != clicked


def drag_button(name: str, width_ems: float = 5, tooltip: str = "") -> tuple[float, float]:
    """Draw a button to press and drag; returns the movement of the mouse, in font sizes."""
    imgui.button(name, (em(width_ems), 0))
    hint(tooltip)
    return drag_delta()


def drag_delta(button: int = imgui.MouseButton_.left) -> tuple[float, float]:
    """Movement of a mouse that drags the last control, since the last frame, in font sizes."""
    if not (imgui.is_item_active() and imgui.is_mouse_down(button)):
        return 0.0, 0.0
    delta = imgui.get_io().mouse_delta
    return delta.x / em(), delta.y / em()


def input_int(name: str, value: int) -> int:
    """Draw a whole number with buttons; returns its new value."""
    if _are_blank:
        imgui.input_text(name, "")
        return value
    # Dear ImGui's integers end at 2**31 - 1, but seeds at 2**32 - 1.
    changed, number = imgui.input_double(name, value, 1, 100, "%.0f")
    if not changed or not math.isfinite(number):
        return value
    return int(min(max(number, -MAX_INT), MAX_INT))


def slider_int(name: str, value: int, low: int, high: int, form: str = "%d") -> int:
    """Draw a slider for whole numbers; returns its new value."""
    changed, number = imgui.slider_int(name, value, low, high, _shown(form))
    return number if changed else value


def slider_int2(name: str, value: tuple[int, int], low: int, high: int) -> tuple[int, int]:
    """Draw two sliders for whole numbers."""
    changed, (x, y) = imgui.slider_int2(name, list(value), low, high)
    return (x, y) if changed else value


def slider(name: str, value: float, low: float, high: float, form: str = "%.2f") -> float:
    """Draw a slider; returns the shown value, or exactly `value` if the slider is not touched."""
    return _edited(imgui.slider_float(name, value, low, high, _shown(form)), value)


def slider2(
    name: str, value: tuple[float, float], low: float, high: float, form: str = "%.3f"
) -> tuple[float, float]:
    """Draw two sliders side by side, like `slider`."""
    return _edited2(imgui.slider_float2(name, list(value), low, high, _shown(form)), value)


def speed_slider(name: str, value: float, limit: float, form: str) -> float:
    """Draw a slider from `-limit` to `limit` that is finer near zero, like `slider`."""
    return _edited(imgui.slider_float(name, value, -limit, limit, _shown(form), SPEED_FLAGS), value)


def speed_slider2(
    name: str, value: tuple[float, float], limit: float, form: str
) -> tuple[float, float]:
    """Draw two sliders side by side, like `speed_slider`."""
    edit = imgui.slider_float2(name, list(value), -limit, limit, _shown(form), SPEED_FLAGS)
    return _edited2(edit, value)


def drag(name: str, value: float, speed: float, form: str = "%.3f") -> float:
    """Draw a number to drag or to type, without limits, like `slider`."""
    return _edited(imgui.drag_float(name, value, speed, 0, 0, _shown(form)), value)


def drag2(
    name: str, value: tuple[float, float], speed: float, form: str = "%.3f"
) -> tuple[float, float]:
    """Draw two numbers, like `drag`."""
    return _edited2(imgui.drag_float2(name, list(value), speed, 0, 0, _shown(form)), value)


@contextmanager
def disabled(is_disabled: bool = True, reason: str = "") -> Iterator[None]:
    """Grey out the controls inside; a tooltip says why."""
    imgui.begin_group()
    imgui.begin_disabled(is_disabled)
    try:
        yield
    finally:
        imgui.end_disabled()
        imgui.end_group()
    if is_disabled:
        hint(reason, is_disabled=True)


@contextmanager
def blank(is_blank: bool) -> Iterator[None]:
    """Grey out the controls inside and hide their numbers, which mean nothing yet."""
    global _are_blank
    before, _are_blank = _are_blank, _are_blank or is_blank
    imgui.begin_disabled(is_blank)
    marks = (imgui.Col_.slider_grab, imgui.Col_.check_mark) if is_blank else ()
    for mark in marks:
        imgui.push_style_color(mark, (0, 0, 0, 0))
    try:
        yield
    finally:
        imgui.pop_style_color(len(marks))
        imgui.end_disabled()
        _are_blank = before


def open_popup_below(name: str) -> None:
    """Open a popup under the last control."""
    low, high = imgui.get_item_rect_min(), imgui.get_item_rect_max()
    imgui.open_popup(name)
    imgui.set_next_window_pos((low.x, high.y + em(0.2)))


def graph(name: str, values_ms: Sequence[float], overlay: str, height_ems: float = 2.6) -> None:
    """Draw a graph of times over the remaining width, from zero to a bit above the largest."""
    values = np.asarray(values_ms, dtype=np.float32)
    top = float(values.max()) * 1.2 + 1e-3 if len(values) else 1.0
    size = (imgui.get_content_region_avail().x, em(height_ems))
    imgui.plot_lines(name, values, 0, overlay, 0.0, top, size)


def _shown(form: str) -> str:
    return NO_NUMBER if _are_blank else form


def _edited(edit: tuple[bool, float], old: float) -> float:
    """Round to six digits: in Dear ImGui's single precision 0.7 comes back as 0.699999988."""
    changed, value = edit
    return round(value, 6) if changed and math.isfinite(value) else old


def _edited2(edit: tuple[bool, list[float]], old: tuple[float, float]) -> tuple[float, float]:
    changed, new = edit
    if not changed or not all(map(math.isfinite, new)):
        return old
    # Both numbers come back in single precision, even if only one was edited.
    x, y = (
        before if abs(edited - before) < 1e-6 else round(edited, 6)
        for edited, before in zip(new, old, strict=True)
    )
    return x, y
