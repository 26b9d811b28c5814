"""Bilinear sampling of images at given positions, with gradients of any order for the images."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_utils.ops.reference import grid_sample as reference


def grid_sample(input: Tensor, grid: Tensor) -> Tensor:
    """Sample images bilinearly; outside of the image there are zeros.

    Differentiable to any order with respect to `input`; with respect to `grid` once, and once more
    where the first derivative was that of `input`. On GPUs, `torch.use_deterministic_algorithms`
    makes the derivatives the same bits each time, and slower.

    Args:
        input: Images `[N, C, H, W]`.
        grid: Positions `(x, y)`, `[N, H', W', 2]`; -1 and 1 are the outer edges of the border
            pixels (`align_corners=False`).

    Returns:
        Samples `[N, C, H', W']`.

    Raises:
        RuntimeError: In a second backward pass through the gradient of `grid`.
    """
    return _GridSample.apply(input, grid)


class _GridSample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, grid: Tensor) -> Tensor:
        # Only the gradient of the grid needs the pixels; otherwise the shape is enough.
        values = input if ctx.needs_input_grad[1] else input.new_zeros([]).expand(input.shape)
        ctx.save_for_backward(values, grid)
        return F.grid_sample(input, grid, "bilinear", "zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return _GridSampleBackward.apply(dy, *ctx.saved_tensors)


class _GridSampleBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dy: Tensor, input: Tensor, grid: Tensor) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        needs_grid = ctx.needs_input_grad[2]
        ctx.save_for_backward(dy if needs_grid else None, grid)
        if dy.device.type != "cpu" and torch.are_deterministic_algorithms_enabled():
            # PyTorch's kernel adds in the order in which threads finish, and so refuses this mode.
            return reference.grid_sample_grad(dy, input, grid, needs_grid)
        bilinear, zeros, align_corners = 0, 0, False
        dx, dgrid = torch.ops.aten.grid_sampler_2d_backward(
            dy, input, grid, bilinear, zeros, align_corners, [True, needs_grid]
        )
        return dx, dgrid if needs_grid else None

    @staticmethod
    def backward(
        ctx: Any, ddx: Tensor | None, ddgrid: Tensor | None
    ) -> tuple[Tensor | None, None, Tensor | None]:
        if ddgrid is not None:
            raise RuntimeError(
                "grid_sample: the gradient of the grid cannot be differentiated again; "
                "pass `grid.detach()`"
            )
        if ddx is None:
            return None, None, None
        # Sampling is linear in the image, so the gradient of its adjoint is sampling itself; and
        # sum(dx * ddx) = sum(dy * sample(ddx, grid)), whose gradient of the grid is known.
        dy, grid = ctx.saved_tensors
        dgrid = _GridSampleBackward.apply(dy, ddx, grid)[1] if ctx.needs_input_grad[2] else None
        return _GridSample.apply(ddx, grid), None, dgrid
