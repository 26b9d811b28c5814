"""Drag points of an image to targets; the network redraws the image so that its content follows.

Pan et al. 2023, "Drag Your GAN: Interactive Point-based Manipulation on the Generative Image
Manifold". Each step moves the content under the points a little (Eq. 1), and then finds the points
again (Eq. 2). Both compare features of a middle layer, see `editing.middle_features`, which also
says how positions count: in pixels of the image, from its top left corner; pixel centres are at
half integers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from editing import middle_features
from editing.middle_features import MiddleFeatures, NoiseMode
from generation import latent_files
from generation.images import map_seeds
from torch_utils import latents
from torch_utils.networks import Generator, device_of

Point = tuple[float, float]

DONE_DISTANCE = 1.0  # pixels from its target at which a point has arrived
SPACING = 0.5  # pixels between the positions of a patch; small images need them between pixels
# Radii of the paper as fractions of the image, and what small images need at least, in pixels.
SUPERVISION_RADIUS, MIN_SUPERVISION_RADIUS = 3 / 512, 1.5
TRACKING_RADIUS, MIN_TRACKING_RADIUS = 12 / 512, 2.0
LAYER_SHARE = 0.5  # of the styles
NUM_STYLES = 256  # to measure the deviation of W


@dataclass(frozen=True)
class DragSettings:
    """How to drag; the defaults suit all networks.

    Attributes:
        learning_rate: Learning rate of Adam, in standard deviations of a component of W.
        supervision_radius: Half the width of the patch around a point that moves, r_1, in pixels;
            `None` for that of the paper, but 1.5 at least.
        tracking_radius: Half the width of the square in which a point is found again, r_2, in
            pixels; `None` for that of the paper, but 2 at least.
        mask_weight: Weight of the change of features where the picture shall not change, lambda.
        num_layers: How many of the first styles change; `None` for half of them.
        feature_layer: Name of the layer whose features count; `None` for
            `middle_features.choose_layer`.
    """

    learning_rate: float = 0.01
    supervision_radius: float | None = None
    tracking_radius: float | None = None
    mask_weight: float = 3
    num_layers: int | None = None
    feature_layer: str | None = None


@dataclass(frozen=True)
class DragState:
    """What a drag has reached.

    Attributes:
        ws: Styles, float32 `[1, num_ws, w_dim]` on the device of the network.
        points: Where the points are now.
        distances: Their distances to the targets, in pixels.
        num_steps: Steps taken.
        is_done: Whether every point is within `DONE_DISTANCE` of its target.
    """

    ws: Tensor
    points: tuple[Point, ...]
    distances: tuple[float, ...]
    num_steps: int
    is_done: bool


class Dragging:
    """A drag, step by step. On the CPU, the same arguments give the same steps.

    The network is not changed. Its gradients need not be enabled, and stay as they are.

    Args:
        G: The generator, on the device to use.
        ws: Styles of the image, `[1, num_ws, w_dim]` or `[num_ws, w_dim]`.
        points: Positions (x, y) in the image, in pixels.
        targets: Where the content at each point shall go.
        mask: Where the picture may change, bool `[img_resolution, img_resolution]`; `None` for
            everywhere.
        noise_mode: Noise of StyleGAN2: the network's own, or none.
        transform: Transform of the content, `[3, 3]`, see `torch_utils.latents.make_transform`;
            `None` for none.
        settings: How to drag.
        num_steps_done: Steps to count from, for a drag that continues another one.

    Raises:
        InputError: If an argument does not fit the network or the others.
    """

    @torch.inference_mode(False)
    @torch.enable_grad()
    def __init__(
        self,
        G: Generator,
        ws: Tensor,
        points: Sequence[Point],
        targets: Sequence[Point],
        *,
        mask: Tensor | np.ndarray | None = None,
        noise_mode: NoiseMode = "const",
        transform: np.ndarray | None = None,
        settings: DragSettings | None = None,
        num_steps_done: int = 0,
    ) -> None:
        self.G = G
        self.settings = settings or DragSettings()
        self.noise_mode = noise_mode
        self.num_steps = num_steps_done
        self.layer = self.settings.feature_layer or middle_features.choose_layer(G)
        ws = _checked_styles(ws, G)
        _check_points(points, targets, G.img_resolution)
        _check_settings(self.settings, self.layer, noise_mode, G)
        device = device_of(G)
        self.points = torch.tensor(points, dtype=torch.float32, device=device)
        self.targets = torch.tensor(targets, dtype=torch.float32, device=device)
        self.overrides = _overrides(G, transform)

        share = math.ceil(G.num_ws * LAYER_SHARE)
        num_layers = share if self.settings.num_layers is None else self.settings.num_layers
        size = G.img_resolution
        r_1, r_2 = self.settings.supervision_radius, self.settings.tracking_radius
        if r_1 is None:
            r_1 = max(SUPERVISION_RADIUS * size, MIN_SUPERVISION_RADIUS)
        if r_2 is None:
            r_2 = max(TRACKING_RADIUS * size, MIN_TRACKING_RADIUS)
        self.patch, self.search = square(r_1).to(device), square(r_2).to(device)

        ws = ws.to(device, torch.float32, copy=True)
        self.moving = ws[:, :num_layers].clone().requires_grad_()
        self.fixed = ws[:, num_layers:]
        self.features = self._features()  # those of the present styles, with gradients
        self.start = self.features.detach()
        self.start_at_points = self.start.at(self.points)
        self.outside = None if mask is None else _outside(mask, points, self.start)
        rate = self.settings.learning_rate * _deviation_of_w(G)
        self.optimizer = torch.optim.Adam([self.moving], lr=rate)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def step(self) -> DragState:
        """Move the content once, and find the points again.

        Raises:
            InputError: If the styles become NaN or infinite.
        """
        loss = motion_supervision(self.features, self.points, self.targets, self.patch)
        if self.outside is not None:
            change = masked_change(self.features, self.start, self.outside)
            loss = loss + self.settings.mask_weight * change
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if not self.moving.isfinite().all():
            raise InputError(
                "the drag became NaN or infinite: the network is damaged, or the learning rate "
                "too high"
            )
        self.features = self._features()  # serve the tracking, and the next step
        found = self.features.detach()
        self.points = track(found, self.start_at_points, self.points, self.search)
        self.num_steps += 1
        return self.state

    @property
    def state(self) -> DragState:
        """What the drag has reached."""
        distances = (self.targets - self.points).norm(dim=1).tolist()
        return DragState(
            ws=self._ws().detach(),
            points=tuple((x, y) for x, y in self.points.tolist()),
            distances=tuple(distances),
            num_steps=self.num_steps,
            is_done=max(distances) <= DONE_DISTANCE,
        )

    def _ws(self) -> Tensor:
        return torch.cat([self.moving, self.fixed], dim=1)

    def _features(self) -> MiddleFeatures:
        return middle_features.compute(
            self.G, self.layer, self._ws(), self.noise_mode, self.overrides
        )


def drag(
    G: Generator,
    ws: Tensor,
    points: Sequence[Point],
    targets: Sequence[Point],
    *,
    max_steps: int = 300,
    mask: Tensor | np.ndarray | None = None,
    noise_mode: NoiseMode = "const",
    transform: np.ndarray | None = None,
    settings: DragSettings | None = None,
    on_step: Callable[[DragState], None] = lambda state: None,
) -> DragState:
    """Drag points until all have arrived, or `max_steps` are taken; arguments as for `Dragging`.

    `on_step` is called after each step.
    """
    dragging = Dragging(
        G,
        ws,
        points,
        targets,
        mask=mask,
        noise_mode=noise_mode,
        transform=transform,
        settings=settings,
    )
    state = dragging.state
    while not state.is_done and state.num_steps < max_steps:
        state = dragging.step()
        on_step(state)
    return state


def motion_supervision(
    features: MiddleFeatures, points: Tensor, targets: Tensor, patch: Tensor
) -> Tensor:
    """How much the patch around each point differs from what is a pixel nearer to its target.

    Eq. 1 without the mask. A gradient step moves the content of the patch onto these positions: the
    patch itself gets no gradient. The difference is averaged over patch and channels, where the
    paper takes sums, so that weights do not depend on sizes. Closer than a pixel, a point aims at
    its target.

    Args:
        features: Features F.
        points: Points p_i, `[N, 2]`.
        targets: Targets t_i, `[N, 2]`.
        patch: Positions relative to a point, `[P, 2]`.

    Returns:
        The sum over all points.
    """
    way = targets - points
    d = way / way.norm(dim=1, keepdim=True).clamp(min=1)  # [N, 2]
    q = points[:, None] + patch  # [N, P, 2]
    difference = features.at(q).detach() - features.at(q + d[:, None])
    return difference.abs().mean(dim=[1, 2]).sum()


def masked_change(features: MiddleFeatures, start: MiddleFeatures, outside: Tensor) -> Tensor:
    """Mean difference of features to those of the start, weighted by `outside` `[H, W]` (Eq. 1)."""
    difference = (features.x - start.x).abs().mean(dim=1)[0]
    return (difference * outside).sum() / outside.sum()


def track(
    features: MiddleFeatures, start_at_points: Tensor, points: Tensor, search: Tensor
) -> Tensor:
    """Find points again: the nearest neighbours of their features at the start (Eq. 2).

    Args:
        features: Features F'.
        start_at_points: Features f_i of the points at the start, `[N, C]`.
        points: Where the points were, `[N, 2]`.
        search: Positions to look at, relative to a point, `[S, 2]`.

    Returns:
        Points `[N, 2]`, inside of the image.
    """
    candidates = (points[:, None] + search).clamp(0, features.img_resolution)
    distances = (features.at(candidates) - start_at_points[:, None]).abs().sum(dim=2)
    nearest = distances.argmin(dim=1)
    return candidates[torch.arange(len(points), device=points.device), nearest]


def square(radius: float) -> Tensor:
    """Positions around the origin, up to `radius` in x and y and `SPACING` apart: `[N, 2]`."""
    num = math.floor(radius / SPACING)
    axis = torch.arange(-num, num + 1) * SPACING
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).view(-1, 2)


@torch.no_grad()
def _deviation_of_w(G: Generator) -> float:
    """Standard deviation of the components of W, over all classes."""
    seeds = range(NUM_STYLES)
    w = map_seeds(G, seeds, [seed % G.c_dim for seed in seeds] if G.c_dim else None)[:, 0]
    return float((w - w.mean(dim=0)).square().mean().sqrt())


def _overrides(G: Generator, transform: np.ndarray | None) -> dict[str, Tensor]:
    """Parameters without gradients, and the transform of the content."""
    overrides = {name: p.detach() for name, p in G.synthesis.named_parameters()}
    matrix = np.eye(3) if transform is None else transform
    buffer = latents.transform_buffer(G)
    if buffer is not None:
        # As every script draws: a transform in the network's file does not count.
        inverse = np.linalg.inv(matrix)
        overrides["input.transform"] = torch.tensor(inverse, dtype=buffer.dtype).to(buffer.device)
    elif not np.array_equal(matrix, np.eye(3)):
        raise InputError("this network has no input transform, so its content cannot move")
    return overrides


def _outside(
    mask: Tensor | np.ndarray, points: Sequence[Point], features: MiddleFeatures
) -> Tensor | None:
    """Weight of each pixel of the features in `masked_change`, `[H, W]`; `None` if all are zero."""
    size = features.img_resolution
    mask = torch.as_tensor(mask).to(features.x.device)
    if tuple(mask.shape) != (size, size) or mask.dtype != torch.bool:
        dtype = str(mask.dtype).removeprefix("torch.")
        raise InputError(
            f"the mask is {dtype} {list(mask.shape)}, but must be bool [{size}, {size}]"
        )
    if not mask.any():
        raise InputError("the mask lets nothing change: it is False everywhere")
    for x, y in points:
        if not mask[min(int(y), size - 1), min(int(x), size - 1)]:
            raise InputError(f"the mask does not let the point ({x:g}, {y:g}) change")
    centres = features.pixel_centres()
    is_in_image = ((centres >= 0) & (centres <= size)).all(dim=2)
    kept = MiddleFeatures((~mask).to(features.x)[None, None], size, size)
    outside = kept.at(centres)[..., 0] * is_in_image
    return outside if outside.any() else None


def _checked_styles(ws: Tensor, G: Generator) -> Tensor:
    ws = ws.detach()
    ws = ws[None] if ws.ndim == 2 else ws
    latent_files.check_shape(ws, G, "of the image to drag")
    if len(ws) != 1:
        raise InputError(f"there are styles of {len(ws)} images; drag one image at a time")
    if not ws.isfinite().all():
        raise InputError("the styles of the image to drag hold NaN or infinite values")
    return ws


def _check_points(points: Sequence[Point], targets: Sequence[Point], size: int) -> None:
    if len(points) != len(targets) or len(points) == 0:
        raise InputError(
            f"there are {len(points)} points and {len(targets)} targets: give each point a target, "
            "and one point at least"
        )
    for name, positions in (("point", points), ("target", targets)):
        for x, y in positions:
            if not (0 <= x <= size and 0 <= y <= size):
                raise InputError(
                    f"the {name} ({x:g}, {y:g}) is not in the image, which is {size} pixels wide "
                    "and high"
                )


def _check_settings(
    settings: DragSettings, layer: str, noise_mode: NoiseMode, G: Generator
) -> None:
    if noise_mode not in get_args(NoiseMode):
        raise InputError(
            f"noise_mode {noise_mode!r} does not suit a drag: take one of {get_args(NoiseMode)}"
        )
    if layer not in dict(G.synthesis.named_modules()):
        raise InputError(f"this network has no layer {layer}")
    if settings.num_layers is not None and not 1 <= settings.num_layers <= G.num_ws:
        raise InputError(
            f"num_layers {settings.num_layers}: choose from 1 to {G.num_ws}, the styles of an image"
        )
    numbers = (settings.learning_rate, settings.supervision_radius, settings.tracking_radius)
    if not all(number is None or 0 < number < math.inf for number in numbers):
        raise InputError("the learning rate and the radii of a drag must be positive")
    if not 0 <= settings.mask_weight < math.inf:
        raise InputError(f"mask_weight {settings.mask_weight:g} must not be negative")
