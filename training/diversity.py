"""How alike generated images are, as the discriminator sees them.

Images that D cannot tell apart lie close together in its features. Distances between pairs of
generated images are compared with distances between pairs of real images, because the features
change while D learns. Features have length 1: those of absurd images can be a hundred times as long
as those of real ones, and so are their distances.
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dnnlib import heartbeat

NUM_IMAGES = 32  # at most; they cost a pass through G and two through D
NUM_ROWS = 4


@dataclass(frozen=True)
class Diversity:
    """Mean distance of generated images relative to that of real images: 1 is as varied as these.

    Attributes:
        overall: Of all pairs; `None` if it cannot be computed.
        within_labels: Of pairs that share a label; `None` also without labels.
    """

    overall: float | None = None
    within_labels: float | None = None


def choose(columns: int, rows: int) -> list[int]:
    """Positions of up to `NUM_IMAGES` images of a sheet, in few rows, which may be of one label."""
    num_rows = min(rows, NUM_ROWS)
    num_columns = min(columns, NUM_IMAGES // num_rows)
    return [
        row * rows // num_rows * columns + column
        for row in range(num_rows)
        for column in range(num_columns)
    ]


@torch.no_grad()
def measure(
    G_ema: torch.nn.Module, D: torch.nn.Module, z: Tensor, c: Tensor, real_img: Tensor, batch: int
) -> Diversity:
    """Measure the diversity of a generator; nothing changes in the networks, nothing is random.

    Args:
        G_ema: The averaged generator.
        D: The discriminator.
        z: Latents `[N, z_dim]`.
        c: Labels `[N, c_dim]` of the generated images and of the real ones.
        real_img: Real images `[N, C, H, W]`, uint8 on the CPU. Pairs of equal ones do not count.
        batch: Images per pass.
    """
    fake = features(D, (G_ema(*part, noise_mode="const") for part in _split(batch, z, c)))
    real = features(D, (part.to(z.device) / 127.5 - 1 for part in real_img.split(batch)))
    first, second = torch.triu_indices(len(z), len(z), offset=1)
    checksums = torch.tensor([zlib.crc32(img.numpy().tobytes()) for img in real_img])
    is_pair = checksums[first] != checksums[second]
    is_same_label = (c[first] == c[second]).all(1).cpu()
    distances = [torch.pdist(x) for x in (fake, real)]  # in the order of `triu_indices`
    within = None
    if c.shape[1] > 0:
        within = _ratio(*(d[is_pair & is_same_label] for d in distances))
    return Diversity(_ratio(*(d[is_pair] for d in distances)), within)


def features(D: Any, batches: Iterable[Tensor]) -> Tensor:
    """What the last block of D starts from, before it compares samples with one another.

    Args:
        D: A discriminator of `training.networks_stylegan2`.
        batches: Images `[N, C, H, W]` in [-1, 1].

    Returns:
        Features of length 1, `[total, number]` in float32 on the CPU.
    """
    parts = []
    for img in batches:
        x = None
        for resolution in D.block_resolutions:
            x, img = getattr(D, f"b{resolution}")(x, img)
        assert x is not None
        parts.append(x.flatten(1).to("cpu", torch.float32))
        heartbeat.beat()  # otherwise the watchdog would consider this process stuck
    return F.normalize(torch.cat(parts))


def _split(batch: int, *tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    return zip(*(tensor.split(batch) for tensor in tensors), strict=True)


def _ratio(fake: Tensor, real: Tensor) -> float | None:
    """Mean distance of generated pairs over that of real pairs; `None` if it is not finite."""
    ratio = float(fake.mean() / real.mean())
    return ratio if math.isfinite(ratio) else None
