"""The window and the browser draw the same controls, because they run the same panes."""

from dataclasses import replace
from typing import Any

import pytest

from tests.viz.web.test_session import Visitor

pytestmark = pytest.mark.slow

OF_THE_WINDOW = {
    ("Performance", "label", "Window"),
    ("Performance", "graph", "##frame"),
    ("Performance", "label", "FPS limit"),
    ("Performance", "slider_int", "##fps limit"),
    ("Performance", "checkbox", "Vsync"),
    ("Performance", "checkbox", "Async"),
    ("Capture", "label", "Folder"),
    ("Capture", "input_text", "##capture folder"),
    ("Capture", "button", "Save GUI"),
}
OF_THE_BROWSER = {("Performance", "label", "Connection")}
# A change of the view for each state, besides that of the network, and the mode of the mouse.
STATES: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "image": ("t.pkl", {}, None),
    "layer": ("t.pkl", dict(layer="L1_36_8", num_channels=1), None),
    "spectrum": ("t.pkl", dict(fft=True), None),
    "mask": ("t.pkl", {}, "mask"),
    "points": ("t.pkl", {}, "points"),
    "classes": ("cond.pkl", dict(noise_mode="random"), None),
    "grey": ("gray.pkl", {}, None),
}


class Recorder:
    """Passes calls on to a toolkit, and notes pane, kind and name of each control."""

    def __init__(self, toolkit) -> None:
        self.__dict__.update(toolkit=toolkit, drawn=set(), title="")

    def __getattr__(self, method: str):
        value = getattr(self.toolkit, method)
        if not callable(value):
            return value

        def call(*args, **kwargs):
            if method == "section":
                self.__dict__["title"] = args[0]
            if method not in ("text", "hint"):
                names = args[0] if method == "toggles" else args[:1]
                self.drawn.update((self.title, method, n) for n in names if isinstance(n, str))
            return value(*args, **kwargs)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.toolkit, name, value)


@pytest.mark.parametrize("state", STATES)
def test_window_and_browser_draw_the_same_controls(open_window, folder, state):
    name, changes, mode = STATES[state]
    network = str(folder / name)

    person = open_window(size=(800, 1400), browse_dirs=[folder])
    person.application.load(network)
    person.application.view = replace(person.application.view, **changes)
    person.application.points.state.mode = mode
    person.settle()
    in_window = person.application._toolkit = Recorder(person.application._toolkit)
    person.pump(2)

    visitor = Visitor(network, browse_dirs=[folder])
    session = visitor.session
    session.settings.folded = []
    session.view = replace(session.view, **changes)
    session.points.state.mode = mode
    visitor.settle()
    in_browser = Recorder(visitor.toolkit)
    visitor.toolkit.frame(lambda _: session.draw_panes(in_browser, 0))

    assert in_window.drawn - in_browser.drawn == OF_THE_WINDOW
    assert in_browser.drawn - in_window.drawn == OF_THE_BROWSER
