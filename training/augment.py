"""Adaptive augmentation ("Training GANs with limited data", Karras et al. 2020, App. B)."""

from collections.abc import Sequence
from functools import reduce
from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor

from torch_utils import persistence
from torch_utils.ops import conv2d_gradfix, grid_sample_gradfix, upfirdn2d

# Lowpass filters of orthonormal wavelets (Daubechies symlets): the autocorrelation of the taps at
# even lags is a unit impulse, so that upsampling and then downsampling by two returns the image.
SYM2 = [v / sqrt(32) for v in (1 - sqrt(3), 3 - sqrt(3), 3 + sqrt(3), 1 + sqrt(3))]
SYM6 = [
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
]  # fmt: skip

# Expected power of natural images in the four bands of the filter bank, lowest first.
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)


@persistence.persistent_class
class AugmentPipe(torch.nn.Module):
    """Random augmentations for the images of a discriminator, which do not leak into the fakes.

    Every augmentation is off (0) or has a multiplier; it happens to an image with the probability
    of its multiplier times the buffer `p`, the overall strength, which the training loop adapts.
    """

    p: Tensor
    Hz_geom: Tensor
    Hz_fbank: Tensor

    def __init__(
        self,
        xflip: float = 0,
        rotate90: float = 0,
        xint: float = 0,
        xint_max: float = 0.125,
        scale: float = 0,
        rotate: float = 0,
        aniso: float = 0,
        xfrac: float = 0,
        scale_std: float = 0.2,
        rotate_max: float = 1,
        aniso_std: float = 0.2,
        xfrac_std: float = 0.125,
        brightness: float = 0,
        contrast: float = 0,
        lumaflip: float = 0,
        hue: float = 0,
        saturation: float = 0,
        brightness_std: float = 0.2,
        contrast_std: float = 0.5,
        hue_max: float = 1,
        saturation_std: float = 1,
        imgfilter: float = 0,
        imgfilter_bands: Sequence[float] = (1, 1, 1, 1),
        imgfilter_std: float = 1,
        noise: float = 0,
        cutout: float = 0,
        noise_std: float = 0.1,
        cutout_size: float = 0.5,
    ):
        """
        Args:
            xflip: Mirror left to right.
            rotate90: Turn by a multiple of 90 degrees.
            xint: Shift by whole pixels.
            xint_max: Largest shift by whole pixels, relative to the image size.
            scale: Scale.
            rotate: Rotate by any angle, before and after the anisotropic scaling.
            aniso: Stretch along one axis and shrink along the other.
            xfrac: Shift by any distance.
            scale_std: Standard deviation of the base-2 logarithm of the scale.
            rotate_max: Largest angle, 1 for all directions.
            aniso_std: Standard deviation of the base-2 logarithm of the stretch.
            xfrac_std: Standard deviation of the shift, relative to the image size.
            brightness: Add a constant.
            contrast: Scale all colours.
            lumaflip: Invert the brightness and keep the hue; the alternative is to do nothing.
            hue: Rotate the colours about the luma axis. Needs RGB.
            saturation: Scale the distance to the luma axis. Needs RGB.
            brightness_std: Standard deviation of the constant, in units of the image.
            contrast_std: Standard deviation of the base-2 logarithm of the factor.
            hue_max: Largest angle, 1 for all.
            saturation_std: Standard deviation of the base-2 logarithm of the factor.
            imgfilter: Amplify the frequency bands of the image.
            imgfilter_bands: Multipliers of the four octave bands, lowest first.
            imgfilter_std: Standard deviation of the base-2 logarithm of the amplification.
            noise: Add white noise to all channels.
            cutout: Blank a rectangle.
            noise_std: Standard deviation of the standard deviation of the noise.
            cutout_size: Sides of the rectangle, relative to the sides of the image.

        Raises:
            ValueError: If `imgfilter_bands` does not have four values.
        """
        super().__init__()
        if len(imgfilter_bands) != 4:
            raise ValueError(
                f"AugmentPipe: `imgfilter_bands` must have 4 values, got {imgfilter_bands!r}"
            )
        self.xflip = float(xflip)
        self.rotate90 = float(rotate90)
        self.xint = float(xint)
        self.xint_max = float(xint_max)
        self.scale = float(scale)
        self.rotate = float(rotate)
        self.aniso = float(aniso)
        self.xfrac = float(xfrac)
        self.scale_std = float(scale_std)
        self.rotate_max = float(rotate_max)
        self.aniso_std = float(aniso_std)
        self.xfrac_std = float(xfrac_std)
        self.brightness = float(brightness)
        self.contrast = float(contrast)
        self.lumaflip = float(lumaflip)
        self.hue = float(hue)
        self.saturation = float(saturation)
        self.brightness_std = float(brightness_std)
        self.contrast_std = float(contrast_std)
        self.hue_max = float(hue_max)
        self.saturation_std = float(saturation_std)
        self.imgfilter = float(imgfilter)
        self.imgfilter_bands = [float(band) for band in imgfilter_bands]
        self.imgfilter_std = float(imgfilter_std)
        self.noise = float(noise)
        self.cutout = float(cutout)
        self.noise_std = float(noise_std)
        self.cutout_size = float(cutout_size)
        self.register_buffer("p", torch.ones([]))
        self.register_buffer("Hz_geom", upfirdn2d.setup_filter(SYM6))
        self.register_buffer("Hz_fbank", torch.from_numpy(octave_filter_bank()).float())

    def forward(self, images: Tensor, debug_percentile: float | None = None) -> Tensor:
        """Augment images `[N, C, H, W]` in [-1, 1], differentiably.

        Args:
            images: RGB or grayscale; any number of channels if no colour augmentation is on.
            debug_percentile: Apply every augmentation to every image, with the parameters found at
                this place of their distributions, from 0 to 1.

        Returns:
            Images of the same shape; values may leave [-1, 1].

        Raises:
            ValueError: If colours are to change and the images have neither one nor three channels.
        """
        draw = _Draw(len(images), images.device, self.p, debug_percentile)
        _, num_channels, height, width = images.shape
        inverse_transforms = self._draw_inverse_transforms(draw, width, height)
        if inverse_transforms:
            images = warp(images, reduce(torch.matmul, inverse_transforms), self.Hz_geom)
        recolourings = self._draw_recolourings(draw, num_channels)
        if recolourings:
            images = recolour(images, reduce(lambda done, step: step @ done, recolourings))
        if self.imgfilter > 0:
            images = filter_bands(images, self._draw_band_gains(draw), self.Hz_fbank)
        if self.noise > 0:
            images = add_noise(images, self._draw_noise_sigma(draw))
        if self.cutout > 0:
            images = cut_out(images, *self._draw_cutout(draw))
        return images

    def _draw_inverse_transforms(self, draw: "_Draw", width: int, height: int) -> list[Tensor]:
        """Inverses of the geometric transforms, in pipeline order, `[N, 3, 3]` in pixels."""
        inverses = []

        # Pixel blits.
        if self.xflip > 0:
            flip = draw.sometimes(self.xflip, (draw.uniform() * 2).floor())
            inverses.append(scaling(1 - 2 * flip, 1))
        if self.rotate90 > 0:
            quarter_turns = draw.sometimes(self.rotate90, (draw.uniform() * 4).floor())
            inverses.append(rotation(quarter_turns * (pi / 2)))
        if self.xint > 0:
            shift = draw.sometimes(self.xint, (draw.uniform(2) * 2 - 1) * self.xint_max)
            inverses.append(
                translation(-(shift[:, 0] * width).round(), -(shift[:, 1] * height).round())
            )

        # General geometric transformations.
        if self.scale > 0:
            factor = draw.sometimes(self.scale, (draw.normal() * self.scale_std).exp2(), 1)
            inverses.append(scaling(1 / factor, 1 / factor))
        if self.rotate > 0:
            # Two chances to rotate make one: (1 - p_rot)^2 = 1 - p.
            p_rot = 1 - (1 - self.rotate * self.p).clamp(0, 1).sqrt()
            theta = (draw.uniform() * 2 - 1) * (pi * self.rotate_max)
            inverses.append(rotation(draw.sometimes(p_rot, theta)))
        if self.aniso > 0:
            factor = draw.sometimes(self.aniso, (draw.normal() * self.aniso_std).exp2(), 1)
            inverses.append(scaling(1 / factor, factor))
        if self.rotate > 0:
            theta = (draw.uniform(debug=0.5) * 2 - 1) * (pi * self.rotate_max)
            inverses.append(rotation(draw.sometimes(p_rot, theta)))
        if self.xfrac > 0:
            shift = draw.sometimes(self.xfrac, draw.normal(2) * self.xfrac_std)
            inverses.append(translation(-shift[:, 0] * width, -shift[:, 1] * height))
        return inverses

    def _draw_recolourings(self, draw: "_Draw", num_channels: int) -> list[Tensor]:
        """Affine maps of RGB, in pipeline order, homogeneous `[N, 4, 4]`."""
        maps = []
        if self.brightness > 0:
            offset = draw.sometimes(self.brightness, draw.normal() * self.brightness_std)
            maps.append(colour_offset(offset))
        if self.contrast > 0:
            factor = draw.sometimes(self.contrast, (draw.normal() * self.contrast_std).exp2(), 1)
            maps.append(circulant_colour_map(factor, 0, 0))
        if self.lumaflip > 0:
            flip = draw.sometimes(self.lumaflip, (draw.uniform() * 2).floor())
            maps.append(luma_scaling(1 - 2 * flip))
        if self.hue > 0 and num_channels > 1:
            theta = (draw.uniform() * 2 - 1) * (pi * self.hue_max)
            maps.append(hue_rotation(draw.sometimes(self.hue, theta)))
        if self.saturation > 0 and num_channels > 1:
            factor = (draw.normal() * self.saturation_std).exp2()
            maps.append(chroma_scaling(draw.sometimes(self.saturation, factor, 1)))
        return maps

    def _draw_band_gains(self, draw: "_Draw") -> Tensor:
        """Amplification of each octave band, keeping the expected total power, `[N, 4]`."""
        gains = torch.ones([draw.num, len(BAND_POWER)], device=draw.device)
        for band, multiplier in enumerate(self.imgfilter_bands):
            if multiplier > 0:
                gain = (draw.normal() * self.imgfilter_std).exp2()
                gain = draw.sometimes(self.imgfilter * multiplier, gain, 1)
                norm = (1 - BAND_POWER[band] + BAND_POWER[band] * gain.square()).sqrt()
                of_band = [gain / norm if i == band else 1 / norm for i in range(len(BAND_POWER))]
                gains = gains * torch.stack(of_band, dim=1)
        return gains

    def _draw_noise_sigma(self, draw: "_Draw") -> Tensor:
        """Standard deviation of the noise, `[N]`."""
        return draw.sometimes(self.noise, draw.half_normal() * self.noise_std)

    def _draw_cutout(self, draw: "_Draw") -> tuple[Tensor, Tensor]:
        """Centre `[N, 2]` and size `[N]` of the blank rectangle, relative to the image."""
        center = draw.uniform(2)
        return center, draw.sometimes(self.cutout, torch.full_like(center[:, 0], self.cutout_size))


