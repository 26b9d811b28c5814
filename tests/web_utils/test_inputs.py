"""Events of the browser are checked before anything is done with them."""

import json

import pytest

from web_utils.inputs import (
    MAX_EVENTS,
    MAX_MESSAGE,
    DragMove,
    KeyPress,
    Pointer,
    read_events,
    read_message,
)

SIZE = (256, 128)


def test_events_become_values_and_positions_stay_in_the_image():
    values = [
        ["drag", 1, -2.5],
        ["pointer", 300.5, -1, 2, True, True],
        ["key", "Z", True, False, False],
    ]
    assert read_events(json.loads(json.dumps(values)), SIZE) == [
        DragMove(1, -2.5),
        Pointer((256, 0), 2, True, True),
        KeyPress("Z", ctrl=True),
    ]
    assert read_events([], SIZE) == []


@pytest.mark.parametrize(
    "values",
    [
        None,
        {},
        [["drag", 1]],
        [["drag", "1", 2]],
        [["drag", True, 2]],
        [["drag", float("inf"), 2]],
        [["drag", 10**400, 0]],
        [["pointer", 1, -(10**400), 3, True, True]],
        [["pointer", 1, 2, float("nan"), True, True]],
        [["pointer", 1, 2, 3, 1, 0]],
        [["key", "x" * 100, False, False, False]],
        [["key", 1, False, False, False]],
        [["jump"]],
        [[]],
        ["drag"],
        [["drag", 1, 2]] * (MAX_EVENTS + 1),
    ],
    ids=lambda values: str(values)[:40],
)
def test_other_events_are_refused(values):
    with pytest.raises(ValueError, match="event"):
        read_events(values, SIZE)


@pytest.mark.parametrize("text", ["", "[]", "1", "{", "[" * 60_000, " " * (MAX_MESSAGE + 1)])
def test_other_messages_are_refused(text):
    with pytest.raises(ValueError):
        read_message(text)
