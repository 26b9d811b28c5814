"""Translate published arguments of `Renderer.render` into a `View`.

Scripts of forks call `render(pkl="net.pkl", w0_seeds=[[7, 1]], trunc_psi=0.7)`. `Given` holds the
arguments that a view cannot express: a network, styles, seeds with any weights, any affine
transformation.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from torch_utils.networks import Generator, device_of
from viz.view import View


@dataclass(frozen=True, eq=False)
class Given:
    """Arguments of a caller that replace attributes of a view.

    Attributes:
        G: Generator.
        ws: Styles, `[1, num_ws, w_dim]` or with only the last one or two of these axes.
        weights: By seed. If their sum is not 1, the rest is the weight of the average style.
        transform: Transformation of the content of the image, `[3, 3]`.
    """

    G: Generator | None = None
    ws: Tensor | None = None
    weights: Mapping[int, float] | None = None
    transform: np.ndarray | None = None

    def styles(self, G: Generator, map_seeds: Callable[[list[int]], Tensor]) -> Tensor | None:
        """The styles for a generator, `[1, num_ws, w_dim]`; `None` if none are given.

        Args:
            G: The generator.
            map_seeds: Function from N seeds to styles `[N, num_ws, w_dim]`.

        Raises:
            ValueError: If given styles do not fit the generator.
        """
        if self.ws is not None:
            shape = (1, G.num_ws, G.w_dim)
            ws = self.ws if self.ws.ndim != 2 or len(self.ws) != 1 else self.ws[0]
            is_fit = tuple(ws.shape) in (shape, shape[1:], shape[2:], (1, 1, G.w_dim))
            if not is_fit:
                found = list(self.ws.shape)
                raise InputError(f"the given styles are {found}, this network has {list(shape)}")
            return ws.to(device_of(G), torch.float32).expand(shape)
        if self.weights is None:
            return None
        ws = map_seeds(list(self.weights))
        weights = ws.new_tensor(list(self.weights.values()))[:, None, None]
        ws = (ws * weights).sum(0, keepdim=True)
        rest = 1 - sum(self.weights.values())
        return ws if rest == 0 else ws + rest * getattr(G.mapping, "w_avg", 0)


NOTHING = Given()

# Keyword -> field of a view, conversion of the value.
_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "pkl": ("network", lambda value: None if value is None else os.fspath(value)),
    "class_idx": ("class_idx", int),
    "stylemix_idx": ("mix_layers", lambda value: tuple(int(idx) for idx in value)),
    "stylemix_seed": ("mix_seed", int),
    "trunc_psi": ("truncation_psi", float),
    "trunc_cutoff": ("truncation_cutoff", lambda value: None if value is None else int(value)),
    "random_seed": ("noise_seed", int),
    "noise_mode": ("noise_mode", str),
    "force_fp32": ("force_fp32", bool),
    "layer_name": ("layer", lambda value: None if value is None else str(value)),
    "sel_channels": ("num_channels", lambda value: _one_of(value, (1, 3))),
    "base_channel": ("channel", int),
    "img_scale_db": ("gain_db", float),
    "img_normalize": ("normalize", bool),
    "fft_show": ("fft", bool),
    "fft_all": ("fft_all", bool),
    "fft_range_db": ("fft_range_db", lambda value: _range(value)),
    "fft_beta": ("fft_beta", float),
    "untransform": ("untransform", bool),
}
_STYLES = ("ws", "w", "dlatents")  # three names of the same thing
_GIVEN = ("G", "w0_seeds", *_STYLES, "input_transform")
KNOWN = (*_FIELDS, *_GIVEN)


def translate(view: View, keywords: Mapping[str, Any]) -> tuple[View, Given]:
    """Apply keywords to a view.

    Args:
        view: Values for fields without a keyword.
        keywords: `pkl` or `G`; `w0_seeds`, pairs of seeds and weights, or one of `ws`, `w` and
            `dlatents`, styles that are taken as they are; `input_transform`, a 3x3 matrix that
            transforms the content of the image; `fft_range_db`, half the range or both ends; and
            the other names in `KNOWN`.

    Returns:
        The new view, and the arguments that it cannot express.

    Raises:
        TypeError: If a keyword is unknown, or two exclude each other.
        ValueError: If a value cannot be used.
    """
    if unknown := [name for name in keywords if name not in KNOWN]:
        raise TypeError(f"render: unknown argument {unknown[0]!r}; known are {', '.join(KNOWN)}")
    fields = {}
    for name, (field, convert) in _FIELDS.items():
        if name in keywords:
            fields[field] = _converted(name, convert, keywords[name])
    view = replace(view, **fields)

    given = {name: keywords[name] for name in _GIVEN if keywords.get(name) is not None}
    if "G" in given and keywords.get("pkl") is not None:
        raise TypeError("render: give either `pkl` or `G`")
    styles = [name for name in _STYLES if name in given]
    if len(styles) + ("w0_seeds" in given) > 1:
        raise TypeError(f"render: give only one of w0_seeds, {', '.join(_STYLES)}")
    if styles and view.truncation_psi != 1:
        raise TypeError(
            f"render: `trunc_psi` has no effect on given styles ({styles[0]}); truncate them with "
            "w_avg + psi * (ws - w_avg)"
        )
    ws = _converted(styles[0], _tensor, given[styles[0]]) if styles else None
    weights, transform = given.get("w0_seeds"), given.get("input_transform")
    return view, Given(
        G=given.get("G"),
        ws=ws,
        weights=None if weights is None else _converted("w0_seeds", _weights, weights),
        transform=None if transform is None else _converted("input_transform", _matrix, transform),
    )


def _converted(name: str, convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"render: `{name}` cannot be used ({error})") from error


def _one_of(value: Any, choices: tuple[int, ...]) -> int:
    if value not in choices:
        raise InputError(f"{value!r} is not one of {', '.join(map(str, choices))}")
    return int(value)


def _range(value: Any) -> tuple[float, float]:
    low, high = (-value, value) if np.ndim(value) == 0 else value
    return float(low), float(high)


def _tensor(value: Any) -> Tensor:
    ws = torch.as_tensor(value)
    if not 1 <= ws.ndim <= 3:
        raise InputError(f"it has the shape {list(ws.shape)}, not [1, num_ws, w_dim]")
    return ws.detach()


def _weights(pairs: Any) -> dict[int, float]:
    weights: dict[int, float] = {}
    for seed, weight in pairs:
        weights[int(seed)] = weights.get(int(seed), 0) + float(weight)
    if not weights:
        raise InputError("it names no seed")
    return weights


def _matrix(value: Any) -> np.ndarray:
    matrix = np.array(value, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise InputError("it is not a matrix of 3x3 finite numbers")
    return matrix
