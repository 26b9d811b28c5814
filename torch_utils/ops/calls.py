"""The settings of each op as one tuple, whose fields have the order of the op's arguments.

Ops of `torch.library` take only tensors, numbers and lists of numbers, so `op(x, *call)` spreads a
call over them. References and launchers take the call whole. Calls are tuples because these cost
the least to make and to spread.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

Pair = tuple[int, int]  # x, y
Padding = tuple[int, int, int, int]  # x0, x1, y0, y1


class BiasAct(NamedTuple):
    """`clamp(act(x * scale + noise + b) * gain)`; by default `x` itself.

    Attributes:
        b: Bias `[x.shape[dim]]`.
        scale: `[N, C]`.
        noise: `[N, 1, H, W]` or `[1, 1, H, W]`.
        dim: Dimension of the channels, counted from the left.
        act: Name of the activation function.
        alpha: Slope of the leaky ReLU below zero.
        gain: Factor after the activation.
        clamp: Limit of the absolute value after the gain.
    """

    b: Tensor | None = None
    scale: Tensor | None = None
    noise: Tensor | None = None
    dim: int = 1
    act: str = "linear"
    alpha: float = 0.0
    gain: float = 1.0
    clamp: float | None = None

    @property
    def is_per_sample(self) -> bool:
        """Whether the operands differ from sample to sample."""
        return self.scale is not None or self.noise is not None

    @property
    def slope(self) -> float:
        """Slope of a piecewise linear activation below zero."""
        return {"linear": 1.0, "relu": 0.0, "lrelu": self.alpha}[self.act]


class BiasActGrad(NamedTuple):
    """The gradients of `BiasAct` that are needed, and the tensor that they are computed from.

    Attributes:
        is_output_saved: The output of the forward pass was saved, rather than its input.
        scales_dx: The gradient of the input includes the scale.
        needs_b: Compute the gradient of the bias.
        needs_scale: Compute the gradient of the scale.
        needs_noise: Compute the gradient of the noise.
    """

    is_output_saved: bool
    scales_dx: bool = False
    needs_b: bool = False
    needs_scale: bool = False
    needs_noise: bool = False

    def shapes(self, saved: Tensor, call: BiasAct) -> list[list[int]]:
        """Shapes of the gradients of bias, scale and noise; `[0]` if they are not needed."""
        return [
            [saved.shape[call.dim]] if self.needs_b else [0],
            list(saved.shape[:2]) if self.needs_scale else [0],
            list(call.noise.shape) if self.needs_noise and call.noise is not None else [0],
        ]


class UpFirDn(NamedTuple):
    """Pad, upsample, filter and downsample; by default filter only.

    Attributes:
        up: Upsampling factors.
        down: Downsampling factors.
        padding: Zeros around the zero-stuffed image.
        flip_filter: Correlate instead of convolve.
        gain: Total gain of the 2D operation.
    """

    up: Pair = (1, 1)
    down: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    flip_filter: bool = False
    gain: float = 1.0


class Operands(NamedTuple):
    """The tensors of `FilteredLrelu` and `FilteredMask`.

    Attributes:
        x: Images `[N, C, H, W]`.
        fu: Filter of the upsampling, `[taps]` or `[fh, fw]`.
        fd: Filter of the downsampling, likewise.
        b: Bias `[C]`, added before the upsampling.
        scale: Factors `[N, C]`: `FilteredLrelu` applies them to `x` before the bias, `FilteredMask`
            to its output.
        mask: Bits for the derivative, which `FilteredLrelu` writes and `FilteredMask` reads.
        saved: What `FilteredMask` multiplies its unscaled output with, and sums up.
    """

    x: Tensor
    fu: Tensor
    fd: Tensor
    b: Tensor | None = None
    scale: Tensor | None = None
    mask: Tensor | None = None
    saved: Tensor | None = None


class FilteredLrelu(NamedTuple):
    """Upsample, apply a leaky ReLU, downsample.

    Attributes:
        up: Upsampling factor.
        down: Downsampling factor.
        padding: Zeros around the zero-stuffed image.
        gain: Factor applied together with the leaky ReLU.
        slope: Slope of the leaky ReLU below zero.
        clamp: Limit of the absolute value after the gain.
        flip_filter: Correlate instead of convolve.
    """

    up: int
    down: int
    padding: Padding
    gain: float
    slope: float
    clamp: float | None
    flip_filter: bool


class FilteredMask(NamedTuple):
    """Upsample, multiply by the derivative of the nonlinearity, pad, downsample.

    This is the gradient of `FilteredLrelu` with the roles of up and down swapped. Before the output
    is scaled, its sums are the gradient of the bias, and those of its products with the input that
    was saved are the gradient of the scale.

    Attributes:
        up: Upsampling factor.
        down: Downsampling factor.
        padding: Zeros around the zero-stuffed image.
        mid_padding: Zeros around the samples at the nonlinearity.
        gain: Gain of the upsampling.
        slope: Derivative where the leaky ReLU was not positive.
        flip_filter: Correlate instead of convolve.
        needs_sums: Sum up the unscaled output over samples and pixels.
    """

    up: int
    down: int
    padding: Padding
    mid_padding: Padding
    gain: float
    slope: float
    flip_filter: bool
    needs_sums: bool = False

    def shapes(self, operands: Operands) -> tuple[list[int], list[int]]:
        """Shapes of the sums `[C]` and of those of products, `[N, C]`; `[0]` if not needed."""
        n, c = operands.x.shape[:2]
        return [c] if self.needs_sums else [0], [0] if operands.saved is None else [n, c]


AnyCall = TypeVar("AnyCall", UpFirDn, FilteredLrelu, FilteredMask)


def call_of_op(kind: type[AnyCall], arguments: Sequence[Any]) -> AnyCall:
    """Make a call from the arguments of its op, which are lists where the call has tuples."""
    settings: list[Any] = [tuple(a) if type(a) is list else a for a in arguments]
    return kind._make(settings)


class Convolution(NamedTuple):
    """The sizes of a 2D convolution with kernels `[O, C, kh, kw]`, all as height and width.

    Attributes:
        stride: Step from one sample of the output to the next, in both directions.
        padding: Zeros on each side of the input.
        kernel_size: Taps.
        in_size: Size of the input.
        out_size: Size of the output.
    """

    stride: int
    padding: tuple[int, int]
    kernel_size: tuple[int, int]
    in_size: tuple[int, int]
    out_size: tuple[int, int]
