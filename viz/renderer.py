"""Draw one picture of a network: `View` in, `Result` out; opens no window.

>>> renderer = Renderer()
>>> result = renderer.render(View(network="net.pkl", x=3, truncation_psi=0.7))
>>> result.error or result.image.shape
"""

import contextlib
import os
import time
import traceback
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import legacy
from dnnlib import cli
from dnnlib.paths import expand_home
from torch_utils import distributed, images, latents, resample

SEEDS_PER_ROW = 100  # of the plane of latents
# What the spectrum looks like from the lowest to the highest power.
SPECTRUM_COLORS = ((0, 0, 0), (60, 20, 110), (190, 50, 90), (250, 150, 40), (255, 255, 220))


@dataclass(frozen=True)
class View:
    """What to render; the defaults show a network's image of seed 0.

    Attributes:
        network: Path or URL of the network.
        x: Where in the plane of latents: the point (x, y) with whole numbers is seed
            `x + 100 * y`; between them, styles are interpolated.
        y: See `x`.
        class_idx: Class; networks without classes ignore it.
        mix_seed: Seed of the styles that replace others.
        mix_layers: Which styles are replaced, as indices into the `num_ws` of the network.
        truncation_psi: 1 for the full variety, 0 for the average image.
        truncation_cutoff: Number of leading styles to truncate, None for all.
        noise_mode: Per-pixel noise of StyleGAN2: as stored, drawn with `noise_seed`, or none.
        noise_seed: Seed of random noise.
        translate: Shift of the content in fractions of the image.
        rotate: Rotation of the content in degrees.
        untransform: Undo shift and rotation in the finished image.
        layer: Name of the layer to show in place of the image.
        channel: First channel of the layer to show.
        num_channels: How many channels, as grey or as red, green and blue.
        normalize: Scale what is shown so that the largest magnitude is 1.
        gain_db: Scale what is shown.
        fft: Show the power spectrum.
        fft_range_db: Powers that become black and white, where white noise of unit variance is at
            0 dB.
        fft_beta: Shape of the Kaiser window.
        fft_all: Average the spectrum over all channels, not only those shown.
        force_fp32: Never use float16.
    """

    network: str | None = None
    x: float = 0
    y: float = 0
    class_idx: int = 0
    mix_seed: int = 1
    mix_layers: tuple[int, ...] = ()
    truncation_psi: float = 1
    truncation_cutoff: int | None = None
    noise_mode: Literal["const", "random", "none"] = "const"
    noise_seed: int = 0
    translate: tuple[float, float] = (0, 0)
    rotate: float = 0
    untransform: bool = False
    layer: str | None = None
    channel: int = 0
    num_channels: Literal[1, 3] = 3
    normalize: bool = False
    gain_db: float = 0
    fft: bool = False
    fft_range_db: tuple[float, float] = (-40, 20)
    fft_beta: float = 8
    fft_all: bool = True
    force_fp32: bool = False


@dataclass(frozen=True)
class NetworkInfo:
    """What a user can choose from in a network."""

    img_resolution: int
    img_channels: int
    z_dim: int
    c_dim: int
    num_ws: int
    has_transform: bool
    has_noise: bool


@dataclass(frozen=True)
class LayerInfo:
    """One layer's output, `[channels, height, width]`."""

    name: str
    shape: tuple[int, int, int]
    dtype: str


@dataclass(frozen=True)
class Stats:
    """Of all values of a layer or of some channels."""

    mean: float
    std: float
    max: float


@dataclass(frozen=True)
class Result:
    """A picture, or the reason why there is none.

    Attributes:
        view: What was asked for.
        image: uint8 `[H, W, C]` with 1 channel (grey), 3 or 4; None after an error.
        error: One line for the user.
        details: The traceback of an error that nobody foresaw.
        notice: One line about a picture that is not what it seems.
        network: Known as soon as the network has been loaded.
        layers: Known as soon as it has run.
        stats: Of the whole layer, or of the image.
        selected_stats: Of the channels that are shown.
        render_sec: How long it took, without loading.
    """

    view: View
    image: np.ndarray | None = None
    error: str | None = None
    details: str | None = None
    notice: str | None = None
    network: NetworkInfo | None = None
    layers: tuple[LayerInfo, ...] = ()
    stats: Stats | None = None
    selected_stats: Stats | None = None
    render_sec: float = 0


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


class _EarlyStop(Exception):
    """Ends synthesis once the layer to show has been computed."""


@torch.no_grad()
def _render(loaded: _LoadedNetwork, view: View) -> Result:
    G = loaded.G
    ws = _styles(G, view)
    matrix = latents.make_transform(view.translate, view.rotate)
    with latents.content_transform(G, matrix), _noise_seed(view, ws.device):
        img, module = _synthesize(loaded, ws, view)
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
        inverse[:2, 2] *= _content_width(module, x) / x.shape[-1]
        shown, mask = _untransform(x if view.fft and view.fft_all else shown, inverse)
        shown = shown * mask
    elif view.fft and view.fft_all:
        shown = x
    pixels = _spectrum(shown, view) if view.fft else _to_pixels(shown, view)
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


