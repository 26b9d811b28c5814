"""Axes and colour bar of a spectrum."""

from imgui_bundle import imgui

from gui_utils import controls
from gui_utils.placement import Area
from viz import color_maps
from viz.renderer import View

MARGIN_EMS = (4.5, 0.8, 6.5, 3.2)  # around the spectrum: left, top, right, bottom
BAR_EMS = 1.0  # width of the colour bar
NUM_STRIPES = 128
INK, FAINT = (0.75, 0.75, 0.78, 1), (0.75, 0.75, 0.78, 0.25)


def inner_area(area: Area) -> Area:
    """The part of an area inside the axes."""
    left, top, right, bottom = (controls.em(margin) for margin in MARGIN_EMS)
    return (area[0] + left, area[1] + top, area[2] - right, area[3] - bottom)


def draw(area: Area, whole: Area, size: tuple[int, int], content_width: float, view: View) -> None:
    """Draw axes at the edges of a spectrum, and a colour bar to the right.

    Args:
        area: The part of the window that shows the spectrum, see `inner_area`.
        whole: Place of the whole spectrum, which may be larger than the area.
        size: Width and height of the spectrum in samples.
        content_width: Width of the image in samples. The highest frequency is half this number, in
            cycles per image width.
        view: The view that is shown.
    """
    draw_list = imgui.get_window_draw_list()
    ink = imgui.color_convert_float4_to_u32(INK)
    em, line = controls.em(), imgui.get_text_line_height()
    left, top = max(area[0], whole[0]), max(area[1], whole[1])
    right, bottom = min(area[2], whole[2]), min(area[3], whole[3])
    if right <= left or bottom <= top:
        return
    highest = content_width / 2
    draw_list.add_rect((left - 1, top - 1), (right + 1, bottom + 1), ink)
    label_width = max(imgui.calc_text_size(f"{highest:.4g}").x, em)
    step = tick_step(highest, (whole[2] - whole[0]) / (2.2 * label_width))
    for frequency, x in ticks(highest, step, size[0], (whole[0], whole[2])):
        if left <= x <= right:
            text = f"{frequency:g}"
            width = imgui.calc_text_size(text).x
            draw_list.add_line((x, bottom), (x, bottom + 0.3 * em), ink)
            draw_list.add_text((x - width / 2, bottom + 0.4 * em), ink, text)
    for frequency, y in ticks(highest, step, size[1], (whole[1], whole[3])):
        if top <= y <= bottom:
            text = f"{-frequency or 0:g}"  # positive frequencies are above zero
            width = imgui.calc_text_size(text).x
            draw_list.add_line((left - 0.3 * em, y), (left, y), ink)
            draw_list.add_text((left - 0.5 * em - width, y - line / 2), ink, text)
    title = "cycles per image width"
    width = imgui.calc_text_size(title).x
    draw_list.add_text(((left + right - width) / 2, bottom + 0.4 * em + line), ink, title)
    _draw_bar((right + em, top, right + (1 + BAR_EMS) * em, bottom), view)


def ticks(
    highest: float, step: float, num_samples: int, edges: tuple[float, float]
) -> list[tuple[float, float]]:
    """Frequencies from `-highest` to `highest`, and their positions, in the middle of samples.

    Args:
        highest: Frequency of half a cycle per sample.
        step: Distance of the frequencies.
        num_samples: Width of the spectrum. An even width has one more sample below zero than above.
        edges: Positions of both ends of the spectrum.
    """
    last = int(highest / step)
    shift = 0.5 / num_samples if num_samples % 2 == 0 else 0
    low, high = edges
    return [
        (number * step, low + ((number * step / highest + 1) / 2 + shift) * (high - low))
        for number in range(-last, last + 1)
    ]


def tick_step(highest: float, most: float) -> float:
    """A round step, so that about `most` multiples of it lie from `-highest` to `highest`."""
    rough = 2 * highest / max(most, 2)
    power = 1e-6
    while power * 10 <= rough:
        power *= 10
    factor = next((factor for factor in (1, 2, 5) if factor * power >= rough), 10)
    return factor * power


def _draw_bar(bar: Area, view: View) -> None:
    """Draw the colour bar, in dB."""
    draw_list = imgui.get_window_draw_list()
    ink = imgui.color_convert_float4_to_u32(INK)
    is_own = view.color_map == color_maps.GREY
    table = color_maps.colors(color_maps.SPECTRUM if is_own else view.color_map)
    left, top, right, bottom = bar
    for stripe in range(NUM_STRIPES):
        red, green, blue = (table[255 - stripe * 255 // (NUM_STRIPES - 1)] / 255).tolist()
        packed = imgui.color_convert_float4_to_u32((red, green, blue, 1))
        y0, y1 = (top + (bottom - top) * n / NUM_STRIPES for n in (stripe, stripe + 1))
        # A rectangle of one colour would have soft edges, which look like lines.
        draw_list.add_rect_filled_multi_color((left, y0), (right, y1), *[packed] * 4)
    draw_list.add_rect((left, top), (right, bottom), ink)
    low, high = view.fft_range_db
    line = imgui.get_text_line_height()
    step = tick_step((high - low) / 2, (bottom - top) / (2.5 * line))
    number = -int(-low // step)
    while number * step <= high:
        y = bottom - (number * step - low) / (high - low) * (bottom - top)
        draw_list.add_text(
            (right + 0.3 * controls.em(), y - line / 2), ink, f"{number * step:g} dB"
        )
        number += 1
