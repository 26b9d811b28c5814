"""Feature spaces in which generated images are compared with a target.

The perceptual distance of two images is the squared distance of their features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import click
import torch
from torch import Tensor

from dnnlib.errors import InputError, MachineError
from metrics import detectors, perceptual_path_length

Kind = Literal["auto", "vgg16", "D", "pixels"]
ChosenKind = Literal["vgg16", "D", "pixels"]
Features = Callable[[Tensor], Tensor]  # images [N, C, H, W] in [-1, 1] -> features [N, F]

EPS = 1e-8  # under the norm of features, as networks normalise


def pixels(img: Tensor) -> Tensor:
    """The image itself, so that the distance is the mean squared error."""
    return img.flatten(1) / img[0].numel() ** 0.5


def of_vgg16(vgg16: torch.nn.Module) -> Features:
    """LPIPS (Zhang et al. 2018) of VGG16, on images of at most 256 pixels.

    Args:
        vgg16: The feature network of the metric `ppl2_wend`.
    """

    def compute(img: Tensor) -> Tensor:
        img = perceptual_path_length.for_vgg16(img)
        return vgg16(img, resize_images=False, return_lpips=True)

    return compute


def of_discriminator(D: Any) -> Features:
    """Features of all blocks of a discriminator, compared as LPIPS compares those of VGG16.

    Each pixel's features have length 1, and each block counts as much as the others. The image is
    one of the blocks.
    """

    def compute(img: Tensor) -> Tensor:
        parts = [pixels(img)]
        x, rest = None, img
        for res in D.block_resolutions:
            x, rest = getattr(D, f"b{res}")(x, rest, force_fp32=True)
            unit = x * (x.square().sum(dim=1, keepdim=True) + EPS).rsqrt()
            parts.append(unit.flatten(1) / (x.shape[2] * x.shape[3]) ** 0.5)
        return torch.cat(parts, dim=1)

    return compute


@dataclass(frozen=True)
class Choice:
    """Features, and why they were chosen.

    Attributes:
        compute: The features.
        kind: Which they are.
        sentence: Which they are, and why the better ones are missing, for the user.
    """

    compute: Features
    kind: ChosenKind
    sentence: str


def choose(
    kind: Kind,
    data: Mapping[str, Any],
    device: torch.device,
    replacements: Mapping[str, str] | None = None,
    allow_untrusted: bool = False,
) -> Choice:
    """Find the features to use.

    Args:
        kind: `auto` takes the first of `vgg16`, `D`, `pixels` that there is.
        data: The networks of a file, see `network_files.load`.
        device: Where to compute.
        replacements: See `metrics.detectors.find`.
        allow_untrusted: See `metrics.detectors.load`.

    Raises:
        InputError: If the chosen features cannot be had.
        RuntimeError: Likewise.
    """
    why = ""
    if kind in ("auto", "vgg16"):
        try:
            source = detectors.find(detectors.URLS["vgg16"], replacements)
            vgg16 = detectors.load(source, device, allow_untrusted)
        except (MachineError, InputError) as error:
            if kind == "vgg16" or "vgg16" in (replacements or {}):
                raise
            why = f" (no VGG16: {_first_clause(error)})"
        else:
            return Choice(of_vgg16(vgg16), "vgg16", "Features: LPIPS of VGG16")
    if kind in ("auto", "D"):
        D = data.get("D")
        problem = _problem_of(D, data["G_ema"].img_resolution)
        if D is not None and problem is None:
            sentence = f"Features: those of the discriminator{why}"
            return Choice(of_discriminator(D.to(device)), "D", sentence)
        if kind == "D":
            raise InputError(f"--features=D: {problem}; try --features=pixels")
        why += f" ({problem})"
    return Choice(pixels, "pixels", f"Features: pixels only{why}")


def distance(features: Features, img: Tensor, target: Tensor) -> Tensor:
    """Perceptual distance of each image to the target's features `target` `[1, F]`: `[N]`."""
    return (features(img) - target).square().sum(dim=1)


def psnr(img: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], after clamping: `[N]`."""
    error = (img.clamp(-1, 1) - target.clamp(-1, 1)).square().flatten(1).mean(dim=1)
    return -10 * (error / 4).clamp(min=1e-10).log10()


def _problem_of(D: Any, resolution: int) -> str | None:
    """Why a discriminator cannot compare images; `None` if it can."""
    if D is None:
        return "the file has no discriminator"
    if not hasattr(D, "block_resolutions"):
        return "the discriminator is of another kind"
    if D.img_resolution != resolution:
        return f"the discriminator is for images of {D.img_resolution}x{D.img_resolution}"
    return None


def _first_clause(error: Exception) -> str:
    text = error.message if isinstance(error, click.ClickException) else str(error)
    return text.partition(":")[0].partition(";")[0]
