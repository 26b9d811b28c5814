"""Features of a middle layer of the synthesis, by positions in the image.

Positions are in pixels of the image: (0, 0) is its top left corner, (0.5, 0.5) the centre of its
first pixel, and (img_resolution, img_resolution) its bottom right corner.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dnnlib.errors import InputError
from generation import layers
from torch_utils.networks import Generator

NoiseMode = Literal["const", "none"]

MAX_SAMPLING_RATE = 128  # samples per image width


@dataclass(frozen=True)
class MiddleFeatures:
    """Features of one image.

    Attributes:
        x: Output of a layer, `[1, C, H, W]`.
        content_width: Width of the image in pixels of `x`, see `content_width`.
        img_resolution: Width and height of the image.
    """

    x: Tensor
    content_width: float
    img_resolution: int

    def at(self, points: Tensor) -> Tensor:
        """Interpolate the features bilinearly at positions `[..., 2]` (x, y) in the image.

        Returns:
            Features `[..., C]`. Beyond the borders of `x`, the nearest pixel counts.
        """
        height, width = self.x.shape[2:]
        size = torch.tensor([width, height], dtype=points.dtype, device=points.device)
        from_centre = points / self.img_resolution - 0.5  # in image widths
        grid = from_centre * self.content_width * 2 / size  # -1 to 1 across `x`
        grid = grid.to(self.x.dtype).view(1, 1, -1, 2)
        sampled = F.grid_sample(self.x, grid, padding_mode="border", align_corners=False)
        return sampled[0, :, 0].t().reshape(*points.shape[:-1], -1)

    def detach(self) -> "MiddleFeatures":
        """The same features, without gradients."""
        return replace(self, x=self.x.detach())

    def pixel_centres(self) -> Tensor:
        """Positions of the pixels of `x` in the image, `[H, W, 2]`; those of margins lie beyond."""
        pixel = self.img_resolution / self.content_width  # pixels of the image
        y, x = (
            (torch.arange(size) + (1 - size) / 2) * pixel + self.img_resolution / 2
            for size in self.x.shape[2:]
        )
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(self.x)


def choose_layer(G: Generator) -> str:
    """Name of the layer whose features follow the content of the image.

    It is the last layer that samples the image as finely as its pixels, but not more finely than
    `MAX_SAMPLING_RATE`: in StyleGAN2 for 256x256 and more the sixth block, as Pan et al. 2023 found
    best (Sec. 3.2); in StyleGAN3 the last one with margins.

    Raises:
        InputError: If the network has neither the blocks of StyleGAN2 nor the layers of StyleGAN3.
    """
    synthesis: Any = G.synthesis
    highest = min(G.img_resolution, MAX_SAMPLING_RATE)
    if hasattr(synthesis, "block_resolutions"):
        return f"b{max(res for res in synthesis.block_resolutions if res <= highest)}"
    if hasattr(synthesis, "layer_names"):
        # The last two layers, of which one is ToRGB, have no margins.
        rates = {name: getattr(synthesis, name).out_sampling_rate for name in synthesis.layer_names}
        fitting = [name for name in synthesis.layer_names[:-2] if rates[name] <= highest]
        return fitting[-1]
    raise InputError("this network has neither the blocks of StyleGAN2 nor the layers of StyleGAN3")


def compute(
    G: Generator,
    layer: str,
    ws: Tensor,
    noise_mode: NoiseMode = "const",
    overrides: Mapping[str, Tensor] | None = None,
) -> MiddleFeatures:
    """Run the synthesis in float32 up to a layer.

    Args:
        G: The generator.
        layer: Name of a layer or block, for example from `choose_layer`.
        ws: Styles `[1, num_ws, w_dim]`.
        noise_mode: Noise of StyleGAN2: the network's own, or none.
        overrides: Parameters and buffers of the synthesis to use in place of its own.
    """
    found: list[Tensor] = []

    def keep_and_stop(name: str, output: Tensor) -> None:
        found.append(output)  # of a block, whose second output is an image, the first one
        raise _EarlyStop

    kwargs = dict(noise_mode=noise_mode, force_fp32=True)
    with suppress(_EarlyStop), layers.watching(G.synthesis, keep_and_stop, layer):
        torch.func.functional_call(G.synthesis, dict(overrides or {}), (ws,), kwargs)
    (x,) = found
    return MiddleFeatures(x, content_width(G.synthesis.get_submodule(layer), x), G.img_resolution)


def content_width(module: torch.nn.Module | None, x: Tensor) -> float:
    """Width of the image in the output of a layer, in pixels; layers of StyleGAN3 have margins."""
    for name in ("out_sampling_rate", "sampling_rate"):
        if hasattr(module, name):
            return float(getattr(module, name))
    return float(x.shape[-1])


class _EarlyStop(Exception):
    """Ends the synthesis once the layer has been computed."""
