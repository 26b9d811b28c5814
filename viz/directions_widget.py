"""Directions in W: a slider for each, and the layers that they change."""

from dataclasses import replace

from imgui_bundle import imgui

from gui_utils import controls, text
from viz.file_row import FileRow
from viz.renderer import Result, View
from viz.view import DirectionsInfo

MAX_ROWS = 8  # sliders without a scroll bar


class DirectionsWidget:
    """The upper half of the pane "Directions & points"."""

    def __init__(self) -> None:
        self._row = FileRow(
            "File", "A file that directions.py has written", "directions.npz, or drop it here"
        )

    def take_entry(self) -> bool:
        """Whether the path of a file was entered since the last call, perhaps the same again."""
        return self._row.take_entry()

    def draw(self, view: View, result: Result | None) -> View:
        """Draw the controls, and return the view to render now."""
        path = self._row.draw(view.directions)
        if path != view.directions:
            return replace(view, directions=path, amounts=(), direction_layers=None)
        if view.directions is None or result is None or result.view.directions != view.directions:
            return view
        info = result.directions
        if info is None or result.network is None:
            imgui.text_disabled("no directions of this file are used")
            return view
        view = self._draw_layers(view, result.network.num_ws)
        imgui.same_line()
        if controls.button("Reset##directions", 4, "No direction, all layers"):
            view = replace(view, amounts=(), direction_layers=None)
        return self._draw_amounts(view, info)

    def _draw_layers(self, view: View, num_ws: int) -> View:
        controls.label("Layers", "The first and the last layer that the directions change")
        controls.fill_width(4.6)
        first, last = view.direction_layers or (0, num_ws - 1)
        before = (min(first, num_ws - 1), min(last, num_ws - 1))
        _, layers = imgui.slider_int2("##direction layers", list(before), 0, num_ws - 1)
        if tuple(layers) == before and before == (first, last):
            return view
        first, last = (min(max(layer, 0), num_ws - 1) for layer in layers)
        if first > last:  # the slider that was moved takes the other one along
            first = last = first if first != before[0] else last
        chosen = (first, last)
        return replace(view, direction_layers=None if chosen == (0, num_ws - 1) else chosen)

    def _draw_amounts(self, view: View, info: DirectionsInfo) -> View:
        amounts = dict(view.amounts)
        height = controls.em(0.4) + imgui.get_frame_height_with_spacing() * min(
            len(info.names), MAX_ROWS
        )
        imgui.begin_child("amounts", (0, height))
        for name in info.names:
            controls.label(text.shorten(text.drawable(name), controls.em(6)), info.method)
            controls.fill_width(2.6)
            amount = amounts.get(name, 0.0)
            amounts[name] = controls.slider(f"##{name}", amount, -info.reach, info.reach)
            imgui.same_line()
            if controls.button(f"0##{name}", 2, "Not along this direction"):
                amounts[name] = 0.0
        imgui.end_child()
        return replace(view, amounts=tuple((n, a) for n, a in amounts.items() if a != 0))
