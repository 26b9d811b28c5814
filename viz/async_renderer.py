"""Rendering in a process of its own, so that the window never waits; the latest view wins.

`AsyncRenderer` and `InlineRenderer` have the same methods, so the window can use either.
"""

from collections.abc import Callable

from dnnlib import moved
from viz.renderer import Renderer, Result, View
from viz.shared_renderer import SessionRenderer, SharedRenderer

__getattr__ = moved.names_of(__name__)


class InlineRenderer:
    """Renders while the caller waits."""

    is_busy = False
    status = None

    def __init__(self, device: str = "auto", allow_untrusted: bool | None = None) -> None:
        self._renderer = Renderer(device, allow_untrusted)
        self._result: Result | None = None

    def submit(self, view: View) -> None:
        """Render a view."""
        self._result = self._renderer.render(view)

    def poll(self) -> Result | None:
        """The latest result, once."""
        result, self._result = self._result, None
        return result

    def close(self) -> None:
        """Nothing to do."""


class AsyncRenderer(SessionRenderer):
    """Renders in another process, which is started when needed and restarted after its death.

    Args:
        device: As for `Renderer`.
        allow_untrusted: As for `Renderer`.
        wake: Called from another thread after a new result or status.
    """

    def __init__(
        self,
        device: str = "auto",
        allow_untrusted: bool | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(SharedRenderer(device, allow_untrusted), wake)

    def close(self) -> None:
        """End the process."""
        self._shared.close()
