"""Panes in a window: the `Toolkit` of Dear ImGui."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from imgui_bundle import imgui

from gui_utils import controls, text
from gui_utils.controls import LABEL_EMS
from gui_utils.toolkit import Color

MIN_ROWS = 2  # visible rows of a table, even in a low window
MAX_FOUND = 200  # options in a list that is searched
MENU_EMS = 40  # longest line of a menu
MENU_SIZES_EMS = ((0, 0), (48, 30))  # smallest and largest width and height of a menu


class ImguiToolkit:
    """Draws into the current window of Dear ImGui, see `gui_utils.toolkit.Toolkit`.

    Tables grow into the free height of their window.

    Attributes:
        spare_height: Height by which a table can grow before the window needs a scroll bar;
            negative if the window needs one.
    """

    def __init__(self) -> None:
        self.spare_height = 0.0
        self._table_height = 0.0  # in the last frame; 0 without a table
        self._is_table_drawn = False
        self._scrolled_to: dict[str, int | None] = {}  # selected rows that were scrolled into view
        self._searched = ""  # the text in the list that is open

    def begin_frame(self) -> None:
        """Begin a frame."""
        self._is_table_drawn = False

    def can_grow(self, height: float) -> bool:
        """Whether the table of the last frame can grow by a height; a negative one shrinks it."""
        return self._is_table_drawn and self._table_height + height >= _table_height(MIN_ROWS)

    # Sections and rows

    def section(self, title: str, is_open: bool) -> bool:
        imgui.set_next_item_open(is_open)
        return imgui.collapsing_header(title)

    def label(self, name: str, tooltip: str = "") -> None:
        controls.label(text.shorten(name, controls.em(LABEL_EMS - 0.5)), tooltip)

    def same_line(self) -> None:
        imgui.same_line()

    def width(self, ems: float) -> None:
        imgui.set_next_item_width(controls.em(ems))

    def fill_width(self, rest_ems: float = 0) -> None:
        controls.fill_width(rest_ems)

    def share(self, count: int) -> float:
        return (imgui.get_content_region_avail().x / controls.em() - 0.6 * (count - 1)) / count

    def text(self, message: str) -> None:
        imgui.text_disabled(text.drawable(message))

    def separator(self, title: str) -> None:
        imgui.separator_text(text.drawable(title))

    def hint(self, tooltip: str) -> None:
        controls.hint(tooltip)

    disabled = staticmethod(controls.disabled)
    blank = staticmethod(controls.blank)

    @contextmanager
    def scroll_area(self, name: str, num_rows: int) -> Iterator[None]:
        height = controls.em(0.4) + imgui.get_frame_height_with_spacing() * num_rows
        imgui.begin_child(name, (0, height))
        try:
            yield
        finally:
            imgui.end_child()

    # Buttons

    button = staticmethod(controls.button)
    drag_button = staticmethod(controls.drag_button)

    def toggle(
        self,
        name: str,
        is_on: bool,
        width_ems: float,
        tooltip: str = "",
        color: Color | None = None,
    ) -> bool:
        if color is not None:
            imgui.push_style_color(imgui.Col_.text, (*color, 1))
        is_on = controls.toggle(name, is_on, width_ems, tooltip)
        if color is not None:
            imgui.pop_style_color()
        return is_on

    def toggles(
        self,
        names: Sequence[str],
        are_on: Sequence[bool],
        tooltips: Sequence[str],
        colors: Sequence[Color],
        num_columns: int,
    ) -> list[bool]:
        start = imgui.get_cursor_pos_x() + controls.em(LABEL_EMS)
        right = imgui.get_content_region_avail().x + imgui.get_cursor_pos_x()
        width = (right - start) / num_columns
        pressed = []
        for idx, (name, is_on) in enumerate(zip(names, are_on, strict=True)):
            if idx % num_columns == 0:
                imgui.set_cursor_pos_x(start)
            else:
                imgui.same_line(start + idx % num_columns * width)
            width_ems = width / controls.em() - 0.25
            pressed.append(self.toggle(name, is_on, width_ems, tooltips[idx], colors[idx]))
        return pressed

    def checkbox(self, name: str, is_on: bool) -> bool:
        return imgui.checkbox(name, is_on)[1]

    def radio(self, name: str, is_on: bool) -> bool:
        return imgui.radio_button(name, is_on)

    # Numbers

    input_int = staticmethod(controls.input_int)
    slider_int = staticmethod(controls.slider_int)
    slider_int2 = staticmethod(controls.slider_int2)
    slider = staticmethod(controls.slider)
    slider2 = staticmethod(controls.slider2)
    speed_slider = staticmethod(controls.speed_slider)
    speed_slider2 = staticmethod(controls.speed_slider2)
    drag = staticmethod(controls.drag)
    drag2 = staticmethod(controls.drag2)

    # Text, lists, tables

    def input_text(
        self, name: str, value: str, placeholder: str = "", tooltip: str = ""
    ) -> tuple[bool, str]:
        flags = imgui.InputTextFlags_
        shown = text.drawable(value)
        entered, edited = imgui.input_text_with_hint(
            name, placeholder, shown, flags.enter_returns_true | flags.auto_select_all
        )
        controls.hint(tooltip)
        return entered, value if edited == shown else edited

    def choice(self, name: str, idx: int, options: Sequence[str]) -> int:
        return imgui.combo(name, idx, list(options))[1]

    def searched_choice(self, name: str, idx: int, options: Sequence[str], none: str) -> int:
        if not imgui.begin_combo(name, options[idx]):
            return idx
        if imgui.is_window_appearing():
            self._searched = ""
            imgui.set_keyboard_focus_here()
        controls.fill_width()
        entered, self._searched = imgui.input_text_with_hint(
            "##search", "search", self._searched, imgui.InputTextFlags_.enter_returns_true
        )
        searched = self._searched.casefold()
        found = [number for number, option in enumerate(options) if searched in option.casefold()]
        for number in found[:MAX_FOUND]:
            clicked, _ = imgui.selectable(f"{options[number]}{name} {number}", number == idx)
            if clicked:
                idx = number
        if len(found) > MAX_FOUND:
            imgui.text_disabled(f"and {len(found) - MAX_FOUND} more: type a part of the name")
        elif not found:
            imgui.text_disabled(none)
        if entered and found:
            idx = found[0]
            imgui.close_current_popup()
        imgui.end_combo()
        return idx

    @contextmanager
    def menu(self, name: str, width_ems: float, tooltip: str = "") -> Iterator[bool]:
        if controls.button(name, width_ems, tooltip):
            controls.open_popup_below(f"menu {name}")
        low, high = MENU_SIZES_EMS
        imgui.set_next_window_size_constraints(
            (controls.em(low[0]), controls.em(low[1])), (controls.em(high[0]), controls.em(high[1]))
        )
        is_open = imgui.begin_popup(f"menu {name}")
        try:
            yield is_open
        finally:
            if is_open:
                imgui.end_popup()

    def menu_item(self, name: str) -> bool:
        shown, _, key = name.partition("##")
        shown = text.shorten(shown, controls.em(MENU_EMS))
        clicked, _ = imgui.menu_item(text.drawable(f"{shown}##{key or name}"), "", False)
        return clicked

    @contextmanager
    def tree_node(self, name: str) -> Iterator[bool]:
        is_open = imgui.tree_node_ex(text.drawable(name))
        try:
            yield is_open
        finally:
            if is_open:
                imgui.tree_pop()

    def table(
        self,
        name: str,
        columns: Sequence[tuple[str, float]],
        rows: Sequence[Sequence[str]],
        selected: int | None,
    ) -> int | None:
        height = min(self._table_height + self.spare_height, _table_height(len(rows)))
        self._table_height, self._is_table_drawn = max(height, _table_height(MIN_ROWS)), True
        flags = imgui.TableFlags_.scroll_y | imgui.TableFlags_.row_bg
        flags |= imgui.TableFlags_.borders_outer
        if not imgui.begin_table(name, len(columns), flags, (0, self._table_height)):
            return None
        imgui.table_setup_scroll_freeze(0, 1)
        for title, weight in columns:
            imgui.table_setup_column(title, imgui.TableColumnFlags_.width_stretch, weight)
        imgui.table_headers_row()
        chosen = None
        for idx, (first, *others) in enumerate(rows):
            imgui.table_next_row()
            imgui.table_next_column()
            is_selected = idx == selected
            clicked, _ = imgui.selectable(
                first, is_selected, imgui.SelectableFlags_.span_all_columns
            )
            if clicked:
                chosen = self._scrolled_to[name] = idx
            elif is_selected and self._scrolled_to.get(name) != idx:
                imgui.set_scroll_here_y()
                self._scrolled_to[name] = idx
            for cell in others:
                imgui.table_next_column()
                imgui.text_unformatted(cell)
        imgui.end_table()
        return chosen

    def cells(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        if not imgui.begin_table(name, len(rows[0]), imgui.TableFlags_.sizing_stretch_same):
            return
        for row in rows:
            for cell in row:
                imgui.table_next_column()
                imgui.text_unformatted(cell)
        imgui.end_table()

    graph = staticmethod(controls.graph)


def _table_height(num_rows: int) -> float:
    """Height of a number of rows below a header, with a border."""
    row = imgui.get_text_line_height() + 2 * imgui.get_style().cell_padding.y
    return (num_rows + 1) * row + 2
