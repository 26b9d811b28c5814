"""What to render, and what comes of it; needs neither PyTorch nor a window."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from viz.color_maps import GREY


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
        level: Where one channel is shown: the value, scaled as above, that becomes medium grey.
        window: Where one channel is shown: values from `level - window / 2` to `level + window / 2`
            become black to white; with 0, `level` is a threshold.
        color_map: Colours in the place of black to white where one channel is shown, and of the
            spectrum: one of `viz.color_maps.NAMES`; with `"grey"`, the spectrum has its own.
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
    """What a user can choose from in a network; `class_names` is empty if they are not known."""

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
        is_first: Whether it is the first picture of a network since it was loaded, or since
            `force_fp32` was first switched: its time includes what is done once, such as compiling.
        content_width: Pixels of the shown array that span the width of the network's image: layers
            of StyleGAN3 have margins. The highest frequency of a spectrum is half of that, in
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
