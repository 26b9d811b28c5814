"""Files of latents and of directions that a view names, for the renderer."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from dnnlib.paths import expand_home
from editing import directions
from generation import latent_files
from generation.latent_files import Latents
from torch_utils.networks import Generator
from viz.view import DirectionsInfo, LatentsInfo, NetworkInfo, View

TARGET = "target.png"  # projector.py writes the picture beside the latents


class StyleFiles:
    """Reads files once; a file that has changed is read again."""

    def __init__(self) -> None:
        self._latents = _LastFile(latent_files.load)
        self._directions = _LastFile(directions.load)

    def latents(self, view: View, info: NetworkInfo) -> tuple[Latents, LatentsInfo, list[str]]:
        """The latents of a view's file, facts about them, and notices for the user.

        Raises:
            OSError: If the file cannot be read.
            InputError: If it holds no latents, or fewer than the view asks for.
        """
        assert view.latents is not None
        path = expand_home(view.latents)
        loaded, notices = self._latents.read(path)
        if not 0 <= view.latent_idx < len(loaded):
            raise InputError(f"{path} has images 0 to {len(loaded) - 1}, not {view.latent_idx}")
        if loaded.network is not None and loaded.network != info.hash:
            notices = [*notices, f"{os.path.basename(path)} belongs to another network"]
        names = loaded.names or [""] * len(loaded)
        name = names[view.latent_idx]
        target = _target_of(Path(path), names, name)
        return loaded, LatentsInfo(len(loaded), name, target), notices

    def offset(self, view: View, G: Generator) -> tuple[Tensor, DirectionsInfo, list[str]]:
        """What a view's directions add to styles, `[num_ws, w_dim]`, and facts about the file.

        Raises:
            OSError: If the file cannot be read.
            InputError: If it holds no directions that fit the network.
        """
        assert view.directions is not None
        path = expand_home(view.directions)
        found, notices = self._directions.read(path)
        directions.check(found, G, path)
        total = torch.zeros([G.num_ws, G.w_dim])
        for name, amount in view.amounts:
            total += found.offset(name, amount, G.num_ws)
        if view.direction_layers is not None:
            first, last = view.direction_layers
            if first >= G.num_ws:
                where = f"layers 0 to {G.num_ws - 1}"
                notices = [*notices, f"the directions change no layer: this network has {where}"]
            total[:first] = 0
            total[last + 1 :] = 0
        return total, DirectionsInfo(found.names, found.reach, found.method), notices


class _LastFile:
    """The content of the last file, with the warnings of its reader."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self._load = load
        self._last: tuple[str, tuple[int, int], Any, list[str]] | None = None

    def read(self, path: str) -> tuple[Any, list[str]]:
        status = os.stat(path)
        version = (status.st_mtime_ns, status.st_size)
        if self._last is None or self._last[:2] != (path, version):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                content = self._load(path)
            self._last = (path, version, content, [str(warning.message) for warning in caught])
        return self._last[2], self._last[3]


def transform_of(latents: Latents, idx: int) -> np.ndarray:
    """The transform of an image's content, `[3, 3]`; the identity if the file has none."""
    return np.eye(3) if latents.transforms is None else latents.transforms[idx]


def _target_of(path: Path, names: Sequence[str], name: str) -> str | None:
    """Where the projected picture lies: in the folder of the latents, or in one of its own."""
    is_plain = name not in ("", ".", "..") and os.path.basename(name) == name
    places = [path.parent / name / TARGET] if is_plain else []
    if len(names) == 1:
        places.append(path.parent / TARGET)
    return next((str(place) for place in places if place.is_file()), None)
