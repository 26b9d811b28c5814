"""Layers of the network: activations, their spectrum, their statistics."""

from dataclasses import replace

from dnnlib import moved
from gui_utils.toolkit import Toolkit
from viz import color_maps
from viz.renderer import LayerInfo, Result, Stats, View
from viz.view import MAX_BETA, MAX_GAIN_DB, MAX_RANGE_DB

__getattr__ = moved.names_of(__name__)
COLORS_EMS = 7  # width of the list of colour maps
COLUMNS = (("Layer", 2.2), ("Size", 1.4), ("Channels", 1.1), ("Type", 1.1))


class LayerWidget:
    """The pane "Layers & channels"."""

    title = "Layers & channels"

    def draw(self, ui: Toolkit, view: View, result: Result | None) -> View:
        """Draw the pane, and return the view to render now."""
        layers = result.layers if result is not None else ()
        view = self._draw_list(ui, view, layers, result)
        chosen = next((item for item in layers if item.name == view.layer), None)
        view = self._draw_channels(ui, view, chosen)
        if _num_shown(view, chosen, result) == 1 and not view.fft:
            view = _draw_levels(ui, view)
        view = self._draw_spectrum(ui, view, chosen)
        if result is not None and result.stats is not None:
            rows = [("All", result.stats)]
            if chosen is not None and result.selected_stats is not None:
                rows.append(("Shown", result.selected_stats))
            _draw_stats(ui, rows)
        return view

    def _draw_list(
        self, ui: Toolkit, view: View, layers: tuple[LayerInfo, ...], result: Result | None
    ) -> View:
        shown: list[tuple[str | None, LayerInfo]] = [(None, item) for item in _image_row(result)]
        shown += [(item.name, item) for item in layers]
        rows = []
        for _, item in shown:
            channels, height, width = item.shape
            rows.append((item.name, f"{width}x{height}", str(channels), item.dtype))
        names = [name for name, _ in shown]
        selected = names.index(view.layer) if view.layer in names else None
        chosen = ui.table("layers", COLUMNS, rows, selected)
        return view if chosen is None else replace(view, layer=names[chosen])

    def _draw_channels(self, ui: Toolkit, view: View, layer: LayerInfo | None) -> View:
        ui.label("Channel", "The first one of the layer to show")
        last = max(layer.shape[0] - view.num_channels, 0) if layer is not None else 0
        with ui.disabled(layer is None, "choose a layer above"):
            ui.width(8)
            channel = min(view.channel, last) if layer is not None else view.channel
            chosen = ui.input_int("##channel", channel)
            if chosen != channel:
                view = replace(view, channel=min(max(chosen, 0), last))
            ui.same_line()
            if ui.radio("1##channels", view.num_channels == 1):
                view = replace(view, num_channels=1)
            ui.same_line()
            if ui.radio("3##channels", view.num_channels == 3):
                view = replace(view, num_channels=3)
        ui.label("Scale", "Brightness of the picture")
        ui.width(8)
        gain_db = ui.slider("##gain", view.gain_db, -40, 40, "%.1f dB")
        gain_db = min(max(gain_db, -MAX_GAIN_DB), MAX_GAIN_DB)
        ui.same_line()
        normalize = ui.checkbox("Normalise", view.normalize)
        ui.hint("Scale so that the largest magnitude is 1, before the scale in dB")
        return replace(view, gain_db=gain_db, normalize=normalize)

    def _draw_spectrum(self, ui: Toolkit, view: View, layer: LayerInfo | None) -> View:
        ui.label("Spectrum")
        fft = ui.checkbox("FFT", view.fft)
        ui.hint("Power at each frequency, zero in the middle")
        view = replace(view, fft=fft)
        if not fft:
            return view
        ui.same_line()
        with ui.disabled(layer is None, "choose a layer above"):
            fft_all = ui.checkbox("All channels", view.fft_all)
        ui.label("Range", "Powers that become black and white")
        ui.fill_width()
        low, high = ui.drag2("##range", view.fft_range_db, 0.5, "%.0f dB")
        if (low, high) != view.fft_range_db:
            low = min(max(low, -MAX_RANGE_DB), MAX_RANGE_DB - 1)
            view = replace(view, fft_range_db=(low, min(max(high, low + 1), MAX_RANGE_DB)))
        ui.label("Kaiser beta", "Window before the transform: 0 is none")
        ui.fill_width(COLORS_EMS)
        beta = min(max(ui.slider("##beta", view.fft_beta, 0, 40, "%.1f"), 0), MAX_BETA)
        return _draw_color_map(ui, replace(view, fft_all=fft_all, fft_beta=beta))


def _num_shown(view: View, layer: LayerInfo | None, result: Result | None) -> int | None:
    """Number of channels in the picture; None if no network is loaded."""
    if layer is not None:
        return view.num_channels if layer.shape[0] >= view.num_channels else 1
    info = result.network if result is not None else None
    return None if info is None else info.img_channels


def _draw_levels(ui: Toolkit, view: View) -> View:
    ui.label("Window", "Level and width of the values that become black to white")
    ui.fill_width(COLORS_EMS)
    level, window = ui.drag2("##window", (view.level, view.window), 0.01, "%.3f")
    return _draw_color_map(ui, replace(view, level=level, window=max(window, 0.0)))


def _draw_color_map(ui: Toolkit, view: View) -> View:
    """Draw the list of colour maps at the end of a row, `COLORS_EMS` wide."""
    ui.same_line()
    ui.fill_width()
    idx = color_maps.NAMES.index(view.color_map)
    own_names = (color_maps.SPECTRUM, *color_maps.NAMES[1:])  # in place of grey
    idx = ui.choice("##colours", idx, own_names if view.fft else color_maps.NAMES)
    ui.hint("Colours of a single channel, or of the spectrum")
    return replace(view, color_map=color_maps.NAMES[idx])


def _image_row(result: Result | None) -> list[LayerInfo]:
    if result is None or result.network is None:
        return []
    info = result.network
    shape = (info.img_channels, info.img_resolution, info.img_resolution)
    return [LayerInfo("image", shape, "float32")]


def _draw_stats(ui: Toolkit, rows: list[tuple[str, Stats]]) -> None:
    cells = [
        (name, f"mean {stats.mean:.3g}", f"std {stats.std:.3g}", f"max {stats.max:.3g}")
        for name, stats in rows
    ]
    ui.cells("stats", cells)
