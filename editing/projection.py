"""Find the styles whose image is most like a picture.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", Appendix D, for W; for
StyleGAN3 the shift (config T) and rotation (config R) of the content are optimised as well, since a
style hardly moves its image.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from editing import features as feature_spaces
from editing import parts
from editing.features import Features
from editing.parts import Abilities, Placement
from torch_utils import latents
from torch_utils.networks import Generator, device_of

Space = Literal["w", "w+"]

NUM_ANGLES = 12  # rotations that config R starts from
TRIAL_SHARE = 0.1  # of the steps, for each start before the best one is chosen
NUM_CANDIDATES = 64  # images of random styles among which restarts begin


@dataclass(frozen=True)
class Settings:
    """How to project; the defaults are those of the paper.

    Attributes:
        space: One style for all layers (`w`), or one for each layer (`w+`), from the result in W.
        num_steps: Steps of the optimisation, in each space.
        lr: Learning rate of styles and noise maps, at its height.
        rampup: Share of the steps during which the learning rate rises.
        rampdown: Share of the steps at the end during which it falls.
        num_samples: Styles to take mean and deviation of W from.
        noise: Noise on each component of the style at the start, in deviations of W.
        noise_end: Share of the steps after which there is no noise any more.
        noise_map_weight: Weight of the regularisation of StyleGAN2's noise maps.
        spread_weight: Weight of the spread of styles between layers, in W+.
        move_lr: Learning rate of the shift, in image widths, and of the rotation, in radians.
        moves: Whether the content may move; `None` for whatever the network allows.
        restarts: Starts to try: the mean style, then the random styles whose images are closest.
        seed: Random seed.
    """

    space: Space = "w"
    num_steps: int = 1000
    lr: float = 0.1
    rampup: float = 0.05
    rampdown: float = 0.25
    num_samples: int = 10000
    noise: float = 0.05
    noise_end: float = 0.75
    noise_map_weight: float = 1e5
    spread_weight: float = 0.01
    move_lr: float = 0.02
    moves: bool | None = None
    restarts: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Projection:
    """What a projection found.

    Attributes:
        ws: Styles, float32 `[1, num_ws, w_dim]` on the CPU.
        transform: Transform of the content, `[3, 3]`; `None` for networks without one.
        img: The image, `[C, H, W]` in [-1, 1] on the CPU, with the network's own noise: as every
            script draws these styles. The optimised noise maps have done their work, which is to
            keep details out of the styles that are noise.
        distance: Perceptual distance to the target.
        psnr: Likeness of the pixels in dB.
        is_complete: Whether all steps were taken.
    """

    ws: Tensor
    transform: np.ndarray | None
    img: Tensor
    distance: float
    psnr: float
    is_complete: bool


@dataclass(frozen=True)
class Progress:
    """State of an optimisation after a step, for progress bars and videos."""

    step: int
    num_steps: int
    distance: float
    img: Tensor


@dataclass
class _Trajectory:
    """The parameters of one start."""

    w: Tensor  # [1, 1 or num_ws, w_dim]
    placement: Placement | None
    noise: dict[str, Tensor]


@dataclass(frozen=True)
class _Styles:
    """Mean `[1, 1, w_dim]` and deviation of W, and styles to start from `[N, 1, w_dim]`."""

    mean: Tensor
    std: float
    candidates: Tensor


def project(
    G: Generator,
    target: Tensor,
    features: Features,
    settings: Settings | None = None,
    *,
    label: Tensor | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Projection:
    """Project a picture into the latent space of a network.

    The same arguments give the same result on the CPU. `KeyboardInterrupt` ends the optimisation
    early; the result is what was reached.

    Args:
        G: The generator, on the device to use; it is not changed.
        target: The picture, `[C, H, W]` in [-1, 1], of the size and colours of the network.
        features: Where to compare, see `editing.features`.
        settings: How to project.
        label: The label to draw, `[1, c_dim]`; `None` for an average over all classes.
        on_step: Called after each step.

    Raises:
        InputError: If the target does not fit the network, or is not finite.
    """
    settings = settings or Settings()
    _check(G, target, settings)
    device = device_of(G)
    target = target[None].to(device, torch.float32)
    run = _Run(G, target, features, settings, label, on_step)
    with _frozen(G):
        return run.project()


class _Run:
    def __init__(
        self,
        G: Generator,
        target: Tensor,
        features: Features,
        settings: Settings,
        label: Tensor | None,
        on_step: Callable[[Progress], None],
    ) -> None:
        self.G = G
        self.target = target
        self.features = features
        self.settings = settings
        self.on_step = on_step
        self.rng = np.random.RandomState(settings.seed)
        self.abilities = _abilities(G, settings)
        with torch.no_grad():
            self.target_features = features(target)
            self.styles = self._sample_styles(label)
        self.num_done = 0
        self.num_steps = self._count_steps()
        self.reached: _Trajectory | None = None  # the result, if the user interrupts

    def project(self) -> Projection:
        try:
            trajectory = self._choose_start()
            self._optimize(trajectory, self.settings.num_steps)
            if self.settings.space == "w+":
                trajectory.w = trajectory.w.detach().repeat(1, self.G.num_ws, 1).requires_grad_()
                self._optimize(trajectory, self.settings.num_steps)
        except KeyboardInterrupt:
            if self.reached is None:
                raise
            return self._result(self.reached, is_complete=False)
        return self._result(trajectory, is_complete=True)

    def _count_steps(self) -> int:
        num = self.settings.num_steps * (2 if self.settings.space == "w+" else 1)
        num_starts = len(self._starts())
        return num + (num_starts * self._trial_steps() if num_starts > 1 else 0)

    def _trial_steps(self) -> int:
        return max(round(self.settings.num_steps * TRIAL_SHARE), 1)

    def _sample_styles(self, label: Tensor | None) -> _Styles:
        """Mean and deviation of W, and the styles to start from, without truncation."""
        num, G, device = self.settings.num_samples, self.G, self.target.device
        z = torch.from_numpy(self.rng.randn(num, G.z_dim)).to(torch.float32)
        if label is None and G.c_dim > 0:
            label = torch.eye(G.c_dim)[torch.arange(num) % G.c_dim]
        elif label is None:
            label = torch.zeros([num, 0])
        label = label.expand(num, -1).to(device, torch.float32)
        ws = G.mapping(z.to(device), label)[:, :1]  # [N, 1, w_dim]
        mean = ws.mean(dim=0, keepdim=True)
        std = (ws - mean).square().sum(dim=2).mean().sqrt()  # length of a difference
        restarts = self.settings.restarts
        chosen = ws[: max(NUM_CANDIDATES, restarts) if restarts > 1 else 0]
        distances = [self._distance_of(w[None]).item() for w in chosen]
        return _Styles(mean, std.item(), chosen[np.argsort(distances, kind="stable").copy()])

    def _distance_of(self, w: Tensor) -> Tensor:
        img = self.G.synthesis(w.expand(-1, self.G.num_ws, -1), noise_mode="const", force_fp32=True)
        return feature_spaces.distance(self.features, img, self.target_features)

    def _starts(self) -> list[tuple[Tensor, float]]:
        """Styles and angles to start from."""
        styles = [self.styles.mean, *self.styles.candidates[:, None]][: self.settings.restarts]
        num_angles = NUM_ANGLES if self.abilities.can_turn else 1
        return [(w, 360 / num_angles * k) for w in styles for k in range(num_angles)]

    def _choose_start(self) -> _Trajectory:
        """Optimise each start a little, and return the best one, as far as it has come."""
        starts = self._starts()
        if len(starts) == 1:
            self.reached = self._new_trajectory(*starts[0])
            return self.reached
        best: tuple[float, _Trajectory] | None = None
        for start in starts:
            trajectory = self._new_trajectory(*start)
            self.reached = trajectory if best is None else best[1]
            self._optimize(trajectory, self._trial_steps())
            with torch.no_grad():
                distance = self._evaluate(trajectory)[1].item()
            if best is None or distance < best[0]:
                best = distance, trajectory
        assert best is not None  # there are starts
        self.reached = best[1]
        return best[1]

    def _new_trajectory(self, w: Tensor, angle: float) -> _Trajectory:
        placement = None
        if self.abilities.can_move:
            placement = Placement(self.abilities.can_turn, angle, self.target.device)
        noise = parts.new_noise(self.G, self.abilities.noise, self.rng)
        return _Trajectory(w.detach().clone().requires_grad_(), placement, noise)

    def _optimize(self, trajectory: _Trajectory, num_steps: int) -> None:
        settings, noise = self.settings, list(trajectory.noise.values())
        groups = [dict(params=[trajectory.w, *noise], base_lr=settings.lr)]
        if trajectory.placement is not None:
            moving = [p for p in trajectory.placement.parameters() if p.requires_grad]
            groups.append(dict(params=moving, base_lr=settings.move_lr))
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.999))
        for step in range(num_steps):
            t = step / num_steps
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * learning_rate_factor(t, settings)
            jitter = self.styles.std * settings.noise
            jitter *= max(0.0, 1 - t / settings.noise_end) ** 2
            img, loss = self._evaluate(trajectory, jitter)
            distance = loss.item()
            if not math.isfinite(distance):
                raise InputError(
                    "the projection became NaN or infinite: the network is damaged (use an earlier "
                    "snapshot), or the learning rate too high"
                )
            for noise_map in noise:
                loss = loss + settings.noise_map_weight * parts.noise_regularization(noise_map)
            if trajectory.w.shape[1] > 1:
                spread = trajectory.w - trajectory.w.mean(dim=1, keepdim=True)
                spread = spread.square().sum(dim=2).mean() / self.styles.std**2
                loss = loss + settings.spread_weight * spread
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            for noise_map in noise:
                parts.normalize_noise(noise_map)
            self.num_done += 1
            self.on_step(Progress(self.num_done, self.num_steps, distance, img.detach()))

    def _evaluate(self, trajectory: _Trajectory, jitter: float = 0) -> tuple[Tensor, Tensor]:
        """Image and distance of a trajectory, with noise on its style: `[1, C, H, W]`, `[]`."""
        w = trajectory.w
        if jitter > 0:
            values = self.rng.randn(1, 1, self.G.w_dim) * jitter
            w = w + torch.from_numpy(values).to(w)
        replaced = dict(trajectory.noise)
        buffer = latents.transform_buffer(self.G)
        if buffer is not None:
            # As every script draws: a transform in the network's file does not count.
            placement = trajectory.placement
            inverse = torch.eye(3) if placement is None else placement.inverse()
            replaced["input.transform"] = inverse.to(buffer)
        img = torch.func.functional_call(
            self.G.synthesis,
            replaced,
            (w.expand(-1, self.G.num_ws, -1),),
            dict(noise_mode="const", force_fp32=True),
        )
        return img, feature_spaces.distance(self.features, img, self.target_features).sum()

    @torch.no_grad()
    def _result(self, trajectory: _Trajectory, is_complete: bool) -> Projection:
        trajectory = dataclasses.replace(trajectory, noise={})
        img, distance = self._evaluate(trajectory)
        placement = trajectory.placement
        return Projection(
            ws=trajectory.w.detach().expand(-1, self.G.num_ws, -1).cpu().float().contiguous(),
            transform=None if placement is None else placement.matrix(),
            img=img[0].cpu().float(),
            distance=distance.item(),
            psnr=feature_spaces.psnr(img, self.target).item(),
            is_complete=is_complete,
        )


def learning_rate_factor(t: float, settings: Settings) -> float:
    """Factor on the learning rate at `t` from 0 to 1: a linear rise, and a cosine at the end."""
    falling = min(1.0, (1 - t) / settings.rampdown)
    rising = min(1.0, t / settings.rampup)
    return rising * (0.5 - 0.5 * math.cos(falling * math.pi))


def _abilities(G: Generator, settings: Settings) -> Abilities:
    abilities = parts.abilities_of(G)
    if settings.moves and not abilities.can_move:
        raise InputError("this network has no input transform, so its content cannot move")
    if settings.moves is False:
        return dataclasses.replace(abilities, can_move=False, can_turn=False)
    return abilities


def _check(G: Generator, target: Tensor, settings: Settings) -> None:
    expected = (G.img_channels, G.img_resolution, G.img_resolution)
    if tuple(target.shape) != expected:
        raise InputError(f"the target has shape {list(target.shape)}, not {list(expected)}")
    if not target.isfinite().all():
        raise InputError("the target holds NaN or infinite values")
    if min(settings.num_steps, settings.num_samples, settings.restarts) < 1:
        raise InputError("steps, samples and restarts must be at least 1")


@contextmanager
def _frozen(G: torch.nn.Module) -> Iterator[None]:
    """Inside the context, weights need no gradients, and no layer behaves as in training."""
    trainable = [p for p in G.parameters() if p.requires_grad]
    was_training = G.training
    G.eval().requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_()
        G.train(was_training)
