"""Launchers of `filtered_lrelu` and of its masked, linear form on the CPU."""

from torch import Tensor

from torch_utils.ops.cpu import resample

mask_shape = resample.mask_shape


def filtered_lrelu(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    scale: Tensor | None,
    up: int,
    down: int,
    padding: tuple[int, ...],
    gain: float,
    slope: float,
    clamp: float | None,
    flip_filter: bool,
    mask: Tensor | None,
) -> Tensor:
    """The op; `gain` is positive. Bits for the derivative go to `mask`, if any."""
    return resample.resample(
        x,
        fu,
        fd,
        (up, up),
        (down, down),
        padding,
        (0, 0, 0, 0),
        flip_filter,
        up_gain=up**2 * gain,
        mode=resample.ACT if mask is None else resample.ACT_WRITE_MASK,
        scale=scale,
        b=b,
        slope=slope,
        clamp=clamp,
        mask=mask,
    )


def filtered_mask(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    mask: Tensor,
    up: int,
    down: int,
    padding: list[int],
    mid_padding: list[int],
    gain: float,
    slope: float,
    flip_filter: bool,
) -> Tensor:
    """Upsample, multiply by the derivative of the nonlinearity, downsample."""
    return resample.resample(
        x,
        fu,
        fd,
        (up, up),
        (down, down),
        tuple(padding),
        tuple(mid_padding),
        flip_filter,
        up_gain=gain,
        mode=resample.READ_MASK,
        slope=slope,
        mask=mask,
    )
