"""Paths through the styles of seeds: the seeds of the keyframes, and the styles in between."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.interpolate
import torch
from torch import Tensor

from dnnlib.errors import InputError
from generation.images import check_class
from torch_utils import latents
from torch_utils.networks import Generator


def assign_seeds(
    seeds: Sequence[int],
    grid_dims: tuple[int, int],
    num_keyframes: int | None = None,
    shuffle_seed: int | None = None,
) -> np.ndarray:
    """Seeds by keyframe and place in the grid, `[num_keyframes, height, width]`.

    The first `num_keyframes` seeds belong to the first image of the grid, the next to the image at
    its right, and so on. If there are too few seeds, they are repeated from the start.

    Raises:
        ValueError: If there are no seeds, or if `num_keyframes` is None and the number of seeds is
            not a multiple of the number of images.
    """
    width, height = grid_dims
    if min(width, height) < 1 or len(seeds) == 0 or (num_keyframes or 1) < 1:
        raise InputError("assign_seeds: seeds, keyframes, columns and rows must be at least 1")
    if num_keyframes is None:
        if len(seeds) % (width * height) != 0:
            raise InputError(
                f"{len(seeds)} seeds do not fill a grid of {width}x{height}: choose a multiple of"
                f" {width * height}, or repeat them with --num-keyframes"
            )
        num_keyframes = len(seeds) // (width * height)
    all_seeds = np.resize(np.asarray(seeds, dtype=np.int64), num_keyframes * height * width)
    if shuffle_seed is not None:
        np.random.RandomState(shuffle_seed).shuffle(all_seeds)
    return np.moveaxis(all_seeds.reshape(height, width, num_keyframes), 2, 0)


def map_keyframes(
    G: Generator,
    seed_table: np.ndarray,
    psi: float,
    class_idx: int | None,
    device: torch.device,
) -> np.ndarray:
    """Styles of seeds: from `[K, height, width]` to `[K, height, width, num_ws, w_dim]`."""
    check_class(G, class_idx)
    c_dim = getattr(G, "c_dim", 0)
    label = latents.label_from_class(class_idx, c_dim, seed_table.size, device)
    z = to_device(latents.z_from_seeds(seed_table.ravel().tolist(), G.z_dim).numpy(), device)
    ws = G.mapping(z, None if c_dim == 0 else label, truncation_psi=psi).cpu().numpy()
    if not np.isfinite(ws).all():
        bad = ~np.isfinite(ws).all(axis=(1, 2))
        raise InputError(
            f"the styles of seed {seed_table.ravel()[bad][0]} are NaN or infinite: the network is "
            "damaged (use an earlier snapshot), or --trunc out of range"
        )
    return ws.reshape(*seed_table.shape, *ws.shape[1:])


def interpolate(keyframes: np.ndarray, kind: str, wraps: int) -> Callable[[np.ndarray], np.ndarray]:
    """A closed path through K keyframes, float64: keyframe k at time k, the first also at K.

    Args:
        keyframes: `[K, height, width, num_ws, w_dim]`.
        kind: Kind of interpolation, see `scipy.interpolate.interp1d`.
        wraps: Repetitions of the keyframes on each side. The path is endless, but the interpolating
            polynomials need ends; far away, their ends do not matter.

    Returns:
        Function from times `[N]` to styles `[N, height, width, num_ws, w_dim]`.
    """
    num_ws = keyframes.shape[3]
    if (keyframes == keyframes[..., :1, :]).all():
        keyframes = keyframes[..., :1, :]  # one style for all layers
    repeated = np.concatenate([keyframes] * (2 * wraps + 1)).astype(np.float64)
    times = np.arange(len(repeated)) - wraps * len(keyframes)
    path = scipy.interpolate.interp1d(times, repeated, kind=kind, axis=0)

    def styles(t: np.ndarray) -> np.ndarray:
        ws = path(t)
        return np.broadcast_to(ws, (*ws.shape[:3], num_ws, ws.shape[4]))

    return styles


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy to a device, in double precision (as published networks expect) if the device has it."""
    x = torch.from_numpy(np.ascontiguousarray(array))
    return x.to(torch.float32).to(device) if device.type == "mps" else x.to(device)
