"""Render pictures of a network: `View` in, `Result` out, without a window.

>>> renderer = Renderer()
>>> result = renderer.render(View(network="net.pkl", x=3, truncation_psi=0.7))
>>> result.error or result.image.shape
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import InputError
from dnnlib.paths import expand_home
from editing.middle_features import content_width
from torch_utils import devices, latents
from torch_utils.networks import Generator
from viz.layers import synthesize
from viz.loaded_networks import LoadedNetwork, LoadedNetworks, Reader
from viz.pixels import spectrum, to_pixels, untransform
from viz.reasons import explain
from viz.render_keywords import NOTHING, translate
from viz.styles import SEEDS_PER_ROW, Styles, ViewStyles
from viz.view import DragProgress, LayerInfo, NetworkInfo, Result, Stats, View

VISIBLE = 0.01  # smallest share of a pixel that counts

__all__ = [
    "SEEDS_PER_ROW",
    "LayerInfo",
    "NetworkInfo",
    "Renderer",
    "Result",
    "Stats",
    "View",
]


class Renderer:
    """Renders views. It keeps the last network and files, but no state that changes results.

    Args:
        device: Where to compute, a value of `--device`.
        allow_untrusted: As for `network_files.load.load_network_pkl`.
        tell: Called with a line for the user when loading begins, and with None at its end.
        networks: Networks in memory, which several renderers can share; None for a store of its
            own, which holds one network.
        drag_sec: Time that one picture may take for new steps of a drag, of which it takes one at
            least. A picture of fewer steps than asked for has their number in its view.
        dataset_dirs: Where names of classes may be read, see `class_names`; None for everywhere.
    """

    def __init__(
        self,
        device: str = "auto",
        allow_untrusted: bool | None = None,
        tell: Callable[[str | None], None] = lambda text: None,
        networks: LoadedNetworks | None = None,
        drag_sec: float = math.inf,
        dataset_dirs: Sequence[Path] | None = None,
    ) -> None:
        self.device = devices.resolve_device(device)
        self._networks = LoadedNetworks() if networks is None else networks
        self._styles = ViewStyles(drag_sec)
        self._reader = Reader(
            self.device, allow_untrusted, tell, self._styles.forget_drag, dataset_dirs
        )

    def render(self, view: View | None = None, **keywords: Any) -> Result:
        """Render one picture. An error in the view or in a file becomes a part of the result.

        Args:
            view: The view to render.
            keywords: Published names of arguments, see `render_keywords.translate`. They override
                the view.

        Raises:
            TypeError: If a keyword is unknown, or excludes another.
            ValueError: If the value of a keyword cannot be used.
        """
        view, given = translate(view or View(), keywords) if keywords else (view or View(), NOTHING)
        loaded = None
        start = time.perf_counter()
        try:
            if given.G is not None:
                loaded = self._networks.give(self._reader, given.G)
            elif view.network is None:
                raise InputError("no network: choose a file")
            else:
                loaded = self._load(view.network)
            is_first = view.force_fp32 not in loaded.layers
            start = time.perf_counter()
            styles = self._styles.of(loaded.G, loaded.info, view, given)
            result = replace(_render(loaded, view, styles), is_first=is_first)
        except Exception as error:
            reason, details = explain(error, self.device)
            result = Result(view, error=reason, details=details)
        if loaded is not None:
            layers = loaded.layers.get(view.force_fp32, ())
            notice = "; ".join(filter(None, (loaded.notice, result.notice))) or None
            result = replace(result, network=loaded.info, layers=layers, notice=notice)
        return replace(result, render_sec=time.perf_counter() - start)

    def load(self, network: str) -> Generator:
        """The generator that `render` uses for a path or URL.

        A file that has changed is loaded again. If it is missing or cannot be loaded now, the
        generator that was loaded before is returned.

        Raises:
            ValueError: If the file holds no generator, see `load_network_pkl`.
            OSError: If it cannot be read.
        """
        return self._load(network).G

    def _load(self, network: str) -> LoadedNetwork:
        return self._networks.show(self._reader, expand_home(network))  # a user may have typed it


@torch.no_grad()
def _render(loaded: LoadedNetwork, view: View, styles: Styles) -> Result:
    G, ws, matrix = loaded.G, styles.ws, styles.moved
    with latents.content_transform(G, styles.transform), _noise_seed(view, ws.device):
        img, module = synthesize(G.synthesis, ws, view, loaded.layers)
    x = img[0]
    if view.layer is None:
        shown = x
    else:
        num_channels = view.num_channels if len(x) >= view.num_channels else 1
        first = min(max(view.channel, 0), len(x) - num_channels)
        shown = x[first : first + num_channels]
    stats, selected_stats, num_nonfinite = _stats(x, shown)
    notices, is_black = list(styles.notices), None
    if num_nonfinite > 0:
        what = "image" if view.layer is None else f"output of {view.layer}"
        notices.append(
            f"{num_nonfinite} of {x.numel()} values of the {what} are NaN or infinite (black)"
        )
        is_black = shown.isfinite().logical_not()
        x, shown = (values.nan_to_num(nan=0, posinf=0, neginf=0) for values in (x, shown))

    width, mask = content_width(module, x), None
    if view.untransform and loaded.info.has_transform:
        inverse = np.linalg.inv(matrix)
        inverse[:2, 2] *= width / x.shape[-1]
        if is_black is not None:
            is_black = untransform(is_black, inverse)[0].abs() > VISIBLE
        shown, mask = untransform(x if view.fft and view.fft_all else shown, inverse)
        shown = shown * mask
    elif view.fft and view.fft_all:
        shown = x
    pixels = spectrum(shown, view) if view.fft else to_pixels(shown, view)
    if mask is not None and not view.fft:
        pixels = pixels * (mask[:1] > 0)  # black outside
    if is_black is not None and not view.fft:
        pixels = pixels.masked_fill(is_black, 0)
    image = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    return Result(
        _with_steps(view, styles.drag),
        image,
        notice="; ".join(notices) or None,
        ws=ws[0].cpu().numpy(),
        transform=styles.transform if loaded.info.has_transform else None,
        latents=styles.latents,
        directions=styles.directions,
        drag=styles.drag,
        stats=stats,
        selected_stats=selected_stats,
        content_width=width,
    )


def _with_steps(view: View, progress: DragProgress | None) -> View:
    """The view with the steps that its drag has taken."""
    if view.drag is None or progress is None or progress.num_steps == view.drag.num_steps:
        return view
    return replace(view, drag=replace(view.drag, num_steps=progress.num_steps))


@contextlib.contextmanager
def _noise_seed(view: View, device: torch.device) -> Iterator[None]:
    """Seed random noise from the view, and leave PyTorch's generators as they were."""
    if view.noise_mode != "random":
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(view.noise_seed)
        yield


def _stats(x: Tensor, shown: Tensor) -> tuple[Stats, Stats, int]:
    """Statistics of a layer and of its shown part, and the number of values that are not finite."""
    parts = [part.float() for part in ([x] if shown is x else [x, shown])]
    values = torch.stack(
        [stat for p in parts for stat in (*torch.std_mean(p, correction=0), p.amax())]
        + [x.isfinite().logical_not().sum().to(torch.float32)]
    ).tolist()  # one transfer
    num_nonfinite = int(values.pop())
    stats = [Stats(mean, std, high) for std, mean, high in zip(*[iter(values)] * 3, strict=True)]
    return stats[0], stats[-1], num_nonfinite
