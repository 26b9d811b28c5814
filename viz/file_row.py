"""A row with the path of a file: type it, drop the file on the window, or close the file."""

import os

from gui_utils.toolkit import Toolkit


class FileRow:
    """A row of a pane.

    Args:
        name: Name of the row.
        tooltip: What the file is.
        placeholder: Shown in the empty field.
    """

    def __init__(self, name: str, tooltip: str, placeholder: str) -> None:
        self._name = name
        self._tooltip = tooltip
        self._placeholder = placeholder
        self._typed = ""
        self._shown: str | None = None  # the path that `_typed` was set from
        self._is_entered = False

    def draw(self, ui: Toolkit, path: str | None) -> str | None:
        """Draw the row, and return the path now; None if there is no file."""
        if path != self._shown:
            self._typed, self._shown = path or "", path
        ui.label(self._name, self._tooltip)
        ui.fill_width(4.6)
        key = f"##{self._tooltip}"
        is_entered, self._typed = ui.input_text(key, self._typed, self._placeholder, self._typed)
        ui.same_line()
        with ui.disabled(path is None, "there is no file"):
            is_closed = ui.button(f"Close{key}", 4, f"Do without {os.path.basename(path or '')}")
        if is_closed:
            return None
        typed = self._typed.strip().strip("\"'")
        self._is_entered |= is_entered
        return (typed or None) if is_entered else path

    def take_entry(self) -> bool:
        """Whether a path was entered since the last call, perhaps the same one again."""
        is_entered, self._is_entered = self._is_entered, False
        return is_entered
