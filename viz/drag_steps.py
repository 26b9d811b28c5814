"""Point dragging for the renderer, which asks for the state after a number of steps."""

import math
import time
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from editing.dragging import Dragging
from generation.latent_files import check_shape
from torch_utils.networks import Generator
from viz.view import Drag, DragProgress

MAX_STATES = 4000  # states kept for undo, of all drags; new ones replace the oldest


class DragSteps:
    """Remembers states of drags, so that one step more is the work of one step, and undo is none.

    After a return to an earlier state of another drag, the window begins a new drag there; only a
    view that somebody kept needs all of its steps again.

    Args:
        drag_sec: Time for new steps in one call of `state`, which takes one at least.
    """

    def __init__(self, drag_sec: float = math.inf) -> None:
        self._drag_sec = drag_sec
        self._key: tuple | None = None  # of the drag that can go on
        self._dragging: Dragging | None = None
        self._states: dict[tuple, tuple[Tensor, DragProgress]] = {}  # by key and number of steps

    def forget(self) -> None:
        """Let go of the network and all states."""
        self._key = self._dragging = None
        self._states.clear()

    def state(
        self,
        G: Generator,
        ws: Tensor,
        drag: Drag,
        transform: np.ndarray | None,
        noise_mode: Literal["const", "none"],
    ) -> tuple[Tensor, DragProgress]:
        """The styles `[1, num_ws, w_dim]` and the points after the steps of a drag.

        If there is no time for all steps, they are those after fewer steps; the next call goes on.

        Args:
            G: The generator.
            ws: Styles of the view, where a drag without a start of its own begins.
            drag: The drag.
            transform: Transform of the content, `[3, 3]`; None if the network has none.
            noise_mode: Noise of the image.

        Raises:
            InputError: If the points, the mask or the start do not fit the network.
        """
        if drag.start is not None:
            ws = torch.from_numpy(drag.start.array().copy()).to(ws).unsqueeze(0)
            check_shape(ws, G, "of the dragged image")
        if drag.num_steps == 0 or not drag.points:
            return ws, DragProgress(drag.points, _distance(drag), False, drag.num_steps)
        placement = None if transform is None else transform.tobytes()
        what = (drag.points, drag.targets, drag.mask, noise_mode, placement)
        key = (id(G), ws.cpu().numpy().tobytes(), *what)
        if (key, drag.num_steps) not in self._states:
            dragging = self._dragging
            if key != self._key or dragging is None or dragging.num_steps > drag.num_steps:
                mask = None if drag.mask is None else drag.mask.array().copy()
                dragging = Dragging(
                    G,
                    ws,
                    drag.points,
                    drag.targets,
                    mask=mask,
                    noise_mode=noise_mode,
                    transform=transform,
                )
            self._key, self._dragging = key, dragging
            start_sec = time.monotonic()
            while dragging.num_steps < drag.num_steps:
                state = dragging.step()
                progress = DragProgress(
                    state.points, max(state.distances), state.is_done, state.num_steps
                )
                self._states[key, state.num_steps] = state.ws, progress
                if time.monotonic() - start_sec >= self._drag_sec:
                    break
            for oldest in list(self._states)[:-MAX_STATES]:
                del self._states[oldest]
            return self._states[key, dragging.num_steps]
        return self._states[key, drag.num_steps]


def _distance(drag: Drag) -> float:
    pairs = zip(drag.points, drag.targets, strict=True)
    return max((math.dist(point, target) for point, target in pairs), default=0.0)
