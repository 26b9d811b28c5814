"""Writes filters as sums of a few separable filters, as the CPU kernels take them."""

import ctypes
import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Terms are left out if this changes no tap by more than MAX_ERROR roundings of the largest tap,
# because sums over all taps are not more exact.
MAX_ERROR = 4


@dataclass(frozen=True)
class SeparableSum:
    """A filter as the sum of `rank` outer products, in the order of a correlation.

    Attributes:
        x: Taps along x, `[rank, width]`.
        y: Taps along y, `[rank, height]`.
    """

    x: Tensor
    y: Tensor

    @property
    def rank(self) -> int:
        """Number of separable filters."""
        return self.x.shape[0]


def separable_sum(f: Tensor, gain: float, flip_filter: bool, dtype: torch.dtype) -> SeparableSum:
    """Write a filter times `gain` as a sum of separable ones, exact to the precision of `dtype`.

    Any 2D filter can be written so (its singular value decomposition). The radial low-pass filters
    of StyleGAN3-R take three or four terms, which is fewer operations than their 12x12 taps.

    Args:
        f: Filter `[taps]` (separable) or `[fh, fw]` on the CPU.
        gain: Total gain of the 2D operation.
        flip_filter: Correlate instead of convolve.
        dtype: Type of the arithmetic.
    """
    return _separable_sum(*_contents(f), gain, flip_filter, dtype)


def scaled(f: Tensor, gain: float) -> Tensor:
    """A filter on the CPU times `gain`, rounded to the type of the filter; not to be changed."""
    return f if gain == 1 else _scaled(*_contents(f), gain)


def _contents(f: Tensor) -> tuple[bytes, torch.dtype, torch.Size]:
    """Bytes, type and shape of a filter: the key under which results for equal filters are kept."""
    f = f if f.is_contiguous() else f.contiguous()
    return ctypes.string_at(f.data_ptr(), f.nbytes), f.dtype, f.shape


def _from_contents(data: bytes, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


@functools.lru_cache(maxsize=256)
def _scaled(data: bytes, dtype: torch.dtype, shape: torch.Size, gain: float) -> Tensor:
    return _from_contents(data, dtype, shape) * gain


@functools.lru_cache(maxsize=256)
def _separable_sum(
    data: bytes,
    filter_dtype: torch.dtype,
    shape: torch.Size,
    gain: float,
    flip_filter: bool,
    dtype: torch.dtype,
) -> SeparableSum:
    f = _from_contents(data, filter_dtype, shape).to(torch.float64).numpy()
    f = f if flip_filter else np.flip(f)  # the kernel correlates
    if f.ndim == 1:
        x, y = f[None], f[None]
    elif not np.isfinite(f).all():
        x, y = f, np.eye(len(f))  # row by row, so that NaN stays in its row
    else:
        x, y = _low_rank(f, MAX_ERROR * torch.finfo(dtype).eps)
    return SeparableSum(_tensor(x * gain, dtype), _tensor(y, dtype))


def _tensor(taps: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.array(taps, order="C")).to(dtype)


def _low_rank(f: np.ndarray, max_error: float) -> tuple[np.ndarray, np.ndarray]:
    """The fewest terms that approximate `f` to `max_error`, relative to its largest tap."""
    u, s, vt = np.linalg.svd(f, full_matrices=False)
    y, x = (u * np.sqrt(s)).T, vt * np.sqrt(s)[:, None]
    peak = np.abs(f).max()
    rank = 1
    while rank < len(s) and np.abs(y[:rank].T @ x[:rank] - f).max() > max_error * peak:
        rank += 1
    x, y = x[:rank], y[:rank]
    # Terms of symmetric filters are made exactly symmetric, which the kernel makes use of.
    if np.array_equal(f, f[::-1]):
        y = (y + y[:, ::-1]) / 2
    return x, y
