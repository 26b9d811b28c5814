"""Directions in W: a slider for each, and the layers that they change."""

from dataclasses import replace

from gui_utils.toolkit import Toolkit
from viz.file_row import FileRow
from viz.renderer import Result, View
from viz.view import DirectionsInfo

MAX_ROWS = 8  # sliders without a scroll bar
MAX_DRAWN = 200  # sliders; a browser waits long for thousands


class DirectionsWidget:
    """The upper half of the pane "Directions & points"."""

    def __init__(self) -> None:
        self._row = FileRow(
            "File", "A file that directions.py has written", "directions.npz, or drop it here"
        )

    def take_entry(self) -> bool:
        """Whether the path of a file was entered since the last call, perhaps the same again."""
        return self._row.take_entry()

    def draw(self, ui: Toolkit, view: View, result: Result | None) -> View:
        """Draw the controls, and return the view to render now."""
        path = self._row.draw(ui, view.directions)
        if path != view.directions:
            return replace(view, directions=path, amounts=(), direction_layers=None)
        return self.draw_sliders(ui, view, result)

    def draw_sliders(self, ui: Toolkit, view: View, result: Result | None) -> View:
        """Draw the controls without that of the file, and return the view to render now."""
        if view.directions is None or result is None or result.view.directions != view.directions:
            return view
        info = result.directions
        if info is None or result.network is None:
            ui.text("no directions of this file are used")
            return view
        view = self._draw_layers(ui, view, result.network.num_ws)
        ui.same_line()
        if ui.button("Reset##directions", 4, "No direction, all layers"):
            view = replace(view, amounts=(), direction_layers=None)
        return self._draw_amounts(ui, view, info)

    def _draw_layers(self, ui: Toolkit, view: View, num_ws: int) -> View:
        ui.label("Layers", "The first and the last layer that the directions change")
        ui.fill_width(4.6)
        first, last = view.direction_layers or (0, num_ws - 1)
        before = (min(first, num_ws - 1), min(last, num_ws - 1))
        layers = ui.slider_int2("##direction layers", before, 0, num_ws - 1)
        if layers == before and before == (first, last):
            return view
        first, last = (min(max(layer, 0), num_ws - 1) for layer in layers)
        if first > last:  # the slider that was moved takes the other one along
            first = last = first if first != before[0] else last
        chosen = (first, last)
        return replace(view, direction_layers=None if chosen == (0, num_ws - 1) else chosen)

    def _draw_amounts(self, ui: Toolkit, view: View, info: DirectionsInfo) -> View:
        amounts = dict(view.amounts)
        num_left_out = len(info.names[MAX_DRAWN:])
        if num_left_out > 0:
            ui.text(f"the first {MAX_DRAWN} directions; {num_left_out} more are left out")
        with ui.scroll_area("amounts", min(len(info.names), MAX_ROWS)):
            for name in info.names[:MAX_DRAWN]:
                ui.label(name, info.method)
                ui.fill_width(2.6)
                amount = amounts.get(name, 0.0)
                amounts[name] = ui.slider(f"##{name}", amount, -info.reach, info.reach)
                ui.same_line()
                if ui.button(f"0##{name}", 2, "Not along this direction"):
                    amounts[name] = 0.0
        return replace(view, amounts=tuple((n, a) for n, a in amounts.items() if a != 0))
