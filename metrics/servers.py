"""Find out within seconds whether a server answers."""

import threading

import requests

PROBE_SEC = 4.0  # a server without an answer in this time counts as unreachable


def probe(url: str) -> None:
    """Make sure that a server answers. Without this, looking up its address can take a minute.

    Raises:
        OSError: If the server does not answer within `PROBE_SEC`.
    """
    failures: list[str] = []

    def ask() -> None:
        try:
            requests.head(url, timeout=PROBE_SEC).close()
        except requests.exceptions.RequestException as error:
            failures.append(type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SEC)
    if thread.is_alive() or failures:
        reason = failures[0] if failures else f"nothing within {PROBE_SEC:g} s"
        raise OSError(f"the server cannot be reached: {reason}")
