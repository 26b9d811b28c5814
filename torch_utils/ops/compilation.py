"""The error of compiling kernels, for the CPU or CUDA, and the listeners that are told of it."""

import contextlib
from collections.abc import Callable, Iterator

from dnnlib.errors import MachineError

_listeners: list[Callable[[str], None]] = []


class BuildError(MachineError):
    """Kernels cannot be built or loaded on this machine; one line says why, and what to do."""


@contextlib.contextmanager
def listener(tell: Callable[[str], None]) -> Iterator[None]:
    """Inside, call a function with a line for people whenever kernels are compiled.

    Compiling takes seconds, once; a viewer can show why it waits.

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
