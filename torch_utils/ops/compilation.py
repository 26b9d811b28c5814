"""Tells who wants to know that kernels are being compiled: that takes seconds, once."""

import contextlib
from collections.abc import Callable, Iterator

_listeners: list[Callable[[str], None]] = []


@contextlib.contextmanager
def listener(tell: Callable[[str], None]) -> Iterator[None]:
    """Inside, call a function with a line for people whenever kernels are compiled.

    Args:
        tell: Called from any thread, with the same line several times if there are several kernels.
    """
    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.remove(tell)


def tell(text: str) -> None:
    """Pass a line on to all listeners."""
    for listen in tuple(_listeners):
        listen(text)
