"""Average power spectra of images; Karras et al. 2021, Fig. 4 and Appendix A.

Spectra show whether a network reproduces the statistics of its training images.
"""

import os
from collections.abc import Iterator

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from dnnlib.errors import InputError
from torch_utils import npz

# Bytes that are transformed together: fits a processor's caches, or occupies many GPU cores.
FFT_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}
SMALLEST_POWER = 1e-30  # -300 dB, in place of zero


def measure_stats(batches: Iterator[Tensor]) -> tuple[float, float]:
    """Mean and (population) standard deviation of all values of uint8 images, computed exactly."""
    counts = torch.zeros([256], dtype=torch.int64)
    for img in batches:
        counts += torch.bincount(img.flatten().cpu(), minlength=256)
    values, weights = np.arange(256.0), counts.numpy()
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def kaiser_window(size: int, beta: float) -> Tensor:
    """One-dimensional window, symmetric, whose squares sum to one; float32 `[size]`.

    White noise of unit variance, multiplied by it, has a power of one.
    """
    window = np.kaiser(size, beta)
    return torch.from_numpy((window / np.sqrt(np.square(window).sum())).astype(np.float32))


def power_spectrum(x: Tensor, beta: float, fft_size: tuple[int, int] | None = None) -> Tensor:
    """`|FFT|^2` of real images in a Kaiser window, for horizontal frequencies from zero on.

    Args:
        x: Images `[N, H, W]`.
        beta: Shape of the window; 0 for none.
        fft_size: Height and width after padding with zeros; `None` pads nothing.

    Returns:
        `[N, height, width // 2 + 1]` in the dtype of `x`, zero frequency first.
    """
    height, width = fft_size or (x.shape[1], x.shape[2])
    x = x * kaiser_window(x.shape[1], beta).to(x.device)[:, None]
    x = x * kaiser_window(x.shape[2], beta).to(x.device)
    spectrum = torch.fft.rfft(x, n=width)
    # Rows of padding would transform to zeros; this transform of the columns adds them.
    spectrum = torch.fft.fft(spectrum, n=height, dim=1)
    return spectrum.real.square() + spectrum.imag.square()


def both_halves(half: Tensor, width: int) -> Tensor:
    """The whole spectrum of real images, from its half as `power_spectrum` returns it."""
    # The power at (-row, -column) is the power at (row, column).
    mirrored = half.flip(-2).roll(1, -2)[..., 1 : width - half.shape[-1] + 1].flip(-1)
    return torch.cat([half, mirrored], dim=-1)


def average_spectrum(
    batches: Iterator[Tensor], image_size: int, mean: float, std: float, beta: float, interp: int
) -> np.ndarray:
    """Average power spectrum of whitened and windowed images over images and channels.

    Equals the mean of `|fft2(window * (x - mean) / std)|^2` with the transform padded to
    `image_size * interp` samples, in double precision where the device has it.

    Args:
        batches: uint8 `[N, C, image_size, image_size]`.
        image_size: Width and height of the images.
        mean: Mean of all pixels, for whitening.
        std: Standard deviation of all pixels, for whitening.
        beta: Shape of the Kaiser window.
        interp: Samples of the spectrum per sample of the image.

    Returns:
        float64 `[image_size * interp, image_size * interp]`, zero frequency first.

    Raises:
        ValueError: If the spectrum is not finite because `mean` and `std` are far from the images.
    """
    # Padding to more than twice the size adds no information: see `_interpolate`.
    fft_size = image_size * min(interp, 2)
    total = torch.zeros([fft_size, fft_size // 2 + 1], dtype=torch.float64)
    num_planes = 0
    for img in batches:
        chunk = max(1, FFT_BYTES.get(img.device.type, FFT_BYTES["cpu"]) // (total.numel() * 16))
        dtype = torch.float32 if img.device.type == "mps" else torch.float64
        if num_planes == 0 and dtype == torch.float64:
            total = total.to(img.device)
        for x in img.flatten(0, 1).split(chunk):  # [N * C, H, W]
            power = power_spectrum((x.to(dtype) - mean) / std, beta, (fft_size, fft_size))
            total += power.sum(dim=0).to(total.device, total.dtype)
        num_planes += img.shape[0] * img.shape[1]
    half = total.cpu() / max(num_planes, 1)
    if not half.isfinite().all():
        raise InputError(f"--mean={mean:g} --std={std:g} make a spectrum that is not finite")
    if interp > 2:
        half = _interpolate(half, image_size * interp)
    return both_halves(half, image_size * interp).numpy()


def _interpolate(half: Tensor, size: int) -> Tensor:
    """Interpolate an average spectrum, as if each image had been padded further.

    The inverse transform of a power spectrum is the autocorrelation of the images. It is at most
    twice as long as an image, so it is padded once instead of every image.
    """
    old_size = len(half)
    shifts = np.fft.fftshift(np.fft.irfft2(half.numpy(), s=(old_size, old_size)))
    padded = np.zeros([size, size])
    padded[:old_size, :old_size] = shifts
    # Negative shifts stand before the middle; the transform expects them at the end.
    padded = np.roll(padded, (-(old_size // 2), -(old_size // 2)), axis=(0, 1))
    return torch.from_numpy(np.fft.rfft2(padded).real.clip(min=0))


def construct_heatmap(npz_file: str | os.PathLike, smooth: float) -> tuple[np.ndarray, int]:
    """Read a spectrum for plotting.

    Args:
        npz_file: A file that `avg_spectra.py calc` wrote.
        smooth: Standard deviation of a Gaussian blur, in samples of the unpadded spectrum.

    Returns:
        Decibels, float32 `[size + 1, size + 1]`, with zero frequency in the centre and the Nyquist
        frequency at all edges, and the size of the images.

    Raises:
        ValueError: If the file holds something else.
    """
    try:
        spectrum = npz.read_array(npz_file, "spectrum")
        image_size = int(npz.read_array(npz_file, "image_size"))
        size, _ = shape = spectrum.shape
        if shape != (size, size) or not 0 < image_size <= size or spectrum.dtype.kind != "f":
            raise InputError("it is no spectrum")
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{npz_file} is not a file that `calc` writes") from error
    if not np.isfinite(spectrum).all():
        raise InputError(f"{npz_file} holds NaN or infinite powers: make it again with `calc`")
    hmap = 10 * np.log10(np.maximum(spectrum, SMALLEST_POWER))
    hmap = np.pad(np.fft.fftshift(hmap), [(0, 1), (0, 1)], mode="wrap")
    if smooth > 0:
        sigma = smooth * size / image_size
        hmap = scipy.ndimage.gaussian_filter(hmap, sigma=sigma, mode="nearest")
    return hmap.astype(np.float32), image_size


def construct_slices(hmap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From zero frequency towards Nyquist: the horizontal and the diagonal of a heat map."""
    center = len(hmap) // 2
    idx = np.arange(center, len(hmap) - 1)
    return hmap[center, idx], hmap[idx, idx]
