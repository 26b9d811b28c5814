"""Draw one picture of a network: `View` in, `Result` out; opens no window.

>>> renderer = Renderer()
>>> result = renderer.render(View(network="net.pkl", x=3, truncation_psi=0.7))
>>> result.error or result.image.shape
"""

import contextlib
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

import legacy
from dnnlib import cli
from dnnlib.paths import expand_home
from torch_utils import distributed, latents
from viz.layers import content_width, synthesize
from viz.pixels import spectrum, to_pixels, untransform
from viz.view import LayerInfo, NetworkInfo, Result, Stats, View

SEEDS_PER_ROW = 100  # of the plane of latents

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
    """Renders views; keeps the last network, and nothing else that would change a result.

    Args:
        device: Where to compute, as `--device`.
        allow_untrusted: As for `legacy.load_network_pkl`.
    """

    def __init__(self, device: str = "auto", allow_untrusted: bool | None = None) -> None:
        self.device = distributed.resolve_device(device)
        self.allow_untrusted = allow_untrusted
        self._loaded: _LoadedNetwork | None = None

    def render(self, view: View) -> Result:
        """Render one picture; never raises because of what `view` or a file contains."""
        loaded = None
        start = time.perf_counter()
        try:
            if view.network is None:
                raise ValueError("no network: choose a file")
            loaded = self._load(view.network)
            start = time.perf_counter()
            result = _render(loaded, view)
        except Exception as error:
            if _is_out_of_memory(error) and self.device.type == "cuda":
                torch.cuda.empty_cache()
            is_known = cli.is_expected(error)
            result = Result(
                view,
                error=_describe(error) if is_known else f"{type(error).__name__}: {error}",
                details=None if is_known else traceback.format_exc(),
            )
        if loaded is not None:
            layers = loaded.layers.get(view.force_fp32, ())
            result = replace(result, network=loaded.info, layers=layers)
        return replace(result, render_sec=time.perf_counter() - start)

    def load(self, network: str) -> torch.nn.Module:
        """The generator that `render` uses for a path or URL.

        Raises:
            ValueError: If the file holds no such network, see `legacy.load_network_pkl`.
            OSError: If it cannot be read.
        """
        return self._load(network).G

    def _load(self, network: str) -> "_LoadedNetwork":
        network = expand_home(network)  # it may have been typed
        version = _file_version(network)
        if self._loaded is None or (self._loaded.name, self._loaded.version) != (network, version):
            self._loaded = None  # two networks may not fit into memory
            data = legacy.load_network(network, allow_untrusted=self.allow_untrusted)
            G = data["G_ema"].eval().requires_grad_(False).to(self.device)
            self._loaded = _LoadedNetwork(network, version, G, _network_info(G), {})
        return self._loaded


@dataclass(frozen=True)
class _LoadedNetwork:
    name: str
    version: tuple[int, int] | None  # of the file, to notice that it was overwritten
    G: torch.nn.Module
    info: NetworkInfo
    layers: dict[bool, tuple[LayerInfo, ...]]  # by `force_fp32`; filled when it first runs


@torch.no_grad()
def _render(loaded: _LoadedNetwork, view: View) -> Result:
    G = loaded.G
    ws = _styles(G, view)
    matrix = latents.make_transform(view.translate, view.rotate)
    with latents.content_transform(G, matrix), _noise_seed(view, ws.device):
        img, module = synthesize(G.synthesis, ws, view, loaded.layers)
    x = img[0]
    if view.layer is None:
        shown = x
    else:
        num_channels = view.num_channels if len(x) >= view.num_channels else 1
        first = min(max(view.channel, 0), len(x) - num_channels)
        shown = x[first : first + num_channels]
    stats, selected_stats, num_nonfinite = _stats(x, shown)
    notice = None
    if num_nonfinite > 0:
        what = "image" if view.layer is None else f"output of {view.layer}"
        notice = f"{num_nonfinite} of {x.numel()} values of the {what} are NaN or infinite (black)"
        x, shown = (values.nan_to_num(nan=-1, posinf=-1, neginf=-1) for values in (x, shown))

    mask = None
    if view.untransform and loaded.info.has_transform:
        inverse = np.linalg.inv(matrix)
        inverse[:2, 2] *= content_width(module, x) / x.shape[-1]
        shown, mask = untransform(x if view.fft and view.fft_all else shown, inverse)
        shown = shown * mask
    elif view.fft and view.fft_all:
        shown = x
    pixels = spectrum(shown, view) if view.fft else to_pixels(shown, view)
    if mask is not None and not view.fft:
        pixels = pixels * (mask[:1] > 0)  # black outside
    image = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    return Result(view, image, notice=notice, stats=stats, selected_stats=selected_stats)


