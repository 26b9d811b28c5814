"""Layers of the network: activations, their spectrum, their statistics."""

from dataclasses import replace

from imgui_bundle import imgui

from gui_utils import controls
from viz import color_maps
from viz.renderer import LayerInfo, Result, Stats, View

COLORS_EMS = 7  # width of the list of colour maps
MAX_DB = 120  # limit of the range of spectra, above and below zero
MIN_ROWS = 2  # visible rows of the list, even in a low window


class LayerWidget:
    """The pane "Layers & channels".

    Attributes:
        is_folded: Whether only the header of the pane is drawn.
    """

    title = "Layers & channels"

    def __init__(self) -> None:
        self.is_folded = False
        self._scrolled_to: str | None = None  # the layer that was scrolled into view
        self._list_height = 0.0  # in the last frame

    def draw(self, view: View, result: Result | None, spare_height: float) -> View:
        """Draw the pane, and return the view to render now.

        Args:
            view: The current view.
            result: The last result.
            spare_height: Height by which the list can grow before the panes need a scroll bar;
                negative if they need one.
        """
        layers = result.layers if result is not None else ()
        height = min(self._list_height + spare_height, _list_height(len(layers) + 1))
        self._list_height = max(height, _list_height(MIN_ROWS))
        view = self._draw_list(view, layers, result)
        chosen = next((item for item in layers if item.name == view.layer), None)
        view = self._draw_channels(view, chosen)
        if _num_shown(view, chosen, result) == 1 and not view.fft:
            view = _draw_levels(view)
        view = self._draw_spectrum(view, chosen)
        if result is not None and result.stats is not None:
            rows = [("All", result.stats)]
            if chosen is not None and result.selected_stats is not None:
                rows.append(("Shown", result.selected_stats))
            _draw_stats(rows)
        return view

    def can_grow(self, height: float) -> bool:
        """Whether the list can grow by a height; a negative height shrinks it."""
        return not self.is_folded and self._list_height + height >= _list_height(MIN_ROWS)

    def _draw_list(self, view: View, layers: tuple[LayerInfo, ...], result: Result | None) -> View:
        flags = imgui.TableFlags_.scroll_y | imgui.TableFlags_.row_bg
        flags |= imgui.TableFlags_.borders_outer
        if not imgui.begin_table("layers", 4, flags, (0, self._list_height)):
            return view
        imgui.table_setup_scroll_freeze(0, 1)
        stretch = imgui.TableColumnFlags_.width_stretch
        for name, weight in (("Layer", 2.2), ("Size", 1.4), ("Channels", 1.1), ("Type", 1.1)):
            imgui.table_setup_column(name, stretch, weight)
        imgui.table_headers_row()
        rows: list[tuple[str | None, LayerInfo]] = [(None, item) for item in _image_row(result)]
        rows += [(item.name, item) for item in layers]
        for layer, item in rows:
            imgui.table_next_row()
            imgui.table_next_column()
            clicked, _ = imgui.selectable(
                item.name, view.layer == layer, imgui.SelectableFlags_.span_all_columns
            )
            if clicked:
                view = replace(view, layer=layer)
                self._scrolled_to = layer
            elif view.layer == layer and layer != self._scrolled_to:
                imgui.set_scroll_here_y()
                self._scrolled_to = layer
            channels, height, width = item.shape
            for cell in (f"{width}x{height}", str(channels), item.dtype):
                imgui.table_next_column()
                imgui.text_unformatted(cell)
        imgui.end_table()
        return view

    def _draw_channels(self, view: View, layer: LayerInfo | None) -> View:
        controls.label("Channel", "The first one of the layer to show")
        last = max(layer.shape[0] - view.num_channels, 0) if layer is not None else 0
        with controls.disabled(layer is None, "choose a layer above"):
            imgui.set_next_item_width(controls.em(8))
            channel = min(view.channel, last) if layer is not None else view.channel
            changed, channel = controls.input_int("##channel", channel)
            if changed:
                view = replace(view, channel=min(max(channel, 0), last))
            imgui.same_line()
            if imgui.radio_button("1##channels", view.num_channels == 1):
                view = replace(view, num_channels=1)
            imgui.same_line()
            if imgui.radio_button("3##channels", view.num_channels == 3):
                view = replace(view, num_channels=3)
        controls.label("Scale", "Brightness of the picture")
        imgui.set_next_item_width(controls.em(8))
        gain_db = controls.slider("##gain", view.gain_db, -40, 40, "%.1f dB")
        imgui.same_line()
        _, normalize = imgui.checkbox("Normalise", view.normalize)
        controls.hint("Scale so that the largest magnitude is 1, before the scale in dB")
        return replace(view, gain_db=gain_db, normalize=normalize)

    def _draw_spectrum(self, view: View, layer: LayerInfo | None) -> View:
        controls.label("Spectrum")
        _, fft = imgui.checkbox("FFT", view.fft)
        controls.hint("Power at each frequency, zero in the middle")
        view = replace(view, fft=fft)
        if not fft:
            return view
        imgui.same_line()
        with controls.disabled(layer is None, "choose a layer above"):
            _, fft_all = imgui.checkbox("All channels", view.fft_all)
        controls.label("Range", "Powers that become black and white")
        controls.fill_width()
        low, high = controls.drag2("##range", view.fft_range_db, 0.5, "%.0f dB")
        if (low, high) != view.fft_range_db:
            low = min(max(low, -MAX_DB), MAX_DB - 1)
            view = replace(view, fft_range_db=(low, min(max(high, low + 1), MAX_DB)))
        controls.label("Kaiser beta", "Window before the transform: 0 is none")
        controls.fill_width(COLORS_EMS)
        beta = controls.slider("##beta", view.fft_beta, 0, 40, "%.1f")
        return _draw_color_map(replace(view, fft_all=fft_all, fft_beta=max(beta, 0)))


