"""Euclidean distances between many vectors, by matrix products where they are exact enough.

|x - y|^2 = |x|^2 + |y|^2 - 2 x·y is fast, but if vectors lie close together and far from zero,
rounding errors are as large as the result. So the vectors are centred first, and distances that are
still small compared with the vectors are computed from differences.
"""

import torch
from torch import Tensor

# Smallest share of |x|^2 + |y|^2 for which products in this dtype are right to about 2^-12.
SMALLEST_SHARES = {torch.float32: 2**-10, torch.float64: 2**-39}
MAX_SHARE_OF_PAIRS = 1 / 1024  # pairs that may be computed one by one, which is slow
BLOCK_ELEMENTS = 2**24  # elements of differences in memory at a time


def middle(x: Tensor) -> Tensor:
    """The centre `[d]` of vectors `[N, d]`: their mean, rounded to float16.

    The differences of float16 numbers of about the same size are then exact in float32.
    """
    return x.mean(dim=0, dtype=torch.float32).to(torch.float16).to(torch.float32)


def pairwise(x: Tensor, y: Tensor, center: Tensor) -> Tensor:
    """Distances of the rows of float32 `x` `[N, d]` and `y` `[M, d]`: float32 `[N, M]`.

    Relative error about 2^-12, better than float16; exactly 0 between equal rows.

    Args:
        x: Vectors.
        y: Other vectors, on the same device.
        center: See `middle`; it affects speed and rounding errors only.
    """
    x, y = x - center, y - center
    for dtype, smallest_share in SMALLEST_SHARES.items():
        if dtype == torch.float64 and x.device.type == "mps":
            break  # Apple GPUs have no float64
        squares, limits = _squares(x.to(dtype), y.to(dtype))
        # Not `squares <= limit`: a NaN must count as close, so that it stays in the result.
        is_close = torch.gt(squares, limits.mul_(smallest_share)).logical_not_()
        num_close = int(is_close.count_nonzero())
        if num_close <= MAX_SHARE_OF_PAIRS * squares.numel() + len(x):
            distances = squares.clamp_(min=0).sqrt_().to(torch.float32)
            if num_close > 0:
                rows, columns = is_close.nonzero(as_tuple=True)
                distances[rows, columns] = _one_by_one(x, y, rows, columns)
            return distances
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _squares(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """|x - y|^2 by products, and |x|^2 + |y|^2, `[N, M]` each."""
    lengths = torch.add(x.square().sum(dim=1)[:, None], y.square().sum(dim=1))
    return torch.addmm(lengths, x, y.T, alpha=-2), lengths


def _one_by_one(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Distances of `x[rows[i]]` to `y[columns[i]]`, `[P]`."""
    size = max(1, BLOCK_ELEMENTS // max(x.shape[1], 1))
    blocks = zip(rows.split(size), columns.split(size), strict=True)
    return torch.cat([(x[i] - y[j]).norm(dim=1) for i, j in blocks])
