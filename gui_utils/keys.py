"""Reads key presses of GLFW: the key, by the user's own keyboard layout, and Ctrl and Shift."""

import sys

import glfw

from gui_utils.inputs import KeyPress

NAMED = {
    glfw.KEY_ESCAPE: "Esc",
    glfw.KEY_ENTER: "Enter",
    glfw.KEY_KP_ENTER: "Enter",
    glfw.KEY_F1: "F1",
}
# On macOS the command key does what Ctrl does elsewhere.
CTRL = glfw.MOD_CONTROL | (glfw.MOD_SUPER if sys.platform == "darwin" else 0)


def read_key(key: int, scancode: int, action: int, mods: int) -> KeyPress | None:
    """Translate arguments of GLFW's key callback; None unless a key with a name went down."""
    if action == glfw.RELEASE or mods & glfw.MOD_ALT:
        return None
    name = NAMED.get(key) or (glfw.get_key_name(key, scancode) or "").upper()
    if not name.isascii() and ord("A") <= key <= ord("Z"):
        name = chr(key)  # GLFW names keys after the US layout
    if not name:
        return None
    return KeyPress(name, bool(mods & CTRL), bool(mods & glfw.MOD_SHIFT), action == glfw.REPEAT)
