"""Translate, rotate and otherwise transform images without aliasing.

Karras et al. 2021, "Alias-Free Generative Adversarial Networks", App. E. Images are `[N, C, H, W]`
of any size and floating-point type. Their samples are at pixel centres, and outside they are zero.
Every operator returns the transformed images and a mask of the same shape and type. The mask is 1
for pixels that do not depend on anything outside of the image.

Translations are fractions of the image: positive ones move the content to the right and down.
Positive angles, in radians, turn it counterclockwise. Pass translations and angles as numbers or
tensors on the CPU: filters are designed there, in float64, and reading a number from a GPU waits
for the GPU.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnnlib.errors import InputError
from torch_utils.ops import upfirdn2d

Matrix = Tensor | np.ndarray | Sequence[Sequence[float]]

# Upsampled pixels to hold at a time, over all images and channels: 64 MiB in float32.
MAX_UPSAMPLED_PIXELS = 2**24
# Below this, sin(p) / p is evaluated by its series: the sine, computed as a difference, is inexact.
SMALL_ANGLE = 1e-4


def apply_integer_translation(
    x: Tensor, tx: float | Tensor, ty: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Translate images by `tx` widths and `ty` heights, rounded to the nearest whole pixel.

    Halves are rounded to even.
    """
    height, width = x.shape[2:]
    dx, dy = int(np.rint(_in_pixels(tx, width))), int(np.rint(_in_pixels(ty, height)))
    out, mask = torch.zeros_like(x), torch.zeros_like(x)
    if abs(dx) < width and abs(dy) < height:
        source, target = _window(-dx, -dy, width, height), _window(dx, dy, width, height)
        out[target] = x[source]
        mask[target] = 1
    return out, mask


def apply_fractional_translation(
    x: Tensor, tx: float | Tensor, ty: float | Tensor, a: int = 3
) -> tuple[Tensor, Tensor]:
    """Translate images by `tx` widths and `ty` heights with a Lanczos filter of 2 `a` taps."""
    height, width = x.shape[2:]
    dx, fx = _split_shift(_in_pixels(tx, width), a)
    dy, fy = _split_shift(_in_pixels(ty, height), a)
    mask = torch.zeros_like(x)
    if abs(dx) >= width + a or abs(dy) >= height + a:  # beyond the reach of the filter
        return torch.zeros_like(x), mask
    out = x
    for taps, padding in (
        (fx[None, :], [a + dx, a - 1 - dx, 0, 0]),
        (fy[:, None], [0, 0, a + dy, a - 1 - dy]),
    ):
        out = upfirdn2d.upfirdn2d(out, taps.to(x.device), padding=padding)
    # An output pixel depends on `a` input pixels on either side. (Of those on its left, one is at
    # its own position if the shift is whole.)
    mask[
        ...,
        max(dy + a, 0) : max(min(dy + height - a + 1, height), 0),
        max(dx + a, 0) : max(min(dx + width - a + 1, width), 0),
    ] = 1
    return out, mask