def _num_shown(view: View, layer: LayerInfo | None, result: Result | None) -> int | None:
    """Number of channels in the picture; None if no network is loaded."""
    if layer is not None:
        return view.num_channels if layer.shape[0] >= view.num_channels else 1
    info = result.network if result is not None else None
    return None if info is None else info.img_channels


def _list_height(num_rows: int) -> float:
    """Height of a number of rows below a header, with a border."""
    row = imgui.get_text_line_height() + 2 * imgui.get_style().cell_padding.y
    return (num_rows + 1) * row + 2


def _draw_levels(view: View) -> View:
    controls.label("Window", "Level and width of the values that become black to white")
    controls.fill_width(COLORS_EMS)
    level, window = controls.drag2("##window", (view.level, view.window), 0.01, "%.3f")
    return _draw_color_map(replace(view, level=level, window=max(window, 0.0)))


def _draw_color_map(view: View) -> View:
    """Draw the list of colour maps at the end of a row, `COLORS_EMS` wide."""
    imgui.same_line()
    controls.fill_width()
    idx = color_maps.NAMES.index(view.color_map)
    own_names = (color_maps.SPECTRUM, *color_maps.NAMES[1:])  # in place of grey
    _, idx = imgui.combo("##colours", idx, list(own_names if view.fft else color_maps.NAMES))
    controls.hint("Colours of a single channel, or of the spectrum")
    return replace(view, color_map=color_maps.NAMES[idx])


def _image_row(result: Result | None) -> list[LayerInfo]:
    if result is None or result.network is None:
        return []
    info = result.network
    shape = (info.img_channels, info.img_resolution, info.img_resolution)
    return [LayerInfo("image", shape, "float32")]


def _draw_stats(rows: list[tuple[str, Stats]]) -> None:
    flags = imgui.TableFlags_.sizing_stretch_same
    if imgui.begin_table("stats", 4, flags):
        for name, stats in rows:
            cells = (f"mean {stats.mean:.3g}", f"std {stats.std:.3g}", f"max {stats.max:.3g}")
            for cell in (name, *cells):
                imgui.table_next_column()
                imgui.text_unformatted(cell)
        imgui.end_table()
