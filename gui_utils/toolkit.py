"""What panes draw with, in a window or in a browser; this module needs neither.

A pane is a function that is called again and again. Each call draws all controls of the pane, and
each method below draws one control and returns what the user has done to it since the last call.
`gui_utils.imgui_toolkit` draws in a window, `web_utils.toolkit` in a browser.

A control goes below the last one, or to its right after `label` or `same_line`. Its `name` is
unique within a section; only the part before `##` is shown.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

Color = tuple[float, float, float]  # red, green and blue, 0 to 1


class Toolkit(Protocol):
    """Draws controls. Widths are in ems, the size of the font."""

    # Sections and rows

    def section(self, title: str, is_open: bool) -> bool:
        """Begin a section, and return whether it is open now; only then draw its content."""

    def label(self, name: str, tooltip: str = "") -> None:
        """Begin a row with its name; a long name is shortened."""

    def same_line(self) -> None:
        """Put the next control to the right of the last one."""

    def width(self, ems: float) -> None:
        """Give the next control a width."""

    def fill_width(self, rest_ems: float = 0) -> None:
        """Give the next control the remaining width, less `rest_ems`."""

    def share(self, count: int) -> float:
        """Width of one of `count` buttons that fill a row together."""

    def text(self, message: str) -> None:
        """A faint line of text; it keeps its place if it is blank."""

    def separator(self, title: str) -> None:
        """A line with a title."""

    def hint(self, tooltip: str) -> None:
        """Explain the last control."""

    def disabled(self, is_disabled: bool = True, reason: str = "") -> AbstractContextManager[None]:
        """Grey out the controls inside; a tooltip says why."""

    def blank(self, is_blank: bool) -> AbstractContextManager[None]:
        """Grey out the controls inside and hide their values, which mean nothing yet."""

    def scroll_area(self, name: str, num_rows: int) -> AbstractContextManager[None]:
        """Show at most so many rows at a time."""

    # Buttons

    def button(self, name: str, width_ems: float = 5, tooltip: str = "") -> bool:
        """Whether the button was clicked."""

    def toggle(
        self,
        name: str,
        is_on: bool,
        width_ems: float,
        tooltip: str = "",
        color: Color | None = None,
    ) -> bool:
        """A button that stays pressed; whether it is pressed now. `color` is that of its name."""

    def toggles(
        self,
        names: Sequence[str],
        are_on: Sequence[bool],
        tooltips: Sequence[str],
        colors: Sequence[Color],
        num_columns: int,
    ) -> list[bool]:
        """Several toggles in rows beside the column of labels; which are pressed now."""

    def drag_button(
        self, name: str, width_ems: float = 5, tooltip: str = ""
    ) -> tuple[float, float]:
        """A button to press and drag: movement of the mouse in ems, to the right and down."""

    def checkbox(self, name: str, is_on: bool) -> bool:
        """Whether it is checked now."""

    def radio(self, name: str, is_on: bool) -> bool:
        """One of several choices; whether it was clicked."""

    # Numbers. Each returns exactly `value` unless the user has changed it. `form` is a printf
    # format that may have text around the number, or no number; sliders have limits, but a typed
    # number may lie beyond them.

    def input_int(self, name: str, value: int) -> int:
        """A whole number to type, with buttons for one more and one less."""

    def slider_int(self, name: str, value: int, low: int, high: int, form: str = "%d") -> int:
        """A slider for whole numbers."""

    def slider_int2(
        self, name: str, value: tuple[int, int], low: int, high: int
    ) -> tuple[int, int]:
        """Two sliders for whole numbers."""

    def slider(self, name: str, value: float, low: float, high: float, form: str = "%.2f") -> float:
        """A slider."""

    def slider2(
        self, name: str, value: tuple[float, float], low: float, high: float, form: str = "%.3f"
    ) -> tuple[float, float]:
        """Two sliders side by side."""

    def speed_slider(self, name: str, value: float, limit: float, form: str) -> float:
        """A slider from `-limit` to `limit` that is finer near zero."""

    def speed_slider2(
        self, name: str, value: tuple[float, float], limit: float, form: str
    ) -> tuple[float, float]:
        """Two such sliders side by side."""

    def drag(self, name: str, value: float, speed: float, form: str = "%.3f") -> float:
        """A number without limits to drag or to type; it changes by `speed` for each pixel."""

    def drag2(
        self, name: str, value: tuple[float, float], speed: float, form: str = "%.3f"
    ) -> tuple[float, float]:
        """Two such numbers side by side."""

    # Text, lists, tables

    def input_text(
        self, name: str, value: str, placeholder: str = "", tooltip: str = ""
    ) -> tuple[bool, str]:
        """A line of text: whether it was entered, perhaps the same again, and the text now."""

    def choice(self, name: str, idx: int, options: Sequence[str]) -> int:
        """A list to choose from; the index of the chosen option."""

    def searched_choice(self, name: str, idx: int, options: Sequence[str], none: str) -> int:
        """Like `choice`, for thousands of options that a text narrows; `none` says none is left."""

    def menu(self, name: str, width_ems: float, tooltip: str = "") -> AbstractContextManager[bool]:
        """A button that opens a menu; whether it is open. Only then draw its content."""

    def menu_item(self, name: str) -> bool:
        """A line of a menu; whether it was clicked, which closes the menu."""

    def tree_node(self, name: str) -> AbstractContextManager[bool]:
        """A line of a menu that opens; whether it is open. Only then draw its content."""

    def table(
        self,
        name: str,
        columns: Sequence[tuple[str, float]],
        rows: Sequence[Sequence[str]],
        selected: int | None,
    ) -> int | None:
        """A table of rows to choose from; the index of a clicked row.

        Args:
            name: Name.
            columns: Titles, and weights of widths.
            rows: Cells; there is at least one row.
            selected: The chosen row, which is scrolled into view when it changes.
        """

    def cells(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        """Rows of texts in columns of equal width."""

    def graph(self, name: str, values: Sequence[float], overlay: str) -> None:
        """A graph of values from zero up, with a text over it, over the remaining width."""
