"""What a browser shows: sections of rows of controls, compared by value."""

from dataclasses import dataclass
from typing import Literal

from gui_utils.toolkit import Color
from web_utils.number_form import NumberForm

Kind = Literal[
    "text",
    "separator",
    "button",
    "drag_button",
    "toggle",
    "checkbox",
    "radio",
    "input_int",
    "slider_int",
    "slider",
    "speed_slider",
    "drag",
    "input_text",
    "choice",
    "grid",
    "scroll_area",
    "menu",
    "menu_item",
    "tree_node",
    "table",
    "cells",
    "graph",
]
Value = bool | int | float | str | tuple[float, ...] | None


@dataclass(frozen=True)
class Control:
    """A control, or a group of controls.

    Attributes:
        kind: What it is. A `grid` holds `children` in columns; `scroll_area`, `menu` and
            `tree_node` hold `rows`.
        key: Its title of the section and its whole name, `Latent/##seed`; unique.
        name: The text on it, or over a graph.
        value: What it shows: whether a menu is open, a button is pressed or a box is checked; a
            number, a text, the index of an option, the chosen row; the values of a graph.
        tooltip: Explains it.
        width: In ems; None for its natural width.
        fills: Whether it takes the remaining width.
        is_disabled: Whether it takes no input.
        reason: Why it is disabled.
        is_blank: Whether its value is hidden.
        limits: Ends of a slider.
        form: How its number is shown.
        speed: Change of a number for each pixel of a drag.
        color: Colour of its name.
        placeholder: Shown in an empty field.
        options: Of a list.
        columns: Titles and weights of a table.
        cells: Rows of texts.
        num_columns: Of a grid.
        num_rows: Visible rows of a scroll area.
        children: Controls of a grid.
        rows: Content of a menu, a tree node or a scroll area.
    """

    kind: Kind
    key: str
    name: str = ""
    value: Value = None
    tooltip: str = ""
    width: float | None = None
    fills: bool = False
    is_disabled: bool = False
    reason: str = ""
    is_blank: bool = False
    limits: tuple[float, float] | None = None
    form: NumberForm | None = None
    speed: float = 0
    color: Color | None = None
    placeholder: str = ""
    options: tuple[str, ...] = ()
    columns: tuple[tuple[str, float], ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    num_columns: int = 1
    num_rows: int = 0
    children: "tuple[Control, ...]" = ()
    rows: "tuple[Row, ...]" = ()


@dataclass(frozen=True)
class Row:
    """Controls side by side, after a label; None for a row without the column of labels."""

    label: str | None
    tooltip: str
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class Section:
    """Rows below a title; its key is its title, and it has no rows while it is folded."""

    title: str
    is_open: bool
    rows: tuple[Row, ...]
