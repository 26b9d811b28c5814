"""Launchers of `filtered_lrelu` and of its masked, linear form on the CPU."""

import torch
from torch import Tensor

from torch_utils.ops.calls import FilteredLrelu, FilteredMask, Operands
from torch_utils.ops.cpu import resample
from torch_utils.ops.layout import arithmetic_dtype

mask_shape = resample.mask_shape


def filtered_lrelu(operands: Operands, call: FilteredLrelu) -> Tensor:
    """The op; the gain is positive. Bits for the derivative go to the mask, if one is given."""
    up, down, padding, gain, slope, clamp, flip_filter = call
    resampling = resample.Resampling(
        up=(up, up),
        down=(down, down),
        padding=padding,
        flip_filter=flip_filter,
        up_gain=up**2 * gain,
        mode=resample.ACT if operands.mask is None else resample.ACT_WRITE_MASK,
        slope=slope,
        clamp=clamp,
    )
    return resample.resample(operands, resampling)


def filtered_mask(operands: Operands, call: FilteredMask) -> tuple[Tensor, Tensor, Tensor]:
    """The masked, linear form of the op: output, sums, and sums of products."""
    up, down, padding, mid_padding, gain, slope, flip_filter, needs_sums = call
    resampling = resample.Resampling(
        (up, up),
        (down, down),
        padding,
        mid_padding,
        flip_filter,
        up_gain=gain,
        mode=resample.READ_MASK,
        slope=slope,
    )
    _, (height, _) = resampling.sizes(operands.x, operands.fu, operands.fd)
    shape, dtype = (*operands.x.shape[:2], height), arithmetic_dtype(operands.x.dtype)
    # Sums of rows do not depend on how rows are distributed over threads.
    sums = torch.zeros(shape, dtype=dtype) if needs_sums else None
    products = None if operands.saved is None else torch.zeros(shape, dtype=dtype)
    y = resample.resample(operands, resampling, sums, products)
    return (
        y,
        torch.empty([0], dtype=dtype) if sums is None else sums.sum([0, 2]),
        torch.empty([0], dtype=dtype) if products is None else products.sum(2),
    )
