"""Fonts, and text in the middle of an area."""

from pathlib import Path

import imgui_bundle
from imgui_bundle import imgui

from dnnlib.text import drawable

FONT_SIZE = 15  # pixels, on displays of ordinary density
FONT = Path(imgui_bundle.__file__).parent / "assets" / "fonts" / "Roboto" / "Roboto-Regular.ttf"


def load_fonts() -> None:
    """Choose the font of the current context; it can be drawn in any size."""
    fonts = imgui.get_io().fonts
    if FONT.is_file():
        fonts.add_font_from_file_ttf(str(FONT), FONT_SIZE)
    else:
        fonts.add_font_default()
    imgui.get_style().font_size_base = FONT_SIZE


def draw_centered(
    message: str,
    area: tuple[float, float, float, float],
    color: tuple[float, float, float] = (0.8, 0.8, 0.8),
    background: tuple[float, float, float, float] | None = None,
) -> None:
    """Draw wrapped text in the middle of an area (left, top, right, bottom) of this window.

    The background is the colour, with alpha, of a rectangle behind the text.
    """
    message = drawable(message)
    left, top, right, bottom = area
    width = min(right - left, 40 * imgui.get_font_size())
    size = imgui.calc_text_size(message, wrap_width=width)
    width = min(size.x + 1, width)
    x = left + (right - left - width) / 2
    y = max(top, top + (bottom - top - size.y) / 2)
    if background is not None:
        margin = imgui.get_font_size() / 2
        imgui.get_window_draw_list().add_rect_filled(
            (x - margin, y - margin),
            (x + width + margin, y + size.y + margin),
            imgui.color_convert_float4_to_u32(background),
            margin,
        )
    imgui.set_cursor_screen_pos((x, y))
    imgui.push_text_wrap_pos(x + width - imgui.get_window_pos().x + imgui.get_scroll_x())
    imgui.push_style_color(imgui.Col_.text, (*color, 1))
    imgui.text_unformatted(message)
    imgui.pop_style_color()
    imgui.pop_text_wrap_pos()


def shorten(message: str, width: float) -> str:
    """Cut text in the middle so that it fits."""
    message = drawable(message)
    if imgui.calc_text_size(message).x <= width:
        return message
    keep = len(message)
    while keep > 2:
        keep -= 1
        shorter = f"{message[: keep // 3]}…{message[-(keep - keep // 3) :]}"
        if imgui.calc_text_size(shorter).x <= width:
            return shorter
    return "…"