def _styles(G: torch.nn.Module, view: View) -> Tensor:
    """Styles `[1, num_ws, w_dim]`: interpolated, truncated, mixed."""
    x, y = int(np.floor(view.x)), int(np.floor(view.y))
    weights_x = {x: x + 1 - view.x, x + 1: view.x - x}
    weights_y = {y: y + 1 - view.y, y + 1: view.y - y}
    weights = {
        (col + SEEDS_PER_ROW * row) % (cli.MAX_SEED + 1): weight_x * weight_y
        for row, weight_y in weights_y.items()
        for col, weight_x in weights_x.items()
        if weight_x * weight_y > 0
    }
    ws = _map_seeds(G, list(weights), view)
    if len(weights) > 1:
        ws = (ws * ws.new_tensor(list(weights.values()))[:, None, None]).sum(0, keepdim=True)
    mixed = [layer for layer in view.mix_layers if layer < ws.shape[1]]
    if mixed:
        ws = ws.clone()
        ws[:, mixed] = _map_seeds(G, [view.mix_seed], view)[:, mixed]
    return ws


def _map_seeds(G: torch.nn.Module, seeds: list[int], view: View) -> Tensor:
    device = _device_of(G)
    z = latents.z_from_seeds(seeds, G.z_dim)
    c = latents.label_from_class(view.class_idx, G.c_dim, len(seeds), device)
    return G.mapping(
        z.to(torch.float32).to(device),
        c,
        truncation_psi=view.truncation_psi,
        truncation_cutoff=view.truncation_cutoff,
    )


@contextlib.contextmanager
def _noise_seed(view: View, device: torch.device) -> Iterator[None]:
    """Random noise depends on the view alone, and leaves PyTorch's generators as they were."""
    if view.noise_mode != "random":
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(view.noise_seed)
        yield


def _stats(x: Tensor, shown: Tensor) -> tuple[Stats, Stats, int]:
    """Statistics of a layer and of what is shown of it, and how many values are not finite."""
    parts = [part.float() for part in ([x] if shown is x else [x, shown])]
    values = torch.stack(
        [stat for p in parts for stat in (*torch.std_mean(p, correction=0), p.amax())]
        + [x.isfinite().logical_not().sum().to(torch.float32)]
    ).tolist()  # one transfer
    num_nonfinite = int(values.pop())
    stats = [Stats(mean, std, high) for std, mean, high in zip(*[iter(values)] * 3, strict=True)]
    return stats[0], stats[-1], num_nonfinite


def _network_info(G: torch.nn.Module) -> NetworkInfo:
    return NetworkInfo(
        img_resolution=G.img_resolution,
        img_channels=G.img_channels,
        z_dim=G.z_dim,
        c_dim=G.c_dim,
        num_ws=G.num_ws,
        has_transform=latents.transform_buffer(G) is not None,
        has_noise=any(name.endswith("noise_const") for name, _ in G.synthesis.named_buffers()),
    )


def _device_of(G: torch.nn.Module) -> torch.device:
    return next(G.parameters()).device


def _file_version(network: str) -> tuple[int, int] | None:
    try:
        status = os.stat(network)
    except OSError:  # a URL; or missing, which loading will say
        return None
    return status.st_mtime_ns, status.st_size


def _is_out_of_memory(error: Exception) -> bool:
    is_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return is_memory or "DefaultCPUAllocator" in str(error)


def _describe(error: Exception) -> str:
    if _is_out_of_memory(error):
        return f"out of memory: {str(error).partition(chr(10))[0]}"
    return cli.message_of(error)
