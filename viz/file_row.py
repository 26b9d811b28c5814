"""A row with the path of a file: type it, drop the file on the window, or close the file."""

import os

from imgui_bundle import imgui

from gui_utils import controls, text


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

    def draw(self, path: str | None) -> str | None:
        """Draw the row, and return the path now; None if there is no file."""
        if path != self._shown:
            self._typed, self._shown = text.drawable(path or ""), path
        controls.label(self._name, self._tooltip)
        controls.fill_width(4.6)
        key = f"##{self._tooltip}"
        is_entered, self._typed = imgui.input_text_with_hint(
            key,
            self._placeholder,
            self._typed,
            imgui.InputTextFlags_.enter_returns_true | imgui.InputTextFlags_.auto_select_all,
        )
        controls.hint(self._typed)
        imgui.same_line()
        with controls.disabled(path is None, "there is no file"):
            is_closed = controls.button(
                f"Close{key}", 4, f"Do without {os.path.basename(path or '')}"
            )
        if is_closed:
            return None
        typed = self._typed.strip().strip("\"'")
        self._is_entered |= is_entered
        return (typed or None) if is_entered else path

    def take_entry(self) -> bool:
        """Whether a path was entered since the last call, perhaps the same one again."""
        is_entered, self._is_entered = self._is_entered, False
        return is_entered
