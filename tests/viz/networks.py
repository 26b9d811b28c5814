"""Small networks for the tests of the viewer."""

import pickle
from pathlib import Path

import torch

from training import networks_stylegan2, networks_stylegan3

SIZES = {"z_dim": 8, "w_dim": 8, "img_channels": 3, "mapping_kwargs": {"num_layers": 1}}


def stylegan3(img_resolution: int = 16, c_dim: int = 0, **kwargs) -> torch.nn.Module:
    kwargs = {"channel_base": 128, "channel_max": 8, "num_layers": 4, "num_critical": 1, **kwargs}
    G = networks_stylegan3.Generator(c_dim=c_dim, img_resolution=img_resolution, **SIZES, **kwargs)
    return lively(G)


def stylegan2(img_resolution: int = 16, c_dim: int = 0, **kwargs) -> torch.nn.Module:
    kwargs = {**SIZES, "channel_base": 128, "channel_max": 8, **kwargs}
    return lively(
        networks_stylegan2.Generator(c_dim=c_dim, img_resolution=img_resolution, **kwargs)
    )


def lively(G: torch.nn.Module) -> torch.nn.Module:
    """Make an untrained network show everything: noise, an average style, strong colours."""
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.3)
        G.mapping.w_avg.normal_()
    return G.eval().requires_grad_(False)


def save(G: torch.nn.Module, path: Path) -> Path:
    path.write_bytes(pickle.dumps({"G_ema": G}))
    return path
