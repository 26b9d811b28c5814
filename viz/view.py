"""A view to render, and the result; this module needs neither PyTorch nor a window."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from viz.color_maps import GREY
from viz.frozen_array import FrozenArray

NoiseMode = Literal["const", "random", "none"]
MAX_RANGE_DB = 120  # ends of the powers that have colours, above and below zero
MAX_GAIN_DB = 700  # the factor is still a number in float32
MAX_BETA = 700  # the values of the Kaiser window are still numbers
Point = tuple[float, float]  # (x, y) in pixels of the image; the first pixel is from 0 to 1


@dataclass(frozen=True)
class Drag:
    """Points of an image that are on their way to other places, see `editing.dragging`.

    It is a value, not a process: the same steps from the same start always end in the same image.

    Attributes:
        base: The view that the points belong to, see `base_of`.
        points: Where the points are at the start.
        targets: Where the points shall go, one for each.
        mask: bool `[H, W]`, true where the image may change; None to let all of it change.
        start: Styles `[num_ws, w_dim]` to start from; None for those of the view.
        num_steps: Steps from the start.
    """

    base: "View"
    points: tuple[Point, ...] = ()
    targets: tuple[Point, ...] = ()
    mask: FrozenArray | None = None
    start: FrozenArray | None = None
    num_steps: int = 0


@dataclass(frozen=True)
class View:
    """A view to render; the defaults show a network's image of seed 0.

    Attributes:
        network: Path or URL of the network.
        x: Horizontal position in the plane of latents. A point (x, y) of whole numbers is the seed
            `x + 100 * y`; between these points, styles are interpolated.
        y: Vertical position.
        class_idx: Class; networks without classes ignore it.
        latents: File of latents that replaces the plane, see `generation.latent_files`. Its styles
            are not truncated.
        latent_idx: Number of the image in this file.
        directions: File of directions, see `editing.directions`.
        amounts: How far to go along directions: names, and amounts in scales of the directions.
        direction_layers: First and last layer that directions change; None for all.
        drag: Points to drag.
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
    latents: str | None = None
    latent_idx: int = 0
    directions: str | None = None
    amounts: tuple[tuple[str, float], ...] = ()
    direction_layers: tuple[int, int] | None = None
    drag: Drag | None = None
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

    @property
    def files(self) -> dict[str, str]:
        """Paths and addresses of the files that the view names, by field."""
        named = {"network": self.network, "latents": self.latents, "directions": self.directions}
        return {field: path for field, path in named.items() if path is not None}


def base_of(view: View) -> View:
    """What decides the image before points are dragged; the rest of the view is as by default."""
    return View(
        **{field: getattr(view, field) for field in _BASE},
        noise_mode="none" if view.noise_mode == "none" else "const",
    )


def rendered(view: View) -> View:
    """The part of a view that decides its picture: points that have not moved yet do not."""
    drag = view.drag
    if drag is None or drag.num_steps > 0:
        return view
    if drag.start is None:
        return replace(view, drag=None)
    return replace(view, drag=Drag(drag.base, start=drag.start))


_BASE = (
    *("network", "x", "y", "class_idx", "latents", "latent_idx"),
    *("directions", "amounts", "direction_layers", "mix_seed", "mix_layers"),
    *("truncation_psi", "truncation_cutoff", "translate", "rotate"),
)


@dataclass(frozen=True)
class NetworkInfo:
    """Sizes and abilities of a network.

    Attributes:
        class_names: Names of the classes; empty if they are unknown.
        hash: See `generation.latent_files.network_hash`.
    """

    img_resolution: int
    img_channels: int
    z_dim: int
    c_dim: int
    num_ws: int
    has_transform: bool
    has_noise: bool
    class_names: tuple[str, ...] = ()
    hash: str = ""


@dataclass(frozen=True)
class LatentsInfo:
    """Facts about the file of latents.

    Attributes:
        num: Number of images.
        name: Name of the shown image; empty if the file has no names.
        target: Path of the picture that was projected, if it lies beside the file.
    """

    num: int
    name: str = ""
    target: str | None = None


@dataclass(frozen=True)
class DirectionsInfo:
    """Names of the directions, amounts that are worth a look, and how the directions were found."""

    names: tuple[str, ...]
    reach: float
    method: str


@dataclass(frozen=True)
class DragProgress:
    """Where the dragged points are after the steps of a view.

    Attributes:
        points: Places in the image.
        distance: How far the point that is furthest from its target has to go, in pixels.
        is_done: Whether all points have arrived.
        num_steps: Steps from the start.
    """

    points: tuple[Point, ...]
    distance: float
    is_done: bool
    num_steps: int


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
        ws: The styles on screen, float32 `[num_ws, w_dim]`.
        transform: Transform of the content that the network made, `[3, 3]`; None if the network has
            no transforms.
        latents: Facts about the file of latents.
        directions: Facts about the file of directions.
        drag: Where the dragged points are.
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
    ws: np.ndarray | None = None
    transform: np.ndarray | None = None
    latents: LatentsInfo | None = None
    directions: DirectionsInfo | None = None
    drag: DragProgress | None = None
    stats: Stats | None = None
    selected_stats: Stats | None = None
    render_sec: float = 0
    is_first: bool = False
    content_width: float = 0
