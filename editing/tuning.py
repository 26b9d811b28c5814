"""Tune a network so that it draws a picture exactly where the projection of the picture lies.

Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images".
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from editing import features as feature_spaces
from editing.features import Features
from editing.projection import Progress
from torch_utils import latents
from torch_utils.networks import Generator, device_of


@dataclass(frozen=True)
class TuningSettings:
    """How to tune; the defaults are those of the paper.

    Attributes:
        num_steps: Steps at most.
        lr: Learning rate.
        stop_distance: End when the perceptual distance is below this; 0 takes all steps. The
            paper's 0.06 is for LPIPS.
        pixel_weight: Weight of the mean squared error of the pixels.
        locality_weight: Weight of the locality regularisation (Sec. 3.3), which keeps the images of
            other styles; 0 turns it off.
        locality_radius: How far from the pivot these styles are, at most.
        seed: Random seed of these styles.
    """

    num_steps: int = 350
    lr: float = 3e-4
    stop_distance: float = 0
    pixel_weight: float = 1
    locality_weight: float = 0
    locality_radius: float = 30
    seed: int = 0


@dataclass(frozen=True)
class Tuned:
    """A tuned network.

    Attributes:
        G: The network, a copy.
        img: Its image of the pivot, `[C, H, W]` in [-1, 1] on the CPU.
        distance: Perceptual distance to the target.
        psnr: Likeness of the pixels in dB.
        num_steps: Steps taken.
        is_complete: Whether the tuning ended by itself.
    """

    G: Generator
    img: Tensor
    distance: float
    psnr: float
    num_steps: int
    is_complete: bool


def tune(
    G: Generator,
    ws: Tensor,
    target: Tensor,
    features: Features,
    settings: TuningSettings | None = None,
    *,
    transform: np.ndarray | None = None,
    label: Tensor | None = None,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Tuned:
    """Tune the synthesis of a copy of a network; the style of the picture, its pivot, stays.

    `KeyboardInterrupt` ends the tuning early.

    Args:
        G: The generator, on the device to use; it is not changed.
        ws: The pivot, `[1, num_ws, w_dim]`.
        target: The picture, `[C, H, W]` in [-1, 1].
        features: Where to compare, see `editing.features`.
        settings: How to tune.
        transform: Transform of the content that belongs to the pivot, `[3, 3]`.
        label: The label of the styles of the locality regularisation, `[1, c_dim]`.
        on_step: Called after each step.

    Raises:
        InputError: If an image becomes NaN or infinite.
    """
    settings = settings or TuningSettings()
    device = device_of(G)
    ws, target = ws.to(device, torch.float32), target[None].to(device, torch.float32)
    tuned = copy.deepcopy(G).eval().requires_grad_(False)
    tuned.synthesis.requires_grad_(True)
    optimizer = torch.optim.Adam(tuned.synthesis.parameters(), lr=settings.lr)
    rng = np.random.RandomState(settings.seed)
    num_done, is_complete = 0, False
    matrix = np.eye(3) if transform is None else transform
    with latents.content_transform(tuned, matrix), latents.content_transform(G, matrix):
        with torch.no_grad():
            target_features = features(target)

        def evaluate() -> tuple[Tensor, Tensor]:
            img = _draw(tuned, ws)
            return img, feature_spaces.distance(features, img, target_features).sum()

        try:
            for step in range(settings.num_steps):
                img, distance = evaluate()
                if not distance.isfinite():
                    raise InputError("the tuning became NaN or infinite; choose a lower rate")
                if distance.item() < settings.stop_distance:
                    break
                loss = distance + settings.pixel_weight * (img - target).square().mean()
                if settings.locality_weight > 0:
                    other = _nearby(G, ws, label, settings.locality_radius, rng)
                    loss = loss + settings.locality_weight * _difference(G, tuned, other, features)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                num_done = step + 1
                on_step(Progress(num_done, settings.num_steps, distance.item(), img.detach()))
            is_complete = True
        except KeyboardInterrupt:
            pass
        with torch.no_grad():
            img, distance = evaluate()
    return Tuned(
        G=tuned.requires_grad_(False),
        img=img[0].cpu(),
        distance=distance.item(),
        psnr=feature_spaces.psnr(img, target).item(),
        num_steps=num_done,
        is_complete=is_complete,
    )


def _draw(G: Generator, ws: Tensor) -> Tensor:
    return G.synthesis(ws, noise_mode="const", force_fp32=True)


@torch.no_grad()
def _nearby(
    G: Generator, ws: Tensor, label: Tensor | None, radius: float, rng: np.random.RandomState
) -> Tensor:
    """A random style, moved towards the pivot until it is at most `radius` away."""
    z = torch.from_numpy(rng.randn(1, G.z_dim)).to(ws)
    if label is None:
        label = torch.eye(G.c_dim)[[rng.randint(G.c_dim)]] if G.c_dim else torch.zeros([1, 0])
    difference = G.mapping(z, label.to(ws)) - ws
    length = difference.norm(dim=2, keepdim=True).clamp(min=1e-8)
    return ws + difference * (radius / length).clamp(max=1)


def _difference(G: Generator, tuned: Generator, ws: Tensor, features: Features) -> Tensor:
    with torch.no_grad():
        expected = _draw(G, ws)
        expected_features = features(expected)
    img = _draw(tuned, ws)
    distance = feature_spaces.distance(features, img, expected_features).sum()
    return distance + (img - expected).square().mean()
