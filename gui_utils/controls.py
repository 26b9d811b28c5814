"""Input helpers: labelled rows, buttons to drag on, tooltips, graphs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from imgui_bundle import imgui

LABEL_EMS = 6.5  # width of the column of labels


def em(count: float = 1) -> float:
    """So many font sizes, in screen coordinates."""
    return count * imgui.get_font_size()


def label(name: str, tooltip: str = "") -> None:
    """Begin a row: its name, and then what follows to the right of it."""
    start = imgui.get_cursor_pos_x()
    imgui.align_text_to_frame_padding()
    imgui.text_unformatted(name)
    hint(tooltip)
    imgui.same_line()
    imgui.set_cursor_pos_x(start + em(LABEL_EMS))


def hint(tooltip: str) -> None:
    """Explain the last control while the mouse rests on it."""
    if tooltip and imgui.is_item_hovered(imgui.HoveredFlags_.for_tooltip):
        imgui.set_tooltip(tooltip)


def fill_width(rest_ems: float = 0) -> None:
    """Let the next control take the width that is left, less `rest_ems`."""
    imgui.set_next_item_width(max(imgui.get_content_region_avail().x - em(rest_ems), em(2)))


def button(name: str, width_ems: float = 5, tooltip: str = "") -> bool:
    """A button of a given width; whether it was clicked."""
    clicked = imgui.button(name, (em(width_ems), 0))
    hint(tooltip)
    return clicked


def drag_button(name: str, width_ems: float = 5, tooltip: str = "") -> tuple[float, float]:
    """A button to press and drag; how far the mouse has moved meanwhile, in font sizes."""
    imgui.button(name, (em(width_ems), 0))
    hint(tooltip)
    return drag_delta()


def drag_delta() -> tuple[float, float]:
    """How far the mouse has dragged the last control since the last frame, in font sizes."""
    if not (imgui.is_item_active() and imgui.is_mouse_down(imgui.MouseButton_.left)):
        return 0.0, 0.0
    delta = imgui.get_io().mouse_delta
    return delta.x / em(), delta.y / em()


def slider(name: str, value: float, low: float, high: float, form: str = "%.2f") -> float:
    """A slider; untouched it returns exactly `value`, else what it shows."""
    return _edited(imgui.slider_float(name, value, low, high, form), value)


def drag(name: str, value: float, speed: float, form: str = "%.3f") -> float:
    """A number to drag or to type, without limits; else as `slider`."""
    return _edited(imgui.drag_float(name, value, speed, 0, 0, form), value)


def drag2(
    name: str, value: tuple[float, float], speed: float, form: str = "%.3f"
) -> tuple[float, float]:
    """Two numbers, as `drag`."""
    changed, new = imgui.drag_float2(name, list(value), speed, 0, 0, form)
    if not changed:
        return value
    # Both come back in single precision, though only one was edited.
    x, y = (
        old if abs(edited - old) < 1e-6 else round(edited, 6)
        for edited, old in zip(new, value, strict=True)
    )
    return x, y


@contextmanager
def disabled(is_disabled: bool = True, reason: str = "") -> Iterator[None]:
    """Grey out what is drawn inside, and say why at the mouse."""
    imgui.begin_group()
    imgui.begin_disabled(is_disabled)
    try:
        yield
    finally:
        imgui.end_disabled()
        imgui.end_group()
    allow = imgui.HoveredFlags_.for_tooltip | imgui.HoveredFlags_.allow_when_disabled
    if is_disabled and reason and imgui.is_item_hovered(allow):
        imgui.set_tooltip(reason)


def graph(name: str, values_ms: Sequence[float], overlay: str, height_ems: float = 2.6) -> None:
    """A graph of times, as wide as there is room, from zero to a bit more than the largest."""
    values = np.asarray(values_ms, dtype=np.float32)
    top = float(values.max()) * 1.2 + 1e-3 if len(values) else 1.0
    size = (imgui.get_content_region_avail().x, em(height_ems))
    imgui.plot_lines(name, values, 0, overlay, 0.0, top, size)


def _edited(edit: tuple[bool, float], old: float) -> float:
    """Dear ImGui computes in single precision: 0.7 comes back as 0.699999988."""
    changed, value = edit
    return round(value, 6) if changed else old
