"""The styles that a view shows: of a point or a file, mixed, moved along directions, dragged."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dnnlib import cli
from generation.images import map_seeds
from generation.latent_files import check_shape
from torch_utils.latents import make_transform
from torch_utils.networks import Generator, device_of
from viz.drag_steps import DragSteps
from viz.render_keywords import Given
from viz.style_files import StyleFiles, transform_of
from viz.view import DirectionsInfo, DragProgress, LatentsInfo, NetworkInfo, View

SEEDS_PER_ROW = 100  # in the plane of latents


@dataclass
class Styles:
    """What the synthesis gets, and facts for the user.

    Attributes:
        ws: Styles, `[1, num_ws, w_dim]`.
        moved: Transform of the content by the user, `[3, 3]`.
        own: Transform of the content in the file of latents, which comes before.
        latents: Facts about the file of latents.
        directions: Facts about the file of directions.
        drag: Where dragged points are.
        notices: Lines about misleading results.
    """

    ws: Tensor
    moved: np.ndarray
    own: np.ndarray = field(default_factory=lambda: np.eye(3))
    latents: LatentsInfo | None = None
    directions: DirectionsInfo | None = None
    drag: DragProgress | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def transform(self) -> np.ndarray:
        """Transform of the content as a whole, `[3, 3]`."""
        return self.moved @ self.own


class ViewStyles:
    """Finds the styles of views; keeps the last files and the last drag.

    Args:
        drag_sec: See `DragSteps`.
    """

    def __init__(self, drag_sec: float = math.inf) -> None:
        self._files = StyleFiles()
        self._drag_steps = DragSteps(drag_sec)

    def forget_drag(self) -> None:
        """Let go of the network whose points were dragged."""
        self._drag_steps.forget()

    @torch.no_grad()
    def of(self, G: Generator, info: NetworkInfo, view: View, given: Given) -> Styles:
        """The styles of a view.

        Raises:
            OSError: If a file cannot be read.
            InputError: If something in the view does not fit the network.
        """
        styles = self._start(G, info, view, given)
        styles.ws = _mixed(G, styles.ws, view)
        if view.directions is not None:
            offset, styles.directions, notices = self._files.offset(view, G)
            styles.ws = styles.ws + offset.to(styles.ws)
            styles.notices += notices
        if view.drag is not None:
            transform = styles.transform if info.has_transform else None
            styles.ws, styles.drag = self._drag_steps.state(
                G, styles.ws, view.drag, transform, "none" if view.noise_mode == "none" else "const"
            )
        return styles

    def _start(self, G: Generator, info: NetworkInfo, view: View, given: Given) -> Styles:
        """The styles before anything is done to them."""
        moved = make_transform(view.translate, view.rotate)
        moved = moved if given.transform is None else given.transform
        ws = given.styles(G, lambda seeds: _map_seeds(G, seeds, view))
        if ws is not None:
            return Styles(ws, moved)
        if view.latents is None:
            return Styles(_interpolated(G, view), moved)
        found, facts, notices = self._files.latents(view, info)
        check_shape(found.ws, G, view.latents)
        ws = found.ws[view.latent_idx : view.latent_idx + 1].to(device_of(G))
        own = transform_of(found, view.latent_idx)
        if found.transforms is not None and not info.has_transform:
            notices = [*notices, "the file's transforms have no effect on this network"]
        return Styles(ws, moved, own, latents=facts, notices=[*notices])


def _mixed(G: Generator, ws: Tensor, view: View) -> Tensor:
    """Styles in which some layers have those of another seed."""
    mixed = [layer for layer in view.mix_layers if layer < ws.shape[1]]
    if mixed:
        ws = ws.clone()
        ws[:, mixed] = _map_seeds(G, [view.mix_seed], view)[:, mixed]
    return ws


def _interpolated(G: Generator, view: View) -> Tensor:
    """Styles of the point in the plane of latents."""
    weights = {
        (col + SEEDS_PER_ROW * row) % (cli.MAX_SEED + 1): weight_x * weight_y
        for row, weight_y in _neighbours(view.y).items()
        for col, weight_x in _neighbours(view.x).items()
        if weight_x * weight_y > 0
    }
    ws = _map_seeds(G, list(weights), view)
    if len(weights) > 1:
        ws = (ws * ws.new_tensor(list(weights.values()))[:, None, None]).sum(0, keepdim=True)
    return ws


def _neighbours(place: float) -> dict[int, float]:
    """Weights of the whole numbers beside a place, which add up to 1."""
    before = int(np.floor(place))
    if place == before:  # `before + 1` may be too large for a float
        return {before: 1.0}
    return {before: before + 1 - place, before + 1: place - before}


def _map_seeds(G: Generator, seeds: list[int], view: View) -> Tensor:
    return map_seeds(
        G,
        seeds,
        view.class_idx,
        truncation_psi=view.truncation_psi,
        truncation_cutoff=view.truncation_cutoff,
    )
