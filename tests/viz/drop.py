"""Drop files on a window of an X display, as a file manager does (XDND, version 5)."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from Xlib import X, Xatom
from Xlib.display import Display
from Xlib.protocol import event

VERSION = 5


def drop_files(
    display_name: str, paths: Sequence[Path], x: int, y: int, pump: Callable[[], None]
) -> None:
    """Drag files to a point of the screen and drop them there.

    Args:
        display_name: As in `DISPLAY`.
        paths: What to drop.
        x: Where, in pixels of the screen.
        y: Likewise.
        pump: Lets the window under that point handle its events.
    """
    display = Display(display_name)
    root = display.screen().root
    source = root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
    target = _window_with(display, root, "XdndAware")
    uris = display.intern_atom("text/uri-list")
    selection = display.intern_atom("XdndSelection")
    source.set_selection_owner(selection, X.CurrentTime)

    def tell(message: str, *data: int) -> None:
        values = [source.id, *data, 0, 0, 0, 0][:5]
        target.send_event(
            event.ClientMessage(
                window=target, client_type=display.intern_atom(message), data=(32, values)
            )
        )
        display.flush()

    tell("XdndEnter", VERSION << 24, uris)
    tell("XdndPosition", 0, x << 16 | y, X.CurrentTime, display.intern_atom("XdndActionCopy"))
    tell("XdndDrop", 0, X.CurrentTime)
    deadline = time.monotonic() + 10
    while True:
        assert time.monotonic() < deadline, "the window did not take the files"
        pump()
        while display.pending_events():
            request = display.next_event()
            if request.type == X.SelectionRequest:
                text = "".join(f"{path.as_uri()}\r\n" for path in paths)
                request.requestor.change_property(request.property, uris, 8, text.encode())
                request.requestor.send_event(
                    event.SelectionNotify(
                        time=request.time,
                        requestor=request.requestor,
                        selection=request.selection,
                        target=request.target,
                        property=request.property,
                    )
                )
                display.flush()
            elif request.type == X.ClientMessage and request.client_type == display.intern_atom(
                "XdndFinished"
            ):
                display.close()
                return


def _window_with(display, window, property_name: str):
    """The first window below `window` that has a property."""
    atom = display.intern_atom(property_name)
    for child in window.query_tree().children:
        if child.get_full_property(atom, Xatom.ATOM) is not None:
            return child
        found = _window_with(display, child, property_name)
        if found is not None:
            return found
    return None
