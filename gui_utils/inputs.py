"""What a user does in the picture and on the keyboard, in a window or in a browser."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KeyPress:
    """A key that went down.

    Attributes:
        name: `Esc`, or the character of the key in the user's keyboard layout, as a capital letter,
            or another name such as `F1`. If the layout has another alphabet, the letter of the US
            layout.
        ctrl: Whether Ctrl is held; on macOS the command key, too.
        shift: Whether Shift is held.
        is_repeat: Whether the key is held down; false for the first press.
    """

    name: str
    ctrl: bool = False
    shift: bool = False
    is_repeat: bool = False


@dataclass(frozen=True)
class Pointer:
    """The left mouse button, or one finger, in the picture.

    Attributes:
        position: Place in pixels of the image, to the right and down, inside the image.
        reach: Distance at which the mouse takes hold of a point, in pixels of the image.
        is_pressed: Whether the button went down on the image just now.
        is_held: Whether the button is down since it went down on the image.
    """

    position: tuple[float, float]
    reach: float
    is_pressed: bool
    is_held: bool
