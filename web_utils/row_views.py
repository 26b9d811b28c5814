"""Rows on a page: a row keeps its elements as long as it has the same structure."""

from dataclasses import replace

from nicegui.element import Element
from nicegui.elements.tooltip import Tooltip

from web_utils import control_views
from web_utils.control_views import ButtonView, ControlView, Hand
from web_utils.elements import Text, listen, set_class, set_prop
from web_utils.table_view import TableView
from web_utils.tree import Control, Kind, Row

MAX_LABEL = 12  # characters that fit into the column of labels
FOCUS_FIRST = "() => document.querySelector('.pane-popup input, .pane-popup button')?.focus()"


def structure(row: Row) -> Row:
    """A row without what its elements can change."""
    return replace(row, tooltip="", controls=tuple(map(_bare, row.controls)))


def _bare(control: Control) -> Control:
    return replace(
        control,
        name="" if control.kind in ("text", "separator", "graph", "menu") else control.name,
        value=None,
        tooltip="",
        is_disabled=False,
        reason="",
        is_blank=False,
        limits=None,
        form=None,
        cells=(),
        children=tuple(map(_bare, control.children)),
        rows=(),
    )


class RowsView:
    """Rows inside the current element."""

    def __init__(self, hand: Hand, classes: str = "") -> None:
        self._hand = hand
        self._views: list[RowView] = []
        self._element = Element("div").classes(f"pane-rows {classes}")

    def update(self, rows: tuple[Row, ...]) -> None:
        """Show other rows; rows of a structure that is there already keep their elements."""
        before = self._views
        unused: dict[Row, list[RowView]] = {}
        for view in reversed(before):
            unused.setdefault(view.structure, []).append(view)
        self._views = []
        for row in rows:
            # The same place first: then there is no structure to compute.
            same = before[len(self._views)] if len(self._views) < len(before) else None
            key = row if same is None else same.structure
            if same is None or same.row != row:
                key = structure(row)
            if views := unused.get(key):
                self._views.append(views.pop())
                self._views[-1].update(row)
            else:
                with self._element:
                    self._views.append(RowView(row, key, self._hand))
        for views in unused.values():
            for view in views:
                view.element.delete()
        if self._element.default_slot.children != [view.element for view in self._views]:
            self._element.default_slot.children[:] = [view.element for view in self._views]
            self._element.update()


class RowView:
    """A label and controls, inside the current element."""

    def __init__(self, row: Row, bare: Row, hand: Hand) -> None:
        self.row = row
        self.structure = bare
        self._hand = hand
        self._tooltip: Tooltip | None = None
        with Element("div").classes("pane-row") as self.element:
            if row.label is not None:
                with Text("div", row.label, "pane-label"):
                    self._tooltip = Tooltip(row.tooltip).classes("pane-tooltip")
            with Element("div").classes("pane-controls"):
                spoken = row.label or ""
                self._views = [make_view(control, hand, spoken) for control in row.controls]
        self._show_label(row)

    def update(self, row: Row) -> None:
        """Show a row of the same structure."""
        if row == self.row and not self._hand.touched:
            return
        self.row = row
        self._show_label(row)
        for view, control in zip(self._views, row.controls, strict=True):
            view.update(control)

    def _show_label(self, row: Row) -> None:
        if self._tooltip is not None:
            # A long label is shortened on the page.
            name = row.label if row.label and len(row.label) > MAX_LABEL else ""
            text = ": ".join(filter(None, (name, row.tooltip)))
            self._tooltip.set_text(text)
            set_class(self._tooltip, "hidden", not text)


def make_view(control: Control, hand: Hand, label: str) -> ControlView:
    """Show a control inside the current element; `label` is that of its row."""
    name = control.key.partition("##")[2].rpartition("/")[0] or control.key.rpartition("##")[2]
    return VIEWS[control.kind](control, hand, label or name)


class GroupView(ControlView):
    """Several controls, which themselves say why they are disabled."""

    def explanation(self, control: Control) -> str:
        return control.tooltip


class GridView(GroupView):
    """Controls in columns."""

    def build(self, control: Control) -> None:
        self.frame.style(f"--count: {control.num_columns}")
        self._views = [
            make_view(child, self.hand, f"{self.spoken} {idx + 1}")
            for idx, child in enumerate(control.children)
        ]

    def show(self, control: Control) -> None:
        for view, child in zip(self._views, control.children, strict=True):
            view.update(child)


class ScrollAreaView(GroupView):
    """Rows, of which some are visible at a time."""

    def build(self, control: Control) -> None:
        self.frame.style(f"--rows: {control.num_rows}")
        self._rows = RowsView(self.hand)

    def show(self, control: Control) -> None:
        self._rows.update(control.rows)


class MenuView(ButtonView):
    """A button that opens a menu."""

    def explanation(self, control: Control) -> str:
        # It would cover the menu.
        return "" if control.value else super().explanation(control)

    def build(self, control: Control) -> None:
        super().build(control)
        self.button.props["aria-haspopup"] = "menu"
        self._menu = Element("q-menu").classes("pane-popup")
        self._menu.props["no-parent-event"] = True
        self._menu.props["transition-duration"] = 80
        # The first field, or the first line, takes the keyboard.
        self._menu.on("show", js_handler=FOCUS_FIRST)
        listen(self._menu, "update:model-value", self.send)
        with self._menu:
            self._rows = RowsView(self.hand)

    def click(self) -> None:
        self.send(not self.latest)

    def show(self, control: Control) -> None:
        super().show(control)
        set_prop(self._menu, "model-value", bool(control.value))
        set_prop(self.button, "aria-expanded", "true" if control.value else "false")
        self._rows.update(control.rows)


class TreeNodeView(ButtonView):
    """A line of a menu that opens."""

    def build(self, control: Control) -> None:
        super().build(control)
        self._rows = RowsView(self.hand, "pane-nested")

    def click(self) -> None:
        self.send(not self.latest)

    def show(self, control: Control) -> None:
        super().show(control)
        set_prop(self.button, "aria-expanded", "true" if control.value else "false")
        self._rows.update(control.rows)


VIEWS: dict[Kind, type[ControlView]] = {
    "text": control_views.LineView,
    "separator": control_views.LineView,
    "button": ButtonView,
    "toggle": ButtonView,
    "menu_item": ButtonView,
    "drag_button": control_views.DragButtonView,
    "checkbox": control_views.CheckboxView,
    "radio": control_views.RadioView,
    "input_int": control_views.NumberView,
    "slider_int": control_views.SliderView,
    "slider": control_views.SliderView,
    "speed_slider": control_views.SliderView,
    "drag": control_views.DragView,
    "input_text": control_views.InputTextView,
    "choice": control_views.ChoiceView,
    "grid": GridView,
    "scroll_area": ScrollAreaView,
    "menu": MenuView,
    "tree_node": TreeNodeView,
    "table": TableView,
    "cells": control_views.CellsView,
    "graph": control_views.GraphView,
}
