"""Latents in NPZ files: the one format of all scripts, which other programs write as well.

A file holds `w` `[N, num_ws, w_dim]`, as floating-point numbers, and optionally:

- `transform` `[N, 3, 3]`: the transform of each image's content, for StyleGAN3, as
  `torch_utils.latents.make_transform` makes it
- `c` `[N, c_dim]`: labels
- `names` `[N]`: what the images are, as text
- `network`: the hash of the network that the latents belong to, as `network_hash` returns it

Many programs leave the first axis of `w` out where there is one image.
"""

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.atomic_file import open_atomic
from dnnlib.errors import InputError
from torch_utils import npz
from torch_utils.latents import have_inverse, transform_buffer
from torch_utils.networks import Generator

KEYS = ("w", "transform", "c", "names", "network")


@dataclass(frozen=True)
class Latents:
    """Styles of images, and what belongs to them.

    Attributes:
        ws: Styles, float32 `[N, num_ws, w_dim]` on the CPU.
        transforms: Transform of the content of each image, float64 `[N, 3, 3]`, or `None`.
        labels: Labels, float32 `[N, c_dim]`, or `None`.
        names: A name for each image, or `None`.
        network: Hash of the network, or `None` if it is not known.
    """

    ws: Tensor
    transforms: np.ndarray | None = None
    labels: Tensor | None = None
    names: Sequence[str] | None = None
    network: str | None = None

    def __len__(self) -> int:
        return len(self.ws)


def load(path: str | os.PathLike) -> Latents:
    """Read a file of latents.

    Warns of arrays that are not part of the format, and ignores them.

    Raises:
        OSError: If the file cannot be read.
        InputError: If the file is not of this format; the message names the array.
    """
    try:
        ws = npz.read_array(path, "w")
        names = npz.names(path)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not an NPZ file with an array 'w' of numbers") from error
    if unknown := sorted(names - {*KEYS}):
        listed = ", ".join(repr(name) for name in unknown)
        warnings.warn(f"{path}: ignores the arrays {listed}", stacklevel=2)
    ws = _floats(path, "w", ws)
    if ws.ndim == 2:
        ws = ws[None]
    if ws.ndim != 3:
        raise InputError(f"{path}: 'w' has shape {list(ws.shape)}, but must be [N, num_ws, w_dim]")
    num = len(ws)
    if num == 0:
        raise InputError(
            f"{path}: 'w' has shape {list(ws.shape)}: there are no latents in the file"
        )
    found: dict[str, Any] = {}
    if "transform" in names:
        transforms = _floats(path, "transform", npz.read_array(path, "transform"))
        found["transforms"] = _checked_transforms(path, transforms, num)
    if "c" in names:
        labels = npz.read_array(path, "c")
        if labels.dtype.kind not in "biu":
            labels = _floats(path, "c", labels)
        if labels.ndim != 2 or len(labels) != num:
            raise InputError(
                f"{path}: 'c' has shape {list(labels.shape)}, but must be [{num}, c_dim]"
            )
        found["labels"] = torch.from_numpy(labels.astype(np.float32))
    if "names" in names:
        found["names"] = [str(name) for name in npz.read_array(path, "names").ravel()]
        if len(found["names"]) != num:
            raise InputError(f"{path}: {len(found['names'])} 'names' do not fit {num} images")
    if "network" in names:
        found["network"] = "".join(map(str, npz.read_array(path, "network").ravel()[:1])) or None
    return Latents(torch.from_numpy(ws.astype(np.float32)), **found)


def save(path: str | os.PathLike, latents: Latents) -> None:
    """Write a file of latents; it appears complete or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    arrays: dict[str, Any] = {
        "w": latents.ws.cpu().numpy(),
        "transform": latents.transforms,
        "c": None if latents.labels is None else latents.labels.cpu().numpy(),
        "names": None if latents.names is None else np.array(latents.names, dtype=str),
        "network": None if latents.network is None else np.array(latents.network),
    }
    given: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
    with open_atomic(path) as f:
        np.savez(f, **given)


def check(latents: Latents, G: Generator, origin: str) -> None:
    """Refuse latents that a network cannot draw.

    Warns if the latents belong to another network, or have transforms that this network lacks.

    Args:
        latents: The latents.
        G: The generator.
        origin: What the latents came from, for messages: an option or a file.

    Raises:
        InputError: If the shapes differ.
    """
    check_shape(latents.ws, G, origin)
    if latents.transforms is not None and transform_buffer(G) is None:
        warnings.warn(
            f"{origin}: the transforms have no effect: the network has no input transform",
            stacklevel=3,
        )
    if latents.network is not None and latents.network != network_hash(G):
        warnings.warn(
            f"{origin}: these latents belong to another network; images will differ", stacklevel=3
        )


def check_shape(ws: Tensor, G: Generator, origin: str) -> None:
    """Refuse styles of another shape than `[N, num_ws, w_dim]`.

    Raises:
        InputError: If the shape is wrong.
    """
    if ws.ndim != 3 or tuple(ws.shape[1:]) != (G.num_ws, G.w_dim):
        raise InputError(
            f"styles ({origin}) have shape {list(ws.shape)}, "
            f"but this network takes [N, {G.num_ws}, {G.w_dim}]"
        )


def network_hash(G: torch.nn.Module) -> str:
    """SHA-256 over names and values of the parameters, which latents depend on.

    Buffers do not count: the viewer and the scripts change the transform of the content.
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(G.named_parameters()):
        sha.update(f"{name} {list(tensor.shape)}\n".encode())
        sha.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return sha.hexdigest()


def _floats(path: str | os.PathLike, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        raise InputError(
            f"{path}: {name!r} must hold floating-point numbers, not {array.dtype.name}"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {name!r} holds NaN or infinite values, which cannot be drawn")
    return array


def _checked_transforms(path: str | os.PathLike, matrices: np.ndarray, num: int) -> np.ndarray:
    if matrices.shape == (3, 3):
        matrices = matrices[None]
    if matrices.shape != (num, 3, 3):
        raise InputError(
            f"{path}: 'transform' has shape {list(matrices.shape)}, but must be [{num}, 3, 3]"
        )
    matrices = matrices.astype(np.float64)
    if not have_inverse(matrices).all():
        raise InputError(f"{path}: 'transform' has a matrix without inverse")
    return matrices
