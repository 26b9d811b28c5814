"""The interface of generators of any origin, for annotations."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor


class Generator(torch.nn.Module):
    """The attributes that every generator has.

    Only annotations use this class: generators have the attributes without deriving from it.

    Attributes:
        z_dim: Size of a latent `z`.
        c_dim: Size of a label `c`; 0 for an unconditional network.
        w_dim: Size of a style `w`.
        num_ws: Styles that an image takes, one per layer.
        img_resolution: Width and height of the images.
        img_channels: Channels of the images.
        mapping: From `z` and `c` to styles `[N, num_ws, w_dim]`.
        synthesis: From styles to images `[N, img_channels, img_resolution, img_resolution]`.
    """

    z_dim: int
    c_dim: int
    w_dim: int
    num_ws: int
    img_resolution: int
    img_channels: int
    mapping: Callable[..., Tensor]
    synthesis: torch.nn.Module


def device_of(module: torch.nn.Module) -> torch.device:
    """The device of the first parameter or buffer; the CPU if there is none."""
    tensor = next(itertools.chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device
