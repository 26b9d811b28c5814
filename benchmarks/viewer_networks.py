"""Untrained networks for the benchmarks of the viewer."""

import pickle
from pathlib import Path
from typing import Any

import torch

from training.networks_stylegan3 import Generator


def save(folder: Path, resolution: int, cbase: int) -> str:
    """A network of the usual depth; its path."""
    return _save(folder / "network.pkl", 512, resolution, channel_base=cbase)


def save_fast(folder: Path) -> str:
    """A network that takes about 2 ms on a CPU, for 128x128 pixels; its path.

    Smaller pictures have another way to a browser: they are always sent without loss.
    """
    return _save(
        folder / "fast.pkl", 8, 128, channel_base=128, channel_max=4, num_layers=4, num_critical=1
    )


def _save(path: Path, z_dim: int, resolution: int, **kwargs: Any) -> str:
    torch.manual_seed(0)
    G = Generator(z_dim, 0, z_dim, resolution, 3, **kwargs)
    path.write_bytes(pickle.dumps({"G_ema": G.eval().requires_grad_(False)}))
    return str(path)
