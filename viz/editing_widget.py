"""Directions and points: what changes the shown image."""

from gui_utils.toolkit import Toolkit
from viz.directions_widget import DirectionsWidget
from viz.points_widget import PointsWidget
from viz.renderer import Result, View


class EditingWidget:
    """The pane "Directions & points".

    Attributes:
        directions: Its upper half.
        points: Its lower half.
    """

    title = "Directions & points"

    def __init__(self) -> None:
        self.directions = DirectionsWidget()
        self.points = PointsWidget()

    @property
    def is_animated(self) -> bool:
        """Whether the pane needs continuous frames."""
        return self.points.is_animated

    def draw(self, ui: Toolkit, view: View, result: Result | None, elapsed_sec: float) -> View:
        """Draw the pane, and return the view to render now."""
        view = self.directions.draw(ui, view, result)
        return self.points.draw(ui, view, result)
