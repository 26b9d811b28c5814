"""The panes of `--simple`, for people who look at a network and need not know more."""

from gui_utils.toolkit import Toolkit
from viz.viewer import Viewer

# What the panes change, and so what links may hold.
FIELDS = (
    *("x", "y", "class_idx", "latent_idx"),
    *("truncation_psi", "truncation_cutoff", "amounts", "direction_layers"),
)


def draw(viewer: Viewer, ui: Toolkit, elapsed_sec: float) -> None:
    """Draw seed, class, truncation and directions, and change the view as the user does."""
    view, result = viewer.view, viewer.result
    viewer.points.is_folded = True
    with ui.blank(viewer.is_blank):
        view = viewer.latent.draw_place(ui, view, result, elapsed_sec)
        view = viewer.truncation.draw_truncation(ui, view, result)
        if view.directions is not None:
            view = viewer.editing.directions.draw_sliders(ui, view, result)
    viewer.is_animated = viewer.latent.is_animated
    viewer.view = view