def _synthesize(
    loaded: _LoadedNetwork, ws: Tensor, view: View
) -> tuple[Tensor, torch.nn.Module | None]:
    """The image, or the output of the layer to show and the module that it comes from."""
    kwargs = {"noise_mode": view.noise_mode}
    if view.force_fp32:
        kwargs["force_fp32"] = True
    synthesis = loaded.G.synthesis
    if view.force_fp32 not in loaded.layers:
        layers, shown = {}, {}
        with _watching(synthesis, view.layer, layers, shown):
            img = synthesis(ws.to(torch.float32), **kwargs)
        loaded.layers[view.force_fp32] = tuple(layers.values())
        if view.layer is None:
            return img, None
    elif view.layer is None:
        return synthesis(ws.to(torch.float32), **kwargs), None
    else:
        shown = {}
        with (
            contextlib.suppress(_EarlyStop),
            _watching(synthesis, view.layer, None, shown),
        ):
            synthesis(ws.to(torch.float32), **kwargs)
    if view.layer not in shown:
        raise ValueError(f"this network has no layer {view.layer}")
    return shown[view.layer].float(), synthesis.get_submodule(view.layer.partition("[")[0])


@contextlib.contextmanager
def _watching(
    synthesis: torch.nn.Module,
    wanted: str | None,
    layers: dict[str, LayerInfo] | None,
    shown: dict[str, Tensor],
) -> Iterator[None]:
    """Note the layers of a network while it runs.

    Args:
        synthesis: The network.
        wanted: Name of the layer to keep.
        layers: Where to note all layers; None ends synthesis after the wanted one.
        shown: Where to put the output of the wanted layer.
    """
    seen: list[weakref.ref] = []

    def note(name: str, output: Tensor) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            return
        if any(ref() is output for ref in seen):  # a block hands on what its last layer returned
            return
        seen.append(weakref.ref(output))
        if layers is not None:
            dtype = str(output.dtype).removeprefix("torch.")
            layers[name] = LayerInfo(name, tuple(output.shape[1:]), dtype)
        if name == wanted:
            shown[name] = output
            if layers is None:
                raise _EarlyStop

    def hook_for(name: str):
        def hook(module, args, output) -> None:
            if isinstance(output, (tuple, list)):
                for idx, part in enumerate(output):
                    note(f"{name}[{idx}]", part)
            else:
                note(name, output)

        return hook

    only = None if layers is not None else (wanted or "").partition("[")[0]
    handles = [
        module.register_forward_hook(hook_for(name))
        for name, module in synthesis.named_modules()
        if name != "" and only in (None, name)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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


def _content_width(module: torch.nn.Module | None, x: Tensor) -> float:
    """Pixels that the image's width spans in the output of a layer; StyleGAN3's have margins."""
    for name in ("out_sampling_rate", "sampling_rate"):
        if hasattr(module, name):
            return float(getattr(module, name))
    return x.shape[-1]


def _to_pixels(x: Tensor, view: View) -> Tensor:
    """Channels `[C, H, W]` as 8 bits."""
    if view.normalize:
        x = x / x.abs().amax().clamp(min=1e-8)
    if view.gain_db != 0:
        x = x * 10 ** (view.gain_db / 20)
    return images.to_uint8(x)


def _untransform(x: Tensor, inverse: np.ndarray) -> tuple[Tensor, Tensor]:
    """Undo a transformation of `[C, H, W]`; also a mask, 1 where the content is known."""
    out, mask = resample.apply_affine_transformation(x[None].float(), inverse, amax=6)
    return out[0], mask[0]


def _spectrum(x: Tensor, view: View) -> Tensor:
    """Power spectrum of `[C, H, W]`, averaged over channels, in colours: `[3, H, W]`."""
    x = x.float()
    x = x - x.mean((1, 2), keepdim=True)
    for dim in (1, 2):
        window = torch.kaiser_window(x.shape[dim], periodic=False, beta=view.fft_beta)
        window = window / window.norm()  # white noise of unit variance then has a power of 1
        x = x * window.to(x.device).reshape([-1, 1] if dim == 1 else [1, -1])
    power = torch.fft.fftn(x, dim=(1, 2)).abs().square().mean(0)
    power_db = 10 * torch.fft.fftshift(power).clamp(min=1e-20).log10()
    low, high = view.fft_range_db
    t = ((power_db - low) / max(high - low, 1e-3)).clamp(0, 1) * (len(SPECTRUM_COLORS) - 1)
    colors = torch.tensor(SPECTRUM_COLORS, dtype=torch.float32, device=x.device)
    below = t.long().clamp(max=len(SPECTRUM_COLORS) - 2)
    rgb = torch.lerp(colors[below], colors[below + 1], (t - below)[..., None])
    return rgb.round().to(torch.uint8).permute(2, 0, 1)


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