def apply_fractional_rotation(
    x: Tensor, angle: float | Tensor, a: int = 3, **filter_kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Rotate images about their centre (App. E.3); `filter_kwargs` as for the filter."""
    return apply_affine_transformation(x, rotation_matrix(angle), a=a, amax=a * 2, **filter_kwargs)


def apply_fractional_pseudo_rotation(
    x: Tensor, angle: float | Tensor, a: int = 3, **filter_kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Limit the band of images as if they had been rotated by `angle` (App. E.3).

    Keeps only the frequencies of `x` that an image would also have after rotation by `-angle` and
    sampling. Rotated images filtered in this way can be compared with the result of
    `apply_fractional_rotation`.
    """
    f = construct_affine_bandlimit_filter(
        rotation_matrix(-torch.as_tensor(angle)), a=a, amax=a * 2, up=1, **filter_kwargs
    )
    out = upfirdn2d.filter2d(x, f.to(x.device))
    border = 2 * a - 1
    mask = torch.zeros_like(x)
    mask[..., border : x.shape[2] - border, border : x.shape[3] - border] = 1
    return out, mask


def apply_affine_transformation(
    x: Tensor, mat: Matrix, up: int = 4, **filter_kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Transform images by any affine map (App. E.3).

    The images are upsampled with the filter of `construct_affine_bandlimit_filter`, then sampled
    bilinearly.

    Args:
        x: `[N, C, H, W]`.
        mat: Transformation of the content, `[3, 3]`, in image widths and heights from the centre.
        up: Samples of the upsampled image per pixel and axis.
        filter_kwargs: As for `construct_affine_bandlimit_filter`.

    Returns:
        Images and mask, `[N, C, H, W]` in the type of `x`.
    """
    mat = _as_double(mat)
    f = construct_affine_bandlimit_filter(mat, up=up, **filter_kwargs)
    amax = (f.shape[0] // up + 1) // 2
    height, width = x.shape[2:]
    u, v = _source_positions(torch.linalg.inv(mat), width, height, up, x.device)

    # The mask of the upsampled image is taken at its nearest sample.
    border, origin = amax * up, up // 2
    first, inside = border - origin - 0.5, torch.ones([], dtype=torch.bool, device=x.device)
    for position, size in ((u, width), (v, height)):
        inside = inside & (position > first) & (position < first + size * up - 2 * border)
    mask = inside.to(x.dtype).expand_as(x).contiguous()

    phases = _polyphase_filters(f, amax, up).to(x.device)
    channels = x.flatten(0, 1).to(torch.promote_types(x.dtype, torch.float32))
    samples = (height + 2 * amax) * (width + 2 * amax) * up**2
    parts = [
        _sample_bilinearly(_upsample(part, phases), u + border, v + border)
        for part in channels.split(max(MAX_UPSAMPLED_PIXELS // samples, 1))
    ]
    out = torch.cat(parts) if parts else channels
    return out.to(x.dtype).reshape(x.shape), mask


def construct_affine_bandlimit_filter(
    mat: Matrix,
    a: int = 3,
    amax: int = 16,
    aflt: int = 64,
    up: int = 4,
    cutoff_in: float = 1,
    cutoff_out: float = 1,
) -> Tensor:
    """Low-pass filter that keeps the band of an image before and after a transformation.

    The filter is the convolution of two ideal filters: that of the input, and that of the output
    mapped through the transformation. It is windowed by the convolution of their Lanczos windows.

    Args:
        mat: Transformation of the image, `[3, 3]`; only its linear part matters.
        a: Half width of the Lanczos windows, in pixels.
        amax: Half width of the result, in pixels.
        aflt: Half width of the ideal filters, in pixels, beyond which they are periodic.
        up: Samples per pixel and axis.
        cutoff_in: Cutoff of the input, relative to its Nyquist frequency.
        cutoff_out: Cutoff of the output, relative to its Nyquist frequency.

    Returns:
        Filter `[2 * amax * up - 1, 2 * amax * up - 1]` of unit sum, rows along y, float32, on the
        CPU. Each of its `up * up` polyphase components has the same sum.

    Raises:
        ValueError: If `amax` is larger than `aflt`.
    """
    if amax > aflt:
        raise InputError(
            f"construct_affine_bandlimit_filter: `amax` must not exceed `aflt`, got {amax} > {aflt}"
        )
    linear = _as_double(mat)[:2, :2] / up
    size, half = aflt * up, amax * up - 1
    ideal = _convolve(
        _sheared_product(linear * cutoff_out, size),
        torch.sinc(_grid(size) * (cutoff_in / up)),
        half,
    )
    size = min(size, half + a * up + 1)  # samples farther out do not reach the result
    window = _convolve(
        _sheared_product(linear / a, size, cut=True), lanczos_window(_grid(size) / up, a), half
    )
    f = F.pad(ideal * window, [0, 1, 0, 1]).reshape(2 * amax, up, 2 * amax, up)
    f = f / (f.sum((0, 2), keepdim=True) * up**2)
    return f.reshape(2 * amax * up, 2 * amax * up)[:-1, :-1].float()


def sinc(x: Tensor) -> Tensor:
    """sin(pi x) / (pi x)."""
    return torch.sinc(x)


def lanczos_window(x: Tensor, a: float) -> Tensor:
    """Central lobe of sinc(x / a), zero where |x| >= a."""
    return torch.where(x.abs() < a, torch.sinc(x / a), 0)


def rotation_matrix(angle: float | Tensor) -> Tensor:
    """Rotation by `angle`, counterclockwise as the y axis points down, float32 `[3, 3]`."""
    angle = torch.as_tensor(angle, dtype=torch.float32)
    cos, sin, zero, one = angle.cos(), angle.sin(), angle * 0, angle * 0 + 1
    rows = (cos, sin, zero), (-sin, cos, zero), (zero, zero, one)
    return torch.stack([torch.stack(row) for row in rows])


def _in_pixels(fraction: float | Tensor, size: int) -> np.float32:
    return np.float32(np.float32(fraction) * np.float32(size))


def _window(dx: int, dy: int, width: int, height: int) -> tuple:
    """The pixels that an image covers after it was moved by `dx` and `dy`."""
    return (
        ...,
        slice(max(dy, 0), height + min(dy, 0)),
        slice(max(dx, 0), width + min(dx, 0)),
    )


def _split_shift(shift: np.float32, a: int) -> tuple[int, Tensor]:
    """Whole pixels of a shift, and the taps `[2a]` of the remainder; tap `a - 1` is the centre."""
    whole = int(np.floor(shift))
    t = torch.arange(1 - a, a + 1, dtype=torch.float64) - (float(shift) - whole)
    taps = torch.sinc(t) * lanczos_window(t, a)
    return whole, (taps / taps.sum()).float()


def _as_double(mat: Matrix) -> Tensor:
    return torch.as_tensor(mat, device="cpu").to(torch.float64)


def _grid(size: int) -> Tensor:
    return torch.arange(1 - size, size, dtype=torch.float64)


def _convolve(response: Tensor, taps: Tensor, half: int) -> Tensor:
    """Convolve a filter periodically with a separable one that is the same along x and y.

    Args:
        response: Rows 0, 1, ... of a filter that is symmetric about its centre,
            `[size, 2 * size - 1]`, with the centre in the middle of row 0.
        taps: The separable filter, `[2 * size - 1]`.
        half: Samples of the result on each side of its centre.

    Returns:
        `[2 * half + 1, 2 * half + 1]`.
    """
    size, period = response.shape
    shifts = (torch.arange(-half, half + 1)[:, None] - torch.arange(1 - size, size)) + size - 1
    toeplitz = taps[shifts.remainder(period)]  # [2 * half + 1, period]
    rows = response @ toeplitz.T
    return toeplitz @ torch.cat([rows[1:].flip(0, 1), rows])


def _sheared_product(linear: Tensor, size: int, cut: bool = False) -> Tensor:
    """sinc(p) sinc(q) for (p, q) = `linear` (x, y), x from 1 - size to size - 1, y from 0.

    The sine of a sum is computed from sines and cosines of its two terms, which are far fewer.

    Args:
        linear: `[2, 2]`.
        size: Half width of the grid.
        cut: Keep only the central lobes.

    Returns:
        `[size, 2 * size - 1]`.
    """
    x, y = torch.pi * _grid(size), torch.pi * torch.arange(size, dtype=torch.float64)
    product = torch.ones([])
    for of_x, of_y in linear.tolist():
        px, py = of_x * x, of_y * y
        p = px + py[:, None]
        sine = torch.stack([py.sin(), py.cos()], 1) @ torch.stack([px.cos(), px.sin()])
        factor = sine / p
        near = p.abs() < SMALL_ANGLE
        factor[near] = 1 - p[near].square() / 6
        product = product * (torch.where(p.abs() < torch.pi, factor, 0) if cut else factor)
    return product


def _source_positions(
    inverse: Tensor, width: int, height: int, up: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Sources of the output pixels: x and y `[H, W]`, in upsampled pixels from the first pixel."""
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height - 0.5
    positions = []
    for (of_x, of_y, offset), size in zip(inverse[:2].tolist(), (width, height), strict=True):
        scale = size * up
        along_x = of_x * scale * x + ((offset + 0.5) * size - 0.5) * up
        along_y = of_y * scale * y
        positions.append(along_x.float().to(device) + along_y.float().to(device)[:, None])
    return positions[0], positions[1]


def _polyphase_filters(f: Tensor, amax: int, up: int) -> Tensor:
    """A filter for each sample of a pixel, which correlates: `[up * up, 1, 2amax, 2amax]`."""
    f = F.pad(f * up**2, [1, 0, 1, 0]).flip(0, 1)
    f = f.reshape(2 * amax, up, 2 * amax, up).flip(1, 3)
    return f.permute(1, 3, 0, 2).reshape(up * up, 1, 2 * amax, 2 * amax)


def _upsample(channels: Tensor, phases: Tensor) -> Tensor:
    """Upsample images `[M, H, W]` with their tails: `[M, (H + 2amax), (W + 2amax), up * up]`.

    The samples of a pixel lie side by side, because this order is the fastest to compute.
    """
    taps = phases.shape[-1]
    x = F.pad(channels, [taps - 1, taps, taps - 1, taps])
    # With a single channel, only the strides tell PyTorch that the channels come last.
    x = x[..., None].permute(0, 3, 1, 2)
    weight = phases.to(x.dtype).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):
        return F.conv2d(x, weight).permute(0, 2, 3, 1)


def _sample_bilinearly(samples: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Sample upsampled images, `[M, H, W, up * up]`, at `u` and `v`, `[H', W']`: `[M, H', W']`.

    The first and last samples are zero, so that positions outside can be clamped to them.
    """
    num, rows, columns, up2 = samples.shape
    up = round(up2**0.5)
    samples = samples.flatten(1)
    u, v = u.clamp(0, columns * up - 1), v.clamp(0, rows * up - 1)
    u0, v0 = u.int().clamp(max=columns * up - 2), v.int().clamp(max=rows * up - 2)
    along_x = [u0 // up * up2 + u0 % up for u0 in (u0, u0 + 1)]
    along_y = [v0 // up * (columns * up2) + v0 % up * up for v0 in (v0, v0 + 1)]
    u_weight, v_weight = (u - u0).to(samples.dtype), (v - v0).to(samples.dtype)

    def row(offset: Tensor) -> Tensor:
        left, right = (
            samples.index_select(1, (offset + along).flatten()).reshape(num, *u.shape)
            for along in along_x
        )
        return torch.lerp(left, right, u_weight)

    return torch.lerp(row(along_y[0]), row(along_y[1]), v_weight)
