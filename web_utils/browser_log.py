"""What the scripts of a page log on the server; visitors can put anything into it."""

import logging
from collections.abc import Callable
from typing import Any

from dnnlib.text import one_line
from web_utils.rates import Rate

LINES = (20, 0.2)  # at once, and a second from then on; of all visitors

log = logging.getLogger(__name__)


def make_printable() -> None:
    """Log what browsers send in one line each, and not often; NiceGUI would print it unchanged."""
    from nicegui import core

    core.sio.on("log", _logs())


def _logs() -> Callable[[str, Any], None]:
    rate = Rate(*LINES)
    num_dropped = 0

    def log_message(_: str, message: Any) -> None:
        nonlocal num_dropped
        text = message.get("message") if isinstance(message, dict) else None
        if not isinstance(text, str):
            return  # NiceGUI's page sends texts only
        if rate.take() > 0:
            num_dropped += 1
            return
        if num_dropped:
            log.warning("%d lines of browsers are not shown: too many at once", num_dropped)
            num_dropped = 0
        log.warning("in a browser: %s", one_line(text))

    return log_message
