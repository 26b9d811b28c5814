"""A table of rows to choose from, by mouse or with the arrows of the keyboard."""

from typing import Any

from nicegui.element import Element

from web_utils.control_views import ControlView
from web_utils.elements import Text, set_class, set_prop
from web_utils.tree import Control

CLICKED_ROW = """(e) => {
  const row = e.target.closest("[data-idx]");
  if (row) emit(Number(row.dataset.idx));
}"""
ARROW = """(e) => {
  const by = { ArrowUp: -1, ArrowDown: 1 }[e.key];
  if (by) { e.preventDefault(); emit(by); }
}"""
# The page itself must not scroll.
SHOW_ROW = """{
  const row = getHtmlElement(%d), list = row?.parentElement;
  if (list) {
    const least = row.offsetTop + row.offsetHeight - list.clientHeight;
    list.scrollTop = Math.min(Math.max(list.scrollTop, least), row.offsetTop);
  }
}"""


class TableView(ControlView):
    """A header, and a list of rows."""

    def build(self, control: Control) -> None:
        self.rows: list[tuple[Element, list[Text]]] = []
        self._shown: int | None = None  # the row that was scrolled into view
        weights = " ".join(f"minmax(0, {weight:g}fr)" for _, weight in control.columns)
        self.frame.style(f"--columns: {weights}")
        with Element("div").classes("pane-table-row pane-table-head"):
            for title, _ in control.columns:
                Text("div", title)
        self.list = Element("div").classes("pane-table-list")
        self.list.props["role"] = "listbox"
        self.list.props["tabindex"] = 0
        self.list.props["aria-label"] = self.spoken
        self.list.on("click", lambda event: self.send(event.args), js_handler=CLICKED_ROW)
        self.list.on("keydown", lambda event: self._step(event.args), js_handler=ARROW)

    def show(self, control: Control) -> None:
        while len(self.rows) > len(control.cells):
            self.rows.pop()[0].delete()
        with self.list:
            self.rows += [self._make_row(i) for i in range(len(self.rows), len(control.cells))]
        selected = None if control.is_blank else control.value
        for idx, ((row, texts), cells) in enumerate(zip(self.rows, control.cells, strict=True)):
            for text, cell in zip(texts, cells, strict=True):
                text.set_text(cell)
            set_class(row, "pane-on", idx == selected)
            set_prop(row, "aria-selected", "true" if idx == selected else "false")
        if isinstance(selected, int) and selected != self._shown and selected < len(self.rows):
            self.list.client.run_javascript(SHOW_ROW % self.rows[selected][0].id)
        self._shown = selected if isinstance(selected, int) else None

    def _make_row(self, idx: int) -> tuple[Element, list[Text]]:
        with Element("div").classes("pane-table-row") as row:
            texts = [Text("div") for _ in self.control.columns]
        row.props["role"] = "option"
        row.props["data-idx"] = idx
        return row, texts

    def _step(self, by: Any) -> None:
        if by in (-1, 1):
            before = self.latest
            first = 0 if by > 0 else len(self.rows) - 1
            idx = first if before is None else before + by
            self.send(min(max(idx, 0), len(self.rows) - 1))