class _Draw:
    """Parameters for a batch of images: at random, or all at the same percentile."""

    def __init__(self, num: int, device: torch.device, p: Tensor, percentile: float | None):
        self.num = num
        self.device = device
        self.p = p
        self.percentile = percentile

    def uniform(self, *shape: int, debug: float | None = None) -> Tensor:
        """Uniform in [0, 1), `[N, *shape]`; `debug` replaces the percentile."""
        if self.percentile is None:
            return torch.rand([self.num, *shape], device=self.device)
        return self._full(self.percentile if debug is None else debug, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, `[N, *shape]`."""
        if self.percentile is None:
            return torch.randn([self.num, *shape], device=self.device)
        return self._full(2 * self.percentile - 1, *shape).erfinv()

    def half_normal(self) -> Tensor:
        """Absolute value of a standard normal, `[N]`."""
        if self.percentile is None:
            return self.normal().abs()
        return self._full(self.percentile).erfinv()

    def sometimes(self, multiplier: float | Tensor, value: Tensor, neutral: float = 0) -> Tensor:
        """`value` with probability `multiplier * p` for each image, else `neutral`.

        A multiplier that is a tensor is the probability itself. With a percentile, always `value`.
        """
        if self.percentile is not None:
            return value
        chance = multiplier if isinstance(multiplier, Tensor) else multiplier * self.p
        happens = torch.rand([self.num], device=self.device) < chance
        return torch.where(happens.reshape([-1] + [1] * (value.ndim - 1)), value, neutral)

    def _full(self, value: float, *shape: int) -> Tensor:
        return torch.full([self.num, *shape], value, dtype=torch.float32, device=self.device)


def scaling(sx: Tensor | float, sy: Tensor | float) -> Tensor:
    """Scale the plane, `[N, 3, 3]`."""
    return _matrices([sx, 0, 0], [0, sy, 0], [0, 0, 1])


def rotation(theta: Tensor) -> Tensor:
    """Rotate the plane from x towards y, `[N, 3, 3]`."""
    cos, sin = theta.cos(), theta.sin()
    return _matrices([cos, -sin, 0], [sin, cos, 0], [0, 0, 1])


def translation(tx: Tensor, ty: Tensor) -> Tensor:
    """Shift the plane, `[N, 3, 3]`."""
    return _matrices([1, 0, tx], [0, 1, ty], [0, 0, 1])


def warp(images: Tensor, G_inv: Tensor, f: Tensor) -> Tensor:
    """Transform images without aliasing; outside, they are repeated by reflection.

    The images are upsampled twofold with `f`, sampled bilinearly, and downsampled with `f`. With
    its reflections an image is periodic, so only one period has to be upsampled. Its size does not
    depend on `G_inv`, so nothing waits for the device.

    Args:
        images: `[N, C, H, W]`, at least 2x2.
        G_inv: Where an output pixel comes from, in pixels from the centre, `[N, 3, 3]`.
        f: Orthonormal lowpass filter, normalised to unit sum; the number of taps is a multiple of
            4, and the centre is at the tap before the middle.

    Returns:
        Images of the same shape.
    """
    height, width = images.shape[2:]
    taps = len(f)
    # Upsampling moves pixel k to 2k, and spreads it from 2k - taps/2 + 1 to 2k + taps/2. These
    # pixels contribute to the samples from 0 to the first one of the next period:
    x = mirror(images, 3, -(taps // 4), 2 * (width - 1) + taps // 4)
    x = mirror(x, 2, -(taps // 4), 2 * (height - 1) + taps // 4)
    x = upfirdn2d.upfirdn2d(x, f, up=2, gain=4)  # [N, C, 4H - 3, 4W - 3]

    # Where each sample of the upsampled output lies among the samples of the period.
    x_out = _sample_positions(width, taps, x.device)
    y_out = _sample_positions(height, taps, x.device)[:, None]
    grid = []
    for axis, size in enumerate((width, height)):
        g_x, g_y, g_1 = G_inv[:, axis, :, None, None].unbind(1)
        position = g_x * x_out + g_y * y_out + g_1  # [N, 2H + taps - 2, 2W + taps - 2]
        period = 4 * (size - 1)
        index = (2 * position + (size - 1)).remainder(period)
        grid.append((2 * index + 1) / (period + 1) - 1)  # outer edges to -1 and 1
    x = grid_sample_gradfix.grid_sample(x, torch.stack(grid, dim=-1).to(x.dtype))
    return upfirdn2d.upfirdn2d(x, f, down=2, flip_filter=True)


def _sample_positions(size: int, taps: int, device: torch.device) -> Tensor:
    """Upsampled positions that `size` output pixels need, in pixels from the centre."""
    first = 1 - taps // 2
    return torch.arange(first, 2 * size + taps // 2 - 1, device=device) / 2 - (size - 1) / 2


def mirror(x: Tensor, dim: int, start: int, stop: int) -> Tensor:
    """Samples `start` to `stop - 1` along `dim` of `x` reflected about its first and last sample.

    Both may lie at any distance outside. Slices are joined, so that gradients are deterministic.
    """
    span = x.shape[dim] - 1
    if span < 1:
        raise ValueError(f"AugmentPipe: images must be at least 2x2, got {tuple(x.shape)}")
    pieces = []
    while start < stop:
        reflections, offset = divmod(start, span)
        length = min(stop - start, span - offset)
        if reflections % 2 == 0:
            pieces.append(x.narrow(dim, offset, length))
        else:
            pieces.append(x.narrow(dim, span - offset - length + 1, length).flip(dim))
        start += length
    return torch.cat(pieces, dim)


def colour_offset(offset: Tensor) -> Tensor:
    """Add a constant to all colours, `[N, 4, 4]`."""
    return _matrices([1, 0, 0, offset], [0, 1, 0, offset], [0, 0, 1, offset], [0, 0, 0, 1])


def luma_scaling(factor: Tensor) -> Tensor:
    """Scale the component along the luma axis (1, 1, 1), `[N, 4, 4]`; -1 inverts the brightness."""
    luma = (factor - 1) / 3
    return circulant_colour_map(1 + luma, luma, luma)


def chroma_scaling(factor: Tensor) -> Tensor:
    """Scale the distance to the luma axis, `[N, 4, 4]`."""
    luma = (1 - factor) / 3
    return circulant_colour_map(factor + luma, luma, luma)


def hue_rotation(theta: Tensor) -> Tensor:
    """Rotate colours about the luma axis, red towards green, `[N, 4, 4]` (Rodrigues' formula)."""
    luma, sin = (1 - theta.cos()) / 3, theta.sin() / sqrt(3)
    return circulant_colour_map(theta.cos() + luma, luma - sin, luma + sin)


def circulant_colour_map(
    same: Tensor | float, following: Tensor | float, preceding: Tensor | float
) -> Tensor:
    """Every linear map that treats red, green and blue alike, `[N, 4, 4]`.

    Args:
        same: Weight of a colour in itself.
        following: Weight of the next colour in the cycle red, green, blue.
        preceding: Weight of the previous colour.
    """
    return _matrices(
        [same, following, preceding, 0],
        [preceding, same, following, 0],
        [following, preceding, same, 0],
        [0, 0, 0, 1],
    )


def recolour(images: Tensor, C: Tensor) -> Tensor:
    """Map RGB or gray images by `C` `[N, 4, 4]`; gray becomes the mean of the resulting RGB."""
    num_channels = images.shape[1]
    C = C[:, :3].to(images.dtype)
    if num_channels == 1:
        C = C.mean(dim=1)
        return images * C[:, :3].sum(dim=1).reshape(-1, 1, 1, 1) + C[:, 3].reshape(-1, 1, 1, 1)
    if num_channels != 3:
        raise ValueError(
            f"AugmentPipe: colour augmentations need 1 or 3 channels, got {num_channels}"
        )
    return torch.baddbmm(C[:, :, 3:], C[:, :, :3], images.flatten(2)).reshape(images.shape)


def filter_bands(images: Tensor, gains: Tensor, bank: Tensor) -> Tensor:
    """Filter images along both axes; outside, they are repeated by reflection.

    Args:
        images: `[N, C, H, W]`, at least 2x2.
        gains: Weights of the filters for each image, `[N, bands]`.
        bank: Filters to sum, `[bands, taps]`.
    """
    batch, num_channels, height, width = images.shape
    taps = (gains @ bank).to(images.dtype).repeat_interleave(num_channels, dim=0)  # [N * C, taps]
    margin = bank.shape[1] // 2
    x = mirror(mirror(images, 3, -margin, width + margin), 2, -margin, height + margin)
    x = x.reshape(1, batch * num_channels, *x.shape[2:])
    groups = batch * num_channels
    x = conv2d_gradfix.conv2d(x, taps[:, None, None, :], groups=groups)
    x = conv2d_gradfix.conv2d(x, taps[:, None, :, None], groups=groups)
    return x.reshape(images.shape)


def add_noise(images: Tensor, sigma: Tensor) -> Tensor:
    """Add white noise of standard deviation `sigma` `[N]`, independent for all channels."""
    return images + torch.randn_like(images) * sigma.to(images.dtype).reshape(-1, 1, 1, 1)


def cut_out(images: Tensor, center: Tensor, size: Tensor) -> Tensor:
    """Blank a rectangle; `center` `[N, 2]` and `size` `[N]` are relative to the image."""
    height, width = images.shape[2:]
    x = (torch.arange(width, device=images.device) + 0.5) / width
    y = (torch.arange(height, device=images.device) + 0.5) / height
    outside_x = (x - center[:, :1]).abs() >= size[:, None] / 2  # [N, W]
    outside_y = (y - center[:, 1:]).abs() >= size[:, None] / 2  # [N, H]
    outside = outside_x[:, None, None, :] | outside_y[:, None, :, None]
    return images * outside.to(images.dtype)


def octave_filter_bank() -> np.ndarray:
    """Linear-phase filters for the bands up to 1/8, 1/4, 1/2 and 1 of Nyquist, from SYM2.

    Returns:
        `[4, taps]` in float64; the sum of the filters is a unit impulse.
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2  # H(z) H(1/z) / 2
    high = low * (-1.0) ** np.arange(-3, 4)  # the same at -z: low and high sum to 1
    bands: list[np.ndarray] = []
    below = np.ones(1)
    for octave in range(3):
        bands.insert(0, np.convolve(below, _dilate(high, 2**octave)))
        below = np.convolve(below, _dilate(low, 2**octave))
    bands.insert(0, below)
    margins = [(len(below) - len(band)) // 2 for band in bands]
    return np.stack([np.pad(band, margin) for band, margin in zip(bands, margins, strict=True)])


def _dilate(taps: np.ndarray, factor: int) -> np.ndarray:
    dilated = np.zeros((len(taps) - 1) * factor + 1)
    dilated[::factor] = taps
    return dilated


def _matrices(*rows: list[Tensor | float]) -> Tensor:
    """Stack entries `[N]`, and the numbers 0 and 1, to matrices `[N, rows, columns]`."""
    entries = [entry for row in rows for entry in row]
    like = next(entry for entry in entries if isinstance(entry, Tensor))
    numbers: dict[float, Tensor] = {v: torch.full_like(like, v) for v in (0, 1)}
    tensors = [v if isinstance(v, Tensor) else numbers[v] for v in entries]
    return torch.stack(tensors, dim=1).reshape(-1, len(rows), len(rows[0]))
