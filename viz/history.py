"""Undo and redo of changes of the view."""

from dataclasses import replace

from viz.renderer import View

MAX_STEPS = 200


class History:
    """Views in the order in which they were shown, without their networks.

    All changes during one drag of the mouse, or during an animation, are one step.
    """

    def __init__(self) -> None:
        self._past: list[View] = []
        self._future: list[View] = []
        self._current: View | None = None
        self._has_stepped = False  # since the last `note`

    def note(self, view: View, is_changing: bool) -> None:
        """Record the view after each frame.

        Args:
            view: The view.
            is_changing: Whether the step goes on: a control is held, or an animation runs.
        """
        view = replace(view, network=None)
        if self._current is None:
            self._current = view
        if self._has_stepped:  # the panes may adjust the view once, which is no step
            self._current, self._has_stepped = view, False
        if is_changing or view == self._current:
            return
        self._past = [*self._past, self._current][-MAX_STEPS:]
        self._future.clear()
        self._current = view

    def amend(self, before: View, after: View) -> None:
        """Replace a view that the network cannot show. This is no step of the user."""
        if self._current == replace(before, network=None):
            self._current = replace(after, network=None)

    def undo(self, view: View) -> View | None:
        """The view before the last step, with the network of `view`; None if there is none."""
        return self._step(self._past, self._future, view)

    def redo(self, view: View) -> View | None:
        """The view that the last `undo` left; None if there is none."""
        return self._step(self._future, self._past, view)

    def _step(self, source: list[View], dest: list[View], view: View) -> View | None:
        if not source:
            return None
        dest.append(replace(view, network=None))
        self._current, self._has_stepped = source.pop(), True
        return replace(self._current, network=view.network)
