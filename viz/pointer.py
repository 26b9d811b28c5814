"""The left mouse button, or a finger, in the picture."""

from dataclasses import dataclass

from viz.view import Point


@dataclass(frozen=True)
class Pointer:
    """The left mouse button in the picture.

    Attributes:
        position: Place in pixels of the image, inside the image.
        reach: Distance at which the mouse takes hold of a point, in pixels of the image.
        is_pressed: Whether the button went down on the image in this frame.
        is_held: Whether the button is down since it went down on the image.
    """

    position: Point
    reach: float
    is_pressed: bool
    is_held: bool
