"""Paths through the styles of seeds: the seeds of the keyframes, and the styles in between."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.interpolate
import torch
from torch import Tensor

from dnnlib.errors import InputError
from generation.images import check_class
from generation.tracks import Curve, Track
from torch_utils import latents
from torch_utils.networks import Generator

Trajectory = Callable[[np.ndarray], np.ndarray]
"""From times `[N]` in keyframes to styles `[N, height, width, num_ws, w_dim]`, or to transforms."""


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


def interpolate(keyframes: np.ndarray, kind: str, wraps: int) -> Trajectory:
    """A closed path through K keyframes, float64: keyframe k at time k, the first also at K.

    Args:
        keyframes: `[K, height, width, num_ws, w_dim]`.
        kind: `smooth` for straight lines along which the path starts and stops softly at each
            keyframe, `spline` for `cubic`, or another kind of `scipy.interpolate.interp1d`.
        wraps: Repetitions of the keyframes on each side. The path is endless, but the interpolating
            polynomials need ends; far away, their ends do not matter.

    Returns:
        Function from times `[N]` to styles `[N, height, width, num_ws, w_dim]`.
    """
    num_ws = keyframes.shape[3]
    if (keyframes == keyframes[..., :1, :]).all():
        keyframes = keyframes[..., :1, :]  # one style for all layers
    path = _closed_path(np.concatenate([keyframes] * (2 * wraps + 1)), kind, wraps)

    def styles(t: np.ndarray) -> np.ndarray:
        ws = path(t)
        return np.broadcast_to(ws, (*ws.shape[:3], num_ws, ws.shape[4]))

    return styles


def interpolate_transforms(transforms: np.ndarray, kind: str, wraps: int) -> Trajectory:
    """A closed path through transforms of image content, float64.

    Between transforms that scale, turn and shift, the logarithm of the scale, the angle (along the
    shorter way) and the shift are interpolated. If one of the transforms does more, such as to
    mirror, the entries of all matrices are interpolated instead; in between, matrices may have no
    inverse.

    Args:
        transforms: `[K, height, width, 3, 3]`, see `torch_utils.latents.make_transform`.
        kind: See `interpolate`.
        wraps: See `interpolate`.

    Returns:
        Function from times `[N]` to transforms `[N, height, width, 3, 3]`.
    """
    repeated = np.concatenate([transforms] * (2 * wraps + 1))
    scales = np.hypot(repeated[..., 0, 0], repeated[..., 0, 1])
    angles = np.arctan2(repeated[..., 0, 1], repeated[..., 0, 0])
    similar = _similarities(scales, angles, repeated[..., :2, 2])
    is_close = np.abs(similar - repeated) <= 1e-5 * scales[..., None, None]
    if not (is_close.all() and scales.all()):
        return _closed_path(repeated, kind, wraps)
    log_scale_at = _closed_path(np.log(scales), kind, wraps)
    angle_at = _closed_path(np.unwrap(angles, axis=0), kind, wraps)
    shift_at = _closed_path(repeated[..., :2, 2], kind, wraps)
    return lambda t: _similarities(np.exp(log_scale_at(t)), angle_at(t), shift_at(t))


def truncate(average: Trajectory, full: Trajectory, psi: Curve, num_keyframes: int) -> Trajectory:
    """Truncation that changes along the way.

    Args:
        average: Trajectory of the styles with a psi of 0.
        full: The same with a psi of 1.
        psi: Truncation by the time in the video, 0 to 1.
        num_keyframes: K, where the video ends.
    """

    def styles(t: np.ndarray) -> np.ndarray:
        low = average(t)
        return low + _per_frame(psi(t / num_keyframes)) * (full(t) - low)

    return styles


def blend_classes(
    path_of: Callable[[int], Trajectory], classes: Track, num_keyframes: int
) -> Trajectory:
    """From class to class: between two keys of the track, styles of the two classes are blended.

    The styles of both belong to the same latents. Classes with numbers in between do not occur.

    Args:
        path_of: Trajectory of the styles of a class.
        classes: Classes by the time in the video, 0 to 1.
        num_keyframes: K, where the video ends.
    """
    paths = {idx: path_of(idx) for idx in dict.fromkeys(classes.values)}

    def styles(t: np.ndarray) -> np.ndarray:
        shares = classes.weights(t / num_keyframes)
        used = [k for k in range(shares.shape[1]) if shares[:, k].any()]
        parts = [_per_frame(shares[:, k]) * paths[classes.values[k]](t) for k in used]
        return np.sum(parts, axis=0)

    return styles


def move_along(
    path: Trajectory, directions: Sequence[tuple[np.ndarray, Curve]], num_keyframes: int
) -> Trajectory:
    """A path with directions added.

    Args:
        path: The path.
        directions: For each direction, what an amount of 1 adds, `[num_ws, w_dim]`, and the amount
            by the time in the video, 0 to 1.
        num_keyframes: K, where the video ends.
    """

    def styles(t: np.ndarray) -> np.ndarray:
        amounts = [_per_frame(amount(t / num_keyframes)) for _, amount in directions]
        offsets = [offset for offset, _ in directions]
        return path(t) + sum(a * offset for a, offset in zip(amounts, offsets, strict=True))

    return styles


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy to a device, in double precision (as published networks expect) if the device has it."""
    x = torch.from_numpy(np.ascontiguousarray(array))
    return x.to(torch.float32).to(device) if device.type == "mps" else x.to(device)


def _closed_path(repeated: np.ndarray, kind: str, wraps: int) -> Trajectory:
    """The path of `interpolate`, through keyframes `[K * (2 * wraps + 1), ...]`."""
    times = np.arange(len(repeated)) - wraps * (len(repeated) // (2 * wraps + 1))
    in_scipy = {"smooth": "linear", "spline": "cubic"}.get(kind, kind)
    path = scipy.interpolate.interp1d(times, repeated.astype(np.float64), kind=in_scipy, axis=0)
    return path if kind != "smooth" else lambda t: path(_rest_at_whole_numbers(t))


def _rest_at_whole_numbers(t: np.ndarray) -> np.ndarray:
    """Times that pass whole numbers softly: 3 x^2 - 2 x^3 of the way from one to the next."""
    whole = np.floor(t)
    x = t - whole
    return whole + x * x * (3 - 2 * x)


def _similarities(scales: np.ndarray, angles: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Matrices `[..., 3, 3]` that scale by `scales` `[...]`, turn by `angles` `[...]`, then shift.

    Angles are in radians, and `shifts` are `[..., 2]`.
    """
    matrices = np.zeros([*angles.shape, 3, 3])
    matrices[..., 0, 0] = matrices[..., 1, 1] = scales * np.cos(angles)
    matrices[..., 0, 1] = scales * np.sin(angles)
    matrices[..., 1, 0] = -matrices[..., 0, 1]
    matrices[..., :2, 2] = shifts
    matrices[..., 2, 2] = 1
    return matrices


def _per_frame(numbers: np.ndarray) -> np.ndarray:
    """Numbers `[N]` that multiply styles `[N, height, width, num_ws, w_dim]`."""
    return numbers[:, None, None, None, None]
