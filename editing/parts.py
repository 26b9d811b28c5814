"""What a projection changes besides the style: the transform of the content, and noise maps."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torch_utils import latents
from torch_utils.networks import Generator, device_of

MIN_NOISE_SIZE = 8  # pixels: noise maps are regularised down to this size


class Placement(torch.nn.Module):
    """Shift and rotation of the content of an image, as parameters.

    Args:
        can_turn: Whether the content may turn.
        angle: Where the rotation starts, in degrees.
        device: Where to compute.
    """

    def __init__(self, can_turn: bool, angle: float, device: torch.device) -> None:
        super().__init__()
        self.translate = torch.nn.Parameter(torch.zeros([2], device=device))
        self.turn = torch.nn.Parameter(torch.tensor(math.radians(angle), device=device))
        self.turn.requires_grad_(can_turn)

    def inverse(self) -> Tensor:
        """The inverse of the transform, which the generator takes, `[3, 3]`."""
        cos, sin = self.turn.cos(), self.turn.sin()
        tx, ty = self.translate
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rows = [cos, -sin, sin * ty - cos * tx, sin, cos, -sin * tx - cos * ty, zero, zero, one]
        return torch.stack(rows).view(3, 3)

    def matrix(self) -> np.ndarray:
        """The transform, float64 `[3, 3]`; see `torch_utils.latents.make_transform`."""
        tx, ty = self.translate.detach().cpu().double().tolist()
        return latents.make_transform((tx, ty), float(np.rad2deg(self.turn.item())))


@dataclass(frozen=True)
class Abilities:
    """What the synthesis of a network lets a projection change.

    Attributes:
        can_move: The content can be shifted.
        can_turn: The content can be rotated, without a change of quality.
        noise: Names of the buffers with noise maps.
    """

    can_move: bool
    can_turn: bool
    noise: tuple[str, ...]


def abilities_of(G: Generator) -> Abilities:
    """Find out what the synthesis of a network lets a projection change."""
    can_move = latents.transform_buffer(G) is not None
    kernels = [p.shape[-1] for p in G.synthesis.parameters() if p.ndim == 4]
    names = [name for name, _ in G.synthesis.named_buffers() if name.endswith("noise_const")]
    # Config R alone has 1x1 kernels in all layers.
    return Abilities(can_move, can_move and max(kernels) == 1, tuple(names))


def new_noise(
    G: Generator, names: tuple[str, ...], rng: np.random.RandomState
) -> dict[str, Tensor]:
    """Random noise maps to optimise, by name."""
    buffers, device = dict(G.synthesis.named_buffers()), device_of(G)
    return {
        name: torch.from_numpy(rng.randn(*buffers[name].shape))
        .to(torch.float32)
        .to(device)
        .requires_grad_()
        for name in names
    }


def noise_regularization(noise: Tensor) -> Tensor:
    """Correlation of a noise map with itself, shifted by one pixel, at all scales.

    Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", Appendix D,
    Eq. 5-6: `noise` `[size, size]` is halved down to 8x8, with unit variance at each scale.
    """
    total = noise.new_zeros([])
    while True:
        for dim in (0, 1):
            total = total + (noise * noise.roll(1, dims=dim)).mean().square()
        if noise.shape[-1] <= MIN_NOISE_SIZE:
            return total
        size = noise.shape[-1] // 2
        # The mean of four independent values has half their deviation.
        noise = noise.view(size, 2, size, 2).mean(dim=(1, 3)) * 2


@torch.no_grad()
def normalize_noise(noise: Tensor) -> None:
    """Give a noise map zero mean and unit variance again, in place."""
    noise -= noise.mean()
    noise *= noise.square().mean().clamp(min=1e-12).rsqrt()
