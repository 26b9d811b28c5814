"""A view to render, and the result; this module needs neither PyTorch nor a window."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from viz.color_maps import GREY

NoiseMode = Literal["const", "random", "none"]


@dataclass(frozen=True)
class View:
    """A view to render; the defaults show a network's image of seed 0.

    Attributes:
        network: Path or URL of the network.
        x: Horizontal position in the plane of latents. A point (x, y) of whole numbers is the seed
            `x + 100 * y`; between these points, styles are interpolated.
        y: Vertical position.
        class_idx: Class; networks without classes ignore it.
        mix_seed: Seed of the styles that replace others.
        mix_layers: Indices of the replaced styles, below the `num_ws` of the network.
        truncation_psi: 1 for the full variety, 0 for the average image.
        truncation_cutoff: Number of leading styles to truncate, None for all.
        noise_mode: Per-pixel noise of StyleGAN2: as stored, drawn with `noise_seed`, or none.
        noise_seed: Seed of random noise.
        translate: Shift of the content in fractions of the image.
        rotate: Rotation of the content in degrees.
        untransform: Undo shift and rotation in the finished image.
        layer: Name of the layer to show in place of the image.
        channel: First channel of the layer to show.
        num_channels: Channels to show: one in grey, or three as red, green and blue.
        normalize: Scale the values so that the largest magnitude is 1.
        gain_db: Scale the values further.
        level: Scaled value of a single channel that becomes medium grey.
        window: Scaled values of a single channel from `level - window / 2` to `level + window / 2`
            become black to white. At 0, `level` is a threshold.
        color_map: Colours of a single channel and of the spectrum, one of `viz.color_maps.NAMES`.
            With `"grey"`, the spectrum has its own colours.
        fft: Show the power spectrum.
        fft_range_db: Powers that become black and white. White noise of unit variance is at 0 dB.
        fft_beta: Shape of the Kaiser window.
        fft_all: Average the spectrum over all channels, not only over the shown ones.
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
    noise_mode: NoiseMode = "const"
    noise_seed: int = 0
    translate: tuple[float, float] = (0, 0)
    rotate: float = 0
    untransform: bool = False
    layer: str | None = None
    channel: int = 0
    num_channels: Literal[1, 3] = 3
    normalize: bool = False
    gain_db: float = 0
    level: float = 0
    window: float = 2
    color_map: str = GREY
    fft: bool = False
    fft_range_db: tuple[float, float] = (-40, 20)
    fft_beta: float = 8
    fft_all: bool = True
    force_fp32: bool = False


@dataclass(frozen=True)
class NetworkInfo:
    """Sizes and abilities of a network; `class_names` is empty if the names are unknown."""

    img_resolution: int
    img_channels: int
    z_dim: int
    c_dim: int
    num_ws: int
    has_transform: bool
    has_noise: bool
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerInfo:
    """One layer's output, `[channels, height, width]`."""

    name: str
    shape: tuple[int, int, int]
    dtype: str


@dataclass(frozen=True)
class Stats:
    """Statistics of all values of a layer, or of some channels."""

    mean: float
    std: float
    max: float


@dataclass(frozen=True)
class Result:
    """A picture, or the reason why there is none.

    Attributes:
        view: The view that was rendered.
        image: uint8 `[H, W, C]` with 1 channel (grey), 3 or 4; None after an error.
        error: One line for the user.
        details: The traceback of an unexpected error.
        notice: One line for the user about a misleading picture.
        network: Facts about the network, once it has been loaded.
        layers: Layers of the network, once it has run.
        stats: Statistics of the whole layer, or of the image.
        selected_stats: Statistics of the shown channels.
        render_sec: Time of rendering, without loading.
        is_first: Whether the network rendered for the first time since it was loaded, or since
            `force_fp32` was first switched. The time then includes compiling.
        content_width: Width of the network's image in pixels of the shown array; layers of
            StyleGAN3 have margins. The highest frequency of a spectrum is half this number, in
            cycles per image width. 0 after an error.
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
    is_first: bool = False
    content_width: float = 0
