"""Elements of the page that NiceGUI lacks."""

from collections.abc import Callable
from typing import Any

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from nicegui.elements.mixins.value_element import ValueElement
from nicegui.events import GenericEventArguments

SLIDER_SEC = 1 / 30  # between messages of a slider; the last one always comes


class Field(Element, component="field.js"):
    """A line of text or a number, which the server does not change while the user types.

    Args:
        is_number: Whether it tells the server its text only when it is entered.
        on_enter: Gets the text when the user presses Enter or, with numbers, leaves the field.
        on_type: Gets a text at each key.
        on_step: Gets 1 or -1 for the arrows up and down in a number.
    """

    def __init__(
        self,
        is_number: bool,
        on_enter: Callable[[Any], None],
        on_type: Callable[[Any], None] | None = None,
        on_step: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__()
        self.props["text"] = ""
        self.props["isNumber"] = is_number
        for name, handler in (("enter", on_enter), ("type", on_type), ("step", on_step)):
            if handler is not None:
                listen(self, name, handler)


class DragArea(Element, component="drag_area.js"):
    """Lets the user press and drag what is inside, without limits of the screen.

    Args:
        on_move: Gets movements `[dx, dy]`, at most about 30 a second.
        in_pixels: Whether they are in pixels; otherwise in ems.
    """

    def __init__(self, on_move: Callable[[Any], None], in_pixels: bool) -> None:
        super().__init__()
        self.props["inPixels"] = in_pixels
        self.props["hasArrows"] = not in_pixels
        listen(self, "move", on_move)


class Slider(ValueElement):
    """Quasar's slider; while the user moves it, the server does not send the values back."""

    LOOPBACK = False

    def __init__(self, value: float) -> None:
        super().__init__(tag="q-slider", value=value, throttle=SLIDER_SEC)


class Text(TextElement):
    """An element of HTML with a text."""

    def __init__(self, tag: str, text: str = "", classes: str = "") -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)


def listen(
    element: Element, name: str, handler: Callable[[Any], None], expression: str | None = None
) -> None:
    """Call a handler with the argument of an event, or with a JavaScript expression of `e`."""

    def handle(event: GenericEventArguments) -> None:
        handler(event.args)

    if expression is None:
        element.on(name, handle)
    else:
        element.on(name, handle, js_handler=f"(e) => emit({expression})")


def set_prop(element: Element, name: str, value: Any) -> None:
    """Set a property if it changes; None removes it."""
    if element.props.get(name) != value:
        element.props.set_optional(name, value)


def set_class(element: Element, name: str, is_on: bool) -> None:
    """Give an element a class of CSS, or take it away, if it changes."""
    element.classes(add=name if is_on else None, remove=None if is_on else name)
