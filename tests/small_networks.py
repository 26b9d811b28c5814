"""Tiny generators of every kind, with random weights, and pickles of them."""

import pickle
from pathlib import Path

import torch

from training import networks_stylegan2, networks_stylegan3

SIZES = {"z_dim": 8, "w_dim": 8, "mapping_kwargs": {"num_layers": 1}}
SMALL = {"channel_base": 64, "channel_max": 8}


def stylegan2(**kwargs) -> torch.nn.Module:
    kwargs = {"c_dim": 0, "img_resolution": 16, "img_channels": 3, **kwargs}
    return networks_stylegan2.Generator(**SIZES, **SMALL, **kwargs).eval()


def stylegan3(**kwargs) -> torch.nn.Module:
    kwargs = {"c_dim": 0, "img_resolution": 16, "img_channels": 3, "num_layers": 4, **kwargs}
    return networks_stylegan3.Generator(**SIZES, **SMALL, **kwargs).eval()


def write_pickles(folder: Path) -> Path:
    """Write one pickle per kind of network: t, sg2, cond, gray, rgba."""
    torch.manual_seed(0)
    networks = {
        "t": stylegan3(),
        "sg2": stylegan2(),
        "cond": stylegan2(c_dim=3),
        "gray": stylegan2(img_channels=1),
        "rgba": stylegan2(img_channels=4),
    }
    for name, G in networks.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps({"G_ema": G}))
    return folder


def load(folder: Path, name: str) -> torch.nn.Module:
    """The network of a pickle."""
    return pickle.loads((folder / f"{name}.pkl").read_bytes())["G_ema"]
