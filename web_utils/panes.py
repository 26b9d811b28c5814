"""Panes in a browser: shows the tree of `web_utils.toolkit` with NiceGUI."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element

from web_utils.control_views import Hand
from web_utils.elements import Text, listen, set_class, set_prop
from web_utils.row_views import RowsView
from web_utils.toolkit import WebToolkit
from web_utils.tree import Section

STYLE = Path(__file__).with_name("panes.css")
PRIMARY = "#1565c0"  # a blue that is easy to read on white, as is white on it


class Panes:
    """Sections of controls, inside the current element of a page.

    The element of each control has the attribute `data-key`, its key.

    Args:
        toolkit: Gets what the user does.
        on_event: Called after each event; it draws a frame, at once or later, and calls `update`.
    """

    def __init__(self, toolkit: WebToolkit, on_event: Callable[[], None]) -> None:
        ui.add_css(STYLE)
        ui.colors(primary=PRIMARY)
        self._toolkit = toolkit
        self._on_event = on_event
        self._hand = Hand(self._send, toolkit.is_waiting)
        self._views: list[_SectionView] = []
        self._element = Element("div").classes("panes")

    def update(self, sections: Sequence[Section]) -> None:
        """Show a tree; only what differs from the last one is sent to the browser."""
        if [view.title for view in self._views] != [section.title for section in sections]:
            self._element.clear()
            with self._element:
                self._views = [_SectionView(section.title, self._hand) for section in sections]
        for view, section in zip(self._views, sections, strict=True):
            view.update(section)
        self._hand.forget_seen()

    def _send(self, key: str, value: Any) -> None:
        self._toolkit.send(key, value)
        self._on_event()


class _SectionView:
    """A title to click on, and rows below it."""

    def __init__(self, title: str, hand: Hand) -> None:
        self.title = title
        self._hand = hand
        self._is_open = True
        with Element("section").classes("pane-section") as self._element:
            self._header = Text("button", title, "pane-title")
            self._header.props["type"] = "button"
            self._header.props["data-key"] = title
            set_class(self._header, "hidden", not title)
            listen(self._header, "click", lambda _: self._fold(), "true")
            self._rows = RowsView(hand)

    def update(self, section: Section) -> None:
        self._is_open = section.is_open
        set_prop(self._header, "aria-expanded", "true" if section.is_open else "false")
        set_class(self._element, "pane-folded", not section.is_open)
        self._rows.update(section.rows)

    def _fold(self) -> None:
        self._hand.send(self.title, not self._is_open)
