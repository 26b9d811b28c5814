"""Perceptual path length (Karras et al. 2019, "A style-based generator architecture for

generative adversarial networks", Sec. 4.1), with the changes of Karras et al. 2020, Sec. 3.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnnlib.errors import InputError
from metrics import detectors, lockstep, metric_utils
from metrics.dataset import RandomLabels
from metrics.metric_utils import MetricOptions
from torch_utils.networks import Generator

VGG_RESOLUTION = 256  # larger images are averaged down to this


def compute_ppl(
    opts: MetricOptions,
    num_samples: int,
    epsilon: float,
    space: Literal["z", "w"],
    sampling: Literal["full", "end"],
    crop: bool,
    batch_size: int,
) -> float:
    """Mean perceptual distance of small steps, per step squared; NaN except on rank 0.

    Distances below the 1st and above the 99th percentile are left out.

    Args:
        opts: Options of the metric.
        num_samples: Number of steps.
        epsilon: Length of a step.
        space: Where to interpolate.
        sampling: Start of a step: anywhere on a path (full), or its beginning (end).
        crop: Look only at the middle of the image, where faces are.
        batch_size: Steps at once.
    """
    with lockstep.in_step(opts.worker):
        labels = RandomLabels(opts)
        vgg16 = metric_utils.load_detector(opts, detectors.URLS["vgg16"])
        sampler = PPLSampler(opts.generator, opts.G_kwargs, epsilon, space, sampling, crop, vgg16)
        sampler.eval().to(opts.device)

    def compute(idx: int) -> Tensor:
        c = labels.get(idx * batch_size, (idx + 1) * batch_size)
        return sampler(c)[:, None].to(torch.float32)

    progress = opts.progress.sub("ppl sampling", num_items=num_samples)
    dist = []
    with torch.no_grad():
        num_batches = math.ceil(num_samples / batch_size)
        for rows in metric_utils.run_batches(opts, num_batches, compute):
            dist.append(rows[:, 0].cpu())
            if len(dist) == 1:
                _check_finite(dist[0])  # an error now saves hours
            progress.update(min(len(dist) * batch_size, num_samples))
    if opts.rank != 0:
        return float("nan")
    return trimmed_mean(torch.cat(dist)[:num_samples].numpy())


def trimmed_mean(dist: np.ndarray) -> float:
    """Mean of the values from the 1st percentile (the lower value) to the 99th (the higher).

    Raises:
        ValueError: If values are NaN or infinite.
    """
    _check_finite(dist)
    low = np.percentile(dist, 1, method="lower")
    high = np.percentile(dist, 99, method="higher")
    return float(dist[(dist >= low) & (dist <= high)].mean(dtype=np.float64))


class PPLSampler(torch.nn.Module):
    """Draws random steps, and measures the distance of their images.

    Args:
        G: Generator, which is copied.
        G_kwargs: Keyword arguments of its synthesis.
        epsilon: Length of a step.
        space: Where to interpolate: `"z"` or `"w"`.
        sampling: Start of the steps: `"full"` or `"end"`.
        crop: Look at the middle of the image only.
        vgg16: Feature network; its LPIPS features are compared.
    """

    def __init__(
        self,
        G: Generator,
        G_kwargs: Mapping[str, Any],
        epsilon: float,
        space: str,
        sampling: str,
        crop: bool,
        vgg16: torch.nn.Module,
    ) -> None:
        if space not in ("z", "w") or sampling not in ("full", "end"):
            raise InputError(f"PPLSampler: no {sampling!r} sampling in space {space!r}")
        super().__init__()
        self.G = copy.deepcopy(G)
        self.G_kwargs = dict(G_kwargs)
        self.epsilon = epsilon
        self.space = space
        self.sampling = sampling
        self.crop = crop
        self.vgg16 = vgg16

    def forward(self, c: Tensor) -> Tensor:
        """Perceptual distances of one step for each label, divided by `epsilon` squared, `[N]`."""
        t = torch.rand([len(c)], device=c.device) * (1 if self.sampling == "full" else 0)
        z0, z1 = torch.randn([2 * len(c), self.G.z_dim], device=c.device).chunk(2)
        ws = self._interpolate(z0, z1, c, t)
        for name, buffer in self.G.named_buffers():
            if name.endswith(".noise_const"):
                buffer.copy_(torch.randn_like(buffer))
        kwargs = {"noise_mode": "const", "force_fp32": True, **self.G_kwargs}
        img = self._prepare(self.G.synthesis(ws=ws, **kwargs))
        lpips0, lpips1 = self.vgg16(img, resize_images=False, return_lpips=True).chunk(2)
        return (lpips0 - lpips1).square().sum(dim=1) / self.epsilon**2

    def _interpolate(self, z0: Tensor, z1: Tensor, c: Tensor, t: Tensor) -> Tensor:
        """Styles at `t`, then at `t + epsilon`, `[2N, num_ws, w_dim]`."""
        if self.space == "w":
            w0, w1 = self.G.mapping(z=torch.cat([z0, z1]), c=torch.cat([c, c])).chunk(2)
            t = t[:, None, None]
            return torch.cat([w0.lerp(w1, t), w0.lerp(w1, t + self.epsilon)])
        t = t[:, None]
        z = torch.cat([slerp(z0, z1, t), slerp(z0, z1, t + self.epsilon)])
        return self.G.mapping(z=z, c=torch.cat([c, c]))

    def _prepare(self, img: Tensor) -> Tensor:
        """Images for the feature network: levels 0 to 255, three channels."""
        if self.crop:
            size = img.shape[2]
            img = img[:, :, size * 3 // 8 : size * 7 // 8, size * 2 // 8 : size * 6 // 8]
        return for_vgg16(img, self.G.img_resolution // VGG_RESOLUTION)


def for_vgg16(img: Tensor, factor: int | None = None) -> Tensor:
    """Prepare images for the feature network: levels 0 to 255, three channels.

    Args:
        img: Images in [-1, 1], `[N, C, H, W]`.
        factor: Pixels that are averaged in each direction; `None` for what makes 256 of them.
    """
    if factor is None:
        factor = img.shape[-1] // VGG_RESOLUTION
    if factor > 1:
        img = F.avg_pool2d(img, factor)
    return metric_utils.to_rgb((img + 1) * (255 / 2))


def _check_finite(dist: np.ndarray | Tensor) -> None:
    if num := int((~np.isfinite(np.asarray(dist))).sum()):
        raise InputError(
            f"{num} of {len(dist)} path lengths are NaN or infinite: the network is damaged (use "
            "an earlier snapshot), or the feature network (--detector)"
        )


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation of directions `[N, d]`: from `a` at `t` 0 to `b` at 1, unit length.

    Args:
        a: Normalised here.
        b: Normalised here.
        t: `[N, 1]`; outside of 0 to 1 the path goes on.
    """
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    cos = (a * b).sum(dim=-1, keepdim=True)
    angle = t * cos.clamp(-1, 1).acos()
    aside = F.normalize(b - cos * a, dim=-1)  # perpendicular to a, towards b
    return F.normalize(a * angle.cos() + aside * angle.sin(), dim=-1)
