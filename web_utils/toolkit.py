"""Draws panes for a browser: a frame runs their code once and records a tree of controls.

`frame` returns the tree, see `web_utils.tree`. What the user does comes by `send`, with the key of
a control and its new value, and the control returns it to the code of the pane in the next frame:

| control | value |
| --- | --- |
| button, radio, menu item | True |
| section, menu, tree node, toggle, checkbox | whether it is open, pressed, checked now |
| slider, drag, whole number | the number |
| text | the text, and whether Enter was pressed |
| choice, table | the index |
| drag button | movement in ems, to the right and down |

If a control gets several events before a frame, the last one counts; movements add up. An event
is dropped if its control is not drawn in the next frame, or is disabled then. Events come from
a browser, so they are checked: a wrong one is dropped with a warning.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dnnlib.text import drawable
from gui_utils.toolkit import Color, Toolkit
from web_utils import untrusted
from web_utils.number_form import parse_form
from web_utils.tree import Control, Kind, Row, Section, Value

MAX_FOUND = 200  # options of a searched list at a time
MAX_FRAMES = 4  # until the values on screen are up to date
MIN_EMS = 2  # of a control that takes the remaining width

T = TypeVar("T")
log = logging.getLogger(__name__)


class WebToolkit:
    """The `Toolkit` of a browser, with the open menus and the user's input of one session.

    Attributes:
        num_dropped: Events that had no effect, for any reason.
    """

    def __init__(self) -> None:
        self.num_dropped = 0
        self._events: dict[str, Any] = {}
        self._movements: dict[str, tuple[float, float]] = {}
        self._drag_buttons: set[str] = set()  # in the last frame
        self._open_menu: str | None = None
        self._open_nodes: set[str] = set()
        self._searched = ""  # in the open menu
        self._warned: set[str] = set()
        self._begin()

    # Frames

    def send(self, key: str, value: Any) -> None:
        """Take in what the user has done to a control; see the table above."""
        if key not in self._drag_buttons:
            self.num_dropped += key in self._events
            self._events[key] = value
        elif (moved := untrusted.movement(value)) is None:
            self._refuse(key)
        else:
            before = self._movements.get(key, (0.0, 0.0))
            self._movements[key] = (before[0] + moved[0], before[1] + moved[1])

    def is_waiting(self, key: str) -> bool:
        """Whether a control has an event that no frame has seen."""
        return key in self._events or key in self._movements

    @property
    def has_events(self) -> bool:
        """Whether any control has an event that no frame has seen."""
        return bool(self._events or self._movements)

    def frame(self, draw: Callable[[Toolkit], None]) -> list[Section]:
        """Draw all panes, with the events since the last frame.

        After a frame with events, what is drawn before the changed control may be out of date.
        """
        self._begin()
        try:
            draw(self)
            return [section.frozen() for section in self._sections if section.is_shown]
        finally:
            self._end()

    def settle(self, draw: Callable[[Toolkit], None], most: int = MAX_FRAMES) -> list[Section]:
        """Draw frames until the tree no longer changes, at most so many."""
        has_events = self.has_events
        tree = self.frame(draw)
        for _ in range(most - 1 if has_events else 0):
            before, tree = tree, self.frame(draw)
            if tree == before:
                break
        return tree

    def _begin(self) -> None:
        self._sections = [_Section("", True)]
        self._rows = self._sections[0].rows
        self._last: tuple[_Row, int] | None = None
        self._joins = False  # whether the next control belongs to the last row
        self._width: float | None = None
        self._rest: float | None = None
        self._reasons: list[str] = []
        self._num_blank = 0
        self._keys: set[str] = set()
        self._drawn_menus: set[str] = set()
        self._drawn_drags: set[str] = set()

    def _end(self) -> None:
        self.num_dropped += len(self._events) + len(self._movements)
        self._events.clear()
        self._movements.clear()
        self._drag_buttons = self._drawn_drags
        if self._open_menu not in self._drawn_menus:
            self._open_menu = None

    # Sections and rows

    def section(self, title: str, is_open: bool) -> bool:
        """Begin a section, and return whether it is open now."""
        if title in self._events:
            event = untrusted.flag(self._events.pop(title))
            if event is None:
                self._refuse(title)
            else:
                is_open = event
        self._sections.append(_Section(title, is_open))
        self._rows, self._joins, self._last = self._sections[-1].rows, False, None
        return is_open

    def label(self, name: str, tooltip: str = "") -> None:
        """Begin a row with its name."""
        self._rows.append(_Row(drawable(name), drawable(tooltip)))
        self._joins = True

    def same_line(self) -> None:
        """Put the next control to the right of the last one."""
        self._joins = True

    def width(self, ems: float) -> None:
        """Give the next control a width."""
        self._width = ems

    def fill_width(self, rest_ems: float = 0) -> None:
        """Give the next control the remaining width, less `rest_ems`."""
        self._rest = rest_ems

    def share(self, count: int) -> float:
        """No limit: the page divides a row equally among the buttons without one."""
        return math.inf

    def text(self, message: str) -> None:
        """A faint line of text."""
        self._add("text", self._line_name(), shown=message.strip())

    def separator(self, title: str) -> None:
        """A line with a title."""
        self._add("separator", self._line_name(), shown=title)

    def hint(self, tooltip: str) -> None:
        """Explain the last control."""
        if self._last is not None:
            row, idx = self._last
            row.controls[idx] = replace(row.controls[idx], tooltip=drawable(tooltip))

    @contextmanager
    def disabled(self, is_disabled: bool = True, reason: str = "") -> Iterator[None]:
        """Grey out the controls inside; the outermost reason is told."""
        if not is_disabled:
            yield
            return
        self._reasons.append(drawable(reason))
        try:
            yield
        finally:
            self._reasons.pop()

    @contextmanager
    def blank(self, is_blank: bool) -> Iterator[None]:
        """Grey out the controls inside and hide their values."""
        self._num_blank += is_blank
        try:
            yield
        finally:
            self._num_blank -= is_blank

    @contextmanager
    def scroll_area(self, name: str, num_rows: int) -> Iterator[None]:
        """Show at most so many rows at a time."""
        self._add("scroll_area", name, num_rows=num_rows)
        with self._inside():
            yield

    # Buttons

    def button(self, name: str, width_ems: float = 5, tooltip: str = "") -> bool:
        """Whether the button was clicked."""
        return self._clicked(self._add("button", name, tooltip=tooltip, width=width_ems))

    def toggle(
        self,
        name: str,
        is_on: bool,
        width_ems: float,
        tooltip: str = "",
        color: Color | None = None,
    ) -> bool:
        """Whether the button is pressed now."""
        return self._flag(
            self._add("toggle", name, is_on, tooltip=tooltip, width=width_ems, color=color)
        )

    def toggles(
        self,
        names: Sequence[str],
        are_on: Sequence[bool],
        tooltips: Sequence[str],
        colors: Sequence[Color],
        num_columns: int,
    ) -> list[bool]:
        """Which of the toggles are pressed now."""
        self.label("")
        with self._grid(f"##toggles from {''.join(names[:1])}", num_columns):
            return [
                self._flag(self._add("toggle", name, is_on, tooltip=tooltip, color=color))
                for name, is_on, tooltip, color in zip(names, are_on, tooltips, colors, strict=True)
            ]

    def drag_button(
        self, name: str, width_ems: float = 5, tooltip: str = ""
    ) -> tuple[float, float]:
        """Movement of the mouse in ems, to the right and down."""
        control = self._add("drag_button", name, tooltip=tooltip, width=width_ems)
        self._drawn_drags.add(control.key)
        if control.is_disabled:
            return 0.0, 0.0
        return self._movements.pop(control.key, (0.0, 0.0))

    def checkbox(self, name: str, is_on: bool) -> bool:
        """Whether it is checked now."""
        return self._flag(self._add("checkbox", name, is_on))

    def radio(self, name: str, is_on: bool) -> bool:
        """Whether it was clicked."""
        return self._clicked(self._add("radio", name, is_on))

    # Numbers

    def input_int(self, name: str, value: int) -> int:
        """A whole number to type, with buttons for one more and one less."""
        control = self._add("input_int", name, value, form=parse_form("%d"))
        return self._changed(control, untrusted.whole, value)

    def slider_int(self, name: str, value: int, low: int, high: int, form: str = "%d") -> int:
        """A slider for whole numbers."""
        control = self._add("slider_int", name, value, limits=(low, high), form=parse_form(form))
        return self._changed(control, untrusted.whole, value)

    def slider_int2(
        self, name: str, value: tuple[int, int], low: int, high: int
    ) -> tuple[int, int]:
        """Two sliders for whole numbers."""
        return self._pair(name, value, lambda part, x: self.slider_int(part, x, low, high))

    def slider(self, name: str, value: float, low: float, high: float, form: str = "%.2f") -> float:
        """A slider."""
        control = self._add("slider", name, value, limits=(low, high), form=parse_form(form))
        return self._changed(control, untrusted.number, value)

    def slider2(
        self, name: str, value: tuple[float, float], low: float, high: float, form: str = "%.3f"
    ) -> tuple[float, float]:
        """Two sliders side by side."""
        return self._pair(name, value, lambda part, x: self.slider(part, x, low, high, form))

    def speed_slider(self, name: str, value: float, limit: float, form: str) -> float:
        """A slider from `-limit` to `limit` that is finer near zero."""
        limits = (-limit, limit)
        control = self._add("speed_slider", name, value, limits=limits, form=parse_form(form))
        return min(max(self._changed(control, untrusted.number, value), -limit), limit)

    def speed_slider2(
        self, name: str, value: tuple[float, float], limit: float, form: str
    ) -> tuple[float, float]:
        """Two such sliders side by side."""
        return self._pair(name, value, lambda part, x: self.speed_slider(part, x, limit, form))

    def drag(self, name: str, value: float, speed: float, form: str = "%.3f") -> float:
        """A number without limits to drag or to type."""
        control = self._add("drag", name, value, speed=speed, form=parse_form(form))
        return self._changed(control, untrusted.number, value)

    def drag2(
        self, name: str, value: tuple[float, float], speed: float, form: str = "%.3f"
    ) -> tuple[float, float]:
        """Two such numbers side by side."""
        return self._pair(name, value, lambda part, x: self.drag(part, x, speed, form))

    # Text, lists, tables

    def input_text(
        self, name: str, value: str, placeholder: str = "", tooltip: str = ""
    ) -> tuple[bool, str]:
        """Whether the text was entered, and the text now."""
        shown = drawable(value)
        control = self._add("input_text", name, shown, tooltip=tooltip, placeholder=placeholder)
        event = self._event(control, untrusted.entry)
        if event is None:
            return False, value
        text, is_entered = event
        self._record(text)
        return is_entered, value if text == shown else text

    def choice(self, name: str, idx: int, options: Sequence[str]) -> int:
        """The index of the chosen option."""
        control = self._add("choice", name, idx, options=tuple(map(drawable, options)))
        return self._changed(control, lambda value: untrusted.index(value, len(options)), idx)

    def searched_choice(self, name: str, idx: int, options: Sequence[str], none: str) -> int:
        """The index of the chosen option; the browser gets only the options that were found.

        Enter takes the first one.
        """
        inner = name.replace("#", "")  # part of the names of what is in the menu
        with self._menu(name, shown=options[idx]) as is_open:
            if not is_open:
                return idx
            self.fill_width()
            is_entered, self._searched = self.input_text(
                f"##{inner} search", self._searched, "search"
            )
            wanted = self._searched.casefold()
            found = [i for i, option in enumerate(options) if wanted in option.casefold()]
            for i in found[:MAX_FOUND]:
                if self.menu_item(f"{options[i]}##{inner} {i}"):
                    return i
            if len(found) > MAX_FOUND:
                self.text(f"and {len(found) - MAX_FOUND} more: type a part of the name")
            elif not found:
                self.text(none)
            if is_entered and found:
                self._open_menu = None
                return found[0]
        return idx

    @contextmanager
    def menu(self, name: str, width_ems: float, tooltip: str = "") -> Iterator[bool]:
        """Whether the menu is open; at most one menu is."""
        with self._menu(name, tooltip=tooltip, width=width_ems) as is_open:
            yield is_open

    def menu_item(self, name: str) -> bool:
        """Whether the line was clicked, which closes the menu."""
        is_clicked = self._clicked(self._add("menu_item", name))
        if is_clicked:
            self._open_menu = None
        return is_clicked

    @contextmanager
    def tree_node(self, name: str) -> Iterator[bool]:
        """Whether the line is open; it stays open when the menu is closed."""
        control = self._add("tree_node", name)
        before = control.key in self._open_nodes
        is_open = self._changed(control, untrusted.flag, before)
        (self._open_nodes.add if is_open else self._open_nodes.discard)(control.key)
        self._record(is_open)
        with self._inside():
            yield is_open

    def table(
        self,
        name: str,
        columns: Sequence[tuple[str, float]],
        rows: Sequence[Sequence[str]],
        selected: int | None,
    ) -> int | None:
        """The index of a clicked row."""
        cells = _drawable_cells(rows)
        control = self._add("table", name, selected, columns=tuple(columns), cells=cells)
        idx = self._event(control, lambda value: untrusted.index(value, len(cells)))
        if idx is not None:
            self._record(idx)
        return idx

    def cells(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        """Rows of texts in columns of equal width."""
        self._add("cells", name, cells=_drawable_cells(rows))

    def graph(self, name: str, values: Sequence[float], overlay: str) -> None:
        """A graph of values from zero up, with a text over it, over the remaining width."""
        self.fill_width()
        self._add("graph", name, tuple(values), shown=overlay)

    # What the methods above have in common

    def _add(
        self,
        kind: Kind,
        name: str,
        value: Value = None,
        *,
        shown: str | None = None,
        width: float | None = None,
        tooltip: str = "",
        **facts: Any,
    ) -> Control:
        """Record a control; its text is `shown`, or the part of its name before `##`."""
        name = drawable(name)
        if not (self._joins and self._rows):
            self._rows.append(_Row())
        row = self._rows[-1]
        width, fills = self._take_width(row, width)
        control = Control(
            kind,
            self._key(name),
            name.partition("##")[0] if shown is None else drawable(shown),
            value,
            tooltip=drawable(tooltip),
            width=width,
            fills=fills,
            is_disabled=bool(self._reasons or self._num_blank),
            reason=next(filter(None, self._reasons), ""),
            is_blank=self._num_blank > 0,
            **facts,
        )
        row.controls.append(control)
        self._last, self._joins = (row, len(row.controls) - 1), False
        return control

    def _take_width(self, row: "_Row", width: float | None) -> tuple[float | None, bool]:
        """The width of the next control, and whether it fills the row."""
        asked, self._width = self._width, None
        rest, self._rest = self._rest, None
        if width == math.inf:
            return None, True
        if rest is None:
            return (width if asked is None else asked), False
        if row.rest is not None and row.rest > rest:  # another control has left this room
            return max(row.rest - rest, MIN_EMS), False
        row.rest = rest
        return None, True

    def _key(self, name: str) -> str:
        """The key of a name; a name that is there already is numbered."""
        key = f"{self._sections[-1].title}/{name}"
        if key in self._keys:
            self._warn(key, "two controls of a section have the same name")
            number = 2
            while f"{key}#{number}" in self._keys:
                number += 1
            key = f"{key}#{number}"
        self._keys.add(key)
        return key

    def _line_name(self) -> str:
        """A name for a line of text, which has none of its own."""
        section = self._sections[-1]
        section.num_lines += 1
        return f"##line {section.num_lines}"

    def _event(self, control: Control, check: Callable[[Any], T | None]) -> T | None:
        """What the user has done to a control; None for nothing, or nothing valid."""
        if control.is_disabled or control.key not in self._events:
            return None
        value = check(self._events.pop(control.key))
        if value is None:
            self._refuse(control.key)
        return value

    def _changed(self, control: Control, check: Callable[[Any], T | None], value: T) -> T:
        """The new value of a control, which the tree shows from this frame on."""
        event = self._event(control, check)
        if event is None:
            return value
        self._record(event)
        return event

    def _flag(self, control: Control) -> bool:
        return self._changed(control, untrusted.flag, bool(control.value))

    def _clicked(self, control: Control) -> bool:
        return self._event(control, untrusted.click) is not None

    def _record(self, value: Any) -> None:
        """Set the value of the last control."""
        assert self._last is not None
        row, idx = self._last
        row.controls[idx] = replace(row.controls[idx], value=value)

    def _pair(self, name: str, value: tuple[T, T], draw: Callable[[str, T], T]) -> tuple[T, T]:
        """Two controls of the same kind side by side."""
        with self._grid(name, 2):
            x, y = (draw(f"{name}/{idx}", part) for idx, part in enumerate(value))
        return x, y

    @contextmanager
    def _grid(self, name: str, num_columns: int) -> Iterator[None]:
        """The controls inside are the children of a grid."""
        self._add("grid", name, num_columns=num_columns)
        with self._inside():
            yield

    @contextmanager
    def _menu(self, name: str, **facts: Any) -> Iterator[bool]:
        control = self._add("menu", name, **facts)
        before = control.key == self._open_menu and not control.is_disabled
        is_open = self._changed(control, untrusted.flag, before)
        if is_open and not before:
            self._searched = ""
        if is_open:
            self._open_menu = control.key
        elif before:
            self._open_menu = None
        if not control.is_disabled:
            self._drawn_menus.add(control.key)
        self._record(is_open)
        with self._inside():
            yield is_open

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """The rows inside belong to the last control."""
        outer, owner = self._rows, self._last
        assert owner is not None
        self._rows = []
        try:
            yield
        finally:
            row, idx = owner
            group = row.controls[idx]
            rows = tuple(inner.frozen() for inner in self._rows)
            if group.kind == "grid":
                children = tuple(child for inner in rows for child in inner.controls)
                row.controls[idx] = replace(group, children=children)
            else:
                row.controls[idx] = replace(group, rows=rows)
            self._rows, self._last, self._joins = outer, owner, False

    def _refuse(self, key: str) -> None:
        self.num_dropped += 1
        self._warn(key, "a browser sent a value that does not fit the control")

    def _warn(self, key: str, message: str) -> None:
        """Say it once for each control: a browser could fill the log."""
        if key not in self._warned:
            self._warned.add(key)
            log.warning("%s: %r", message, key)


def _drawable_cells(rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(map(drawable, row)) for row in rows)


@dataclass
class _Row:
    """A row that is being drawn; `rest` is the room that a filling control has left."""

    label: str | None = None
    tooltip: str = ""
    controls: list[Control] = field(default_factory=list)
    rest: float | None = None

    def frozen(self) -> Row:
        return Row(self.label, self.tooltip, tuple(self.controls))


@dataclass
class _Section:
    """A section that is being drawn."""

    title: str
    is_open: bool
    rows: list[_Row] = field(default_factory=list)
    num_lines: int = 0

    @property
    def is_shown(self) -> bool:
        """What is drawn before the first section has no title; it is shown if there is any."""
        return bool(self.title or self.rows)

    def frozen(self) -> Section:
        return Section(self.title, self.is_open, tuple(row.frozen() for row in self.rows))
