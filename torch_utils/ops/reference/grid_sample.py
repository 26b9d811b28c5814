"""The gradients of bilinear sampling, in operations that PyTorch can run deterministically."""

import torch
from torch import Tensor


def grid_sample_grad(
    dy: Tensor, input: Tensor, grid: Tensor, needs_grid: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradients of `grid_sample(input, grid)`, in float32 at least.

    With `torch.use_deterministic_algorithms`, `index_add_` sorts the samples by their pixel on CUDA
    instead of adding them in the order in which threads finish. One corner of the four at a time
    keeps the memory for sorting small.

    Args:
        dy: Gradient of the samples `[N, C, H', W']`.
        input: Images `[N, C, H, W]`; only their shape matters without `needs_grid`.
        grid: Positions `[N, H', W', 2]`, as `grid_sample` takes them.
        needs_grid: Compute the gradient of the grid, too.

    Returns:
        Gradients of `input` and, or `None`, of `grid`.
    """
    n, c, h, w = input.shape
    dtype = torch.promote_types(input.dtype, torch.float32)
    g_x, g_y = grid.to(dtype).unbind(-1)
    x, y = ((g_x + 1) * w - 1) / 2, ((g_y + 1) * h - 1) / 2
    x0, y0 = x.floor(), y.floor()
    first_rows = torch.arange(n, device=grid.device)[:, None, None] * h
    samples = dy.to(dtype).movedim(1, -1).reshape(-1, c)
    dx = samples.new_zeros([n * h * w, c])
    dgrid = torch.zeros_like(grid, dtype=dtype) if needs_grid else None
    for above, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = x0 + left, y0 + above
        inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
        weight_x, weight_y = 1 - (x - column).abs(), 1 - (y - row).abs()
        column, row = (torch.where(inside, t, 0).long() for t in (column, row))
        pixel = ((first_rows + row) * w + column).flatten()
        weight = torch.where(inside, weight_x * weight_y, 0).reshape(-1, 1)
        dx.index_add_(0, pixel, samples * weight)
        if dgrid is not None:
            values = input.to(dtype).movedim(1, -1).reshape(-1, c).index_select(0, pixel)
            slope = torch.where(inside, (samples * values).sum(1).view_as(x), 0)
            dgrid[..., 0] += (2 * left - 1) * weight_y * slope * (w / 2)
            dgrid[..., 1] += (2 * above - 1) * weight_x * slope * (h / 2)
    dx = dx.reshape(n, h, w, c).movedim(-1, 1).contiguous()
    return dx.to(input.dtype), None if dgrid is None else dgrid.to(grid.dtype)
