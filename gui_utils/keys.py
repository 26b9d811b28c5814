"""Key presses as text: `Ctrl+S`, `F1`, `Esc`."""

import sys
from dataclasses import dataclass

import glfw

NAMED = {
    glfw.KEY_ESCAPE: "Esc",
    glfw.KEY_ENTER: "Enter",
    glfw.KEY_KP_ENTER: "Enter",
    glfw.KEY_F1: "F1",
}
# On macOS the command key does what Ctrl does elsewhere.
CTRL = glfw.MOD_CONTROL | (glfw.MOD_SUPER if sys.platform == "darwin" else 0)


@dataclass(frozen=True)
class KeyPress:
    """A key that went down.

    Attributes:
        chord: What was pressed, modifiers first: `Ctrl+Shift+Z`. Letters are those of the user's
            keyboard layout.
        is_repeat: Whether the key is held down, and this is not the first press.
    """

    chord: str
    is_repeat: bool = False


def read_key(key: int, scancode: int, action: int, mods: int) -> KeyPress | None:
    """What GLFW's key callback tells; None where no key went down, or one without a name."""
    if action == glfw.RELEASE:
        return None
    name = NAMED.get(key) or (glfw.get_key_name(key, scancode) or "").upper()
    if not name:
        return None
    modifiers = (("Ctrl", CTRL), ("Alt", glfw.MOD_ALT), ("Shift", glfw.MOD_SHIFT))
    held = [modifier for modifier, bit in modifiers if mods & bit]
    return KeyPress("+".join([*held, name]), action == glfw.REPEAT)
