"""Launchers of `filtered_lrelu` and of its masked, linear form on the CPU."""

from torch import Tensor

from torch_utils.ops.calls import FilteredLrelu, FilteredMask, Operands
from torch_utils.ops.cpu import resample

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


def filtered_mask(operands: Operands, call: FilteredMask) -> Tensor:
    """The masked, linear form of the op."""
    up, down, padding, mid_padding, gain, slope, flip_filter = call
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
    return resample.resample(operands, resampling)
