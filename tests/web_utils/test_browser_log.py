"""What visitors send as a line of their browser's log, to NiceGUI's own handler."""

import pytest

nicegui = pytest.importorskip("nicegui", reason="needs requirements-web.txt")

from nicegui import core  # noqa: E402

from web_utils import browser_log  # noqa: E402
from web_utils.browser_log import LINES  # noqa: E402


@pytest.fixture
def send(monkeypatch):
    """Sends a message as a visitor; what is logged is what the server's terminal shows."""
    for handlers in core.sio.handlers.values():
        if "log" in handlers:
            monkeypatch.setitem(handlers, "log", handlers["log"])
    browser_log.make_printable()
    (handler,) = [handlers["log"] for handlers in core.sio.handlers.values() if "log" in handlers]
    return lambda message: handler("socket", message)


def test_lines_are_printable(send, caplog):
    send(
        {"client_id": "x", "level": "error", "message": "\x1b[2J\nError: all is lost" + "x" * 9999}
    )
    (message,) = caplog.messages
    assert message.startswith(r"in a browser: \x1b[2J\nError: all") and len(message) < 1000
    assert message.isprintable()


def test_other_messages_are_not_logged(send, caplog):
    for message in (None, "text", {}, {"message": ["x"]}, {"message": 10**400}):
        send(message)
    assert caplog.messages == []


def test_a_flood_is_counted_but_not_logged(send, caplog, monkeypatch):
    for n in range(LINES[0] + 5):
        send({"level": "info", "message": str(n)})
    assert len(caplog.messages) == LINES[0]
    monkeypatch.setattr(browser_log.Rate, "take", lambda self: 0.0)
    send({"level": "info", "message": "later"})
    assert caplog.messages[LINES[0] :] == [
        "5 lines of browsers are not shown: too many at once",
        "in a browser: later",
    ]
