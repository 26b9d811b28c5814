"""What the user does in the picture and on the keyboard, as the browser sends it."""

import json
from dataclasses import dataclass
from typing import Any

from gui_utils.inputs import KeyPress, Pointer
from web_utils import untrusted

MAX_MESSAGE = 65536  # characters
MAX_EVENTS = 256  # in one message
MAX_NAME = 32  # characters of the name of a key


@dataclass(frozen=True)
class DragMove:
    """Movement of the left mouse button or a finger, to the right and down, in ems of 15 pixels."""

    dx: float
    dy: float


Event = DragMove | Pointer | KeyPress


def read_message(text: str) -> dict[str, Any]:
    """Read a message from a browser.

    Raises:
        ValueError: If the message is not a JSON object, or long.
    """
    if len(text) > MAX_MESSAGE:
        raise ValueError(f"a message has at most {MAX_MESSAGE} characters, got {len(text)}")
    try:
        message = json.loads(text)
    except RecursionError:
        raise ValueError("a message is an object, got many inside one another") from None
    if not isinstance(message, dict):
        raise ValueError(f"a message is an object, got {type(message).__name__}")
    return message


def read_events(values: Any, size: tuple[int, int]) -> list[Event]:
    """Check events from a browser.

    Args:
        values: A list from JSON; each event is a list of its kind and its attributes.
        size: Width and height of the image, to keep positions inside.

    Raises:
        ValueError: If anything is not as the page sends it.
    """
    if not isinstance(values, list) or len(values) > MAX_EVENTS:
        raise ValueError(f"events are a list of at most {MAX_EVENTS}")
    return [_read_event(value, size) for value in values]


def _read_event(value: Any, size: tuple[int, int]) -> Event:
    match value:
        case ["drag", dx, dy]:
            return DragMove(_number(dx), _number(dy))
        case ["pointer", x, y, reach, bool(is_pressed), bool(is_held)]:
            x, y = (
                min(max(_number(place), 0.0), float(limit))
                for place, limit in zip((x, y), size, strict=True)
            )
            return Pointer((x, y), max(_number(reach), 0.0), is_pressed, is_held)
        case ["key", str(name), bool(ctrl), bool(shift), bool(is_repeat)] if len(name) <= MAX_NAME:
            return KeyPress(name, ctrl, shift, is_repeat)
    raise ValueError("an event is a drag, a pointer or a key")


def _number(value: Any) -> float:
    number = untrusted.number(value)
    if number is None:
        raise ValueError(f"an event has numbers up to {untrusted.MAX_FLOAT:g}")
    return number
