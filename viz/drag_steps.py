"""Point dragging for the renderer, which asks for the state after a number of steps."""

import math

import numpy as np
import torch
from torch import Tensor

from editing.dragging import Dragging, DragState
from generation.latent_files import check_shape
from torch_utils.networks import Generator
from viz.view import Drag, DragProgress

MAX_STATES = 2000  # states kept for undo; later steps replace the oldest


class DragSteps:
    """Remembers the states of the last drag, so that a step more is a step's work."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._dragging: Dragging | None = None
        self._states: dict[int, DragState] = {}

    def state(
        self, G: Generator, ws: Tensor, drag: Drag, transform: np.ndarray | None, noise_mode: str
    ) -> tuple[Tensor, DragProgress]:
        """The styles `[1, num_ws, w_dim]` and the points after the steps of a drag.

        Args:
            G: The generator.
            ws: Styles of the view, where a drag without a start of its own begins.
            drag: The drag.
            transform: Transform of the content, `[3, 3]`; None if the network has none.
            noise_mode: Noise of the image: `const` or `none`.

        Raises:
            InputError: If the points, the mask or the start do not fit the network.
        """
        if drag.start is not None:
            ws = torch.from_numpy(drag.start.array().copy()).to(ws).unsqueeze(0)
            check_shape(ws, G, "of the dragged image")
        if drag.num_steps == 0 or not drag.points:
            return ws, DragProgress(drag.points, _distance(drag), False)
        placement = None if transform is None else transform.tobytes()
        what = (drag.points, drag.targets, drag.mask, noise_mode, placement)
        key = (id(G), ws.cpu().numpy().tobytes(), *what)
        if key != self._key or self._is_lost(drag.num_steps):
            mask = None if drag.mask is None else drag.mask.array().copy()
            self._dragging = Dragging(
                G,
                ws,
                drag.points,
                drag.targets,
                mask=mask,
                noise_mode="none" if noise_mode == "none" else "const",
                transform=transform,
            )
            self._key, self._states = key, {}
        assert self._dragging is not None
        while drag.num_steps not in self._states:
            state = self._dragging.step()
            self._states[state.num_steps] = state
            self._states.pop(state.num_steps - MAX_STATES, None)
        state = self._states[drag.num_steps]
        return state.ws, DragProgress(state.points, max(state.distances), state.is_done)

    def _is_lost(self, num_steps: int) -> bool:
        """Whether only a new start leads to a state."""
        return num_steps not in self._states and num_steps < max(self._states, default=0)


def _distance(drag: Drag) -> float:
    pairs = zip(drag.points, drag.targets, strict=True)
    return max((math.dist(point, target) for point, target in pairs), default=0.0)
