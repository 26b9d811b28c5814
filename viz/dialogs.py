"""Dialogs in the middle of the window: the list of keys, and the question whether to quit."""

from imgui_bundle import imgui

from gui_utils import controls
from viz.keys import COMMON, DRAG, PAN

KEYS = (
    DRAG,
    ("Wheel in the picture", "zoom"),
    PAN,
    ("Ctrl + 0", "the whole picture"),
    ("Drop a file", "load a network, latents, directions"),
    *COMMON,
    ("Ctrl + Plus, Ctrl + Minus", "larger, smaller controls"),
    ("Ctrl + click on a slider", "type a number"),
    ("F1", "show or hide this help"),
    ("Esc", "close the open dialog, or quit"),
)
FLAGS = (
    imgui.WindowFlags_.no_saved_settings
    | imgui.WindowFlags_.always_auto_resize
    | imgui.WindowFlags_.no_collapse
)


class Dialogs:
    """The two dialogs; at most one is open."""

    def __init__(self) -> None:
        self._open: str | None = None

    @property
    def is_asking(self) -> bool:
        """Whether the question is open."""
        return self._open == "Quit?"

    def toggle_help(self) -> None:
        """Open the help, or close the open dialog."""
        self._open = None if self._open is not None else "Help"

    def ask_to_quit(self) -> None:
        """Ask whether to quit."""
        self._open = "Quit?"

    def close(self) -> bool:
        """Close the open dialog, and return whether there was one."""
        was_open, self._open = self._open is not None, None
        return was_open

    def draw(self) -> bool:
        """Draw the open dialog, and return whether the user wants to quit."""
        if self._open is None:
            return False
        size = imgui.get_io().display_size
        imgui.set_next_window_pos((size.x / 2, size.y / 2), imgui.Cond_.always, (0.5, 0.5))
        _, stays_open = imgui.begin(self._open, True, FLAGS)
        is_quitting = False
        if self.is_asking:
            imgui.text_unformatted("Close the viewer?")
            is_quitting = controls.button("Quit (Enter)##dialog", 9)
            imgui.same_line()
            if controls.button("Stay (Esc)##dialog", 9):
                stays_open = False
        elif imgui.begin_table("keys", 2, imgui.TableFlags_.sizing_fixed_fit):
            for keys, effect in KEYS:
                imgui.table_next_column()
                imgui.text_unformatted(keys)
                imgui.table_next_column()
                imgui.text_disabled(effect)
            imgui.end_table()
        imgui.end()
        if not stays_open:
            self._open = None
        return is_quitting
