"""Random arguments: the kernels against the float64 reference, values and first gradients.

The default is a fixed set of examples; `PROPERTY_EXAMPLES=20000` in the environment of pytest tries
as many new ones.
"""

import dataclasses
import os

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from torch_utils.ops.calls import FilteredLrelu, UpFirDn
from torch_utils.ops.cpu import compiler
from torch_utils.ops.filtered_lrelu import filtered_lrelu
from torch_utils.ops.layout import output_format
from torch_utils.ops.reference import filtered_lrelu as lrelu_reference
from torch_utils.ops.reference import upfirdn2d as upfirdn_reference
from torch_utils.ops.upfirdn2d import upfirdn2d

EXAMPLES = os.environ.get("PROPERTY_EXAMPLES")
profile = hypothesis.settings(
    max_examples=int(EXAMPLES or 500),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)

# dtype -> error of the arithmetic, error of storing the result; relative to the sum of the
# absolute values of the terms, and to the result
ERRORS = {
    torch.float32: (5e-6, 0.0),
    torch.float64: (1e-14, 0.0),
    torch.bfloat16: (5e-6, 2**-8),
}
MAX_SAMPLES = 10_000  # of the upsampled images, to be quick
LAYOUTS = ("contiguous", "channels_last", "expanded", "transposed", "strided", "offset")


@pytest.fixture(autouse=True)
def needs_kernels():
    if compiler.library() is None:
        pytest.skip("no C++ compiler")


@dataclasses.dataclass
class Case:
    """Arguments of either op; `upfirdn2d` does not use those from `fd_shape` on."""

    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    layout: str
    grad_layout: str
    fu_shape: tuple[int, ...]
    up: tuple[int, int]
    down: tuple[int, int]
    padding: tuple[int, int, int, int]
    flip_filter: bool
    gain: float
    seed: int
    fd_shape: tuple[int, ...] = (1,)
    has_bias: bool = False
    slope: float = 1.0
    clamp: float | None = None


sizes = st.one_of(st.just(1), st.integers(1, 9), st.integers(10, 20), st.just(60))
factors = st.integers(1, 5)
taps = st.one_of(st.sampled_from([1, 4, 12, 24]), st.integers(1, 14))
filter_shapes = st.one_of(st.tuples(taps), st.tuples(taps, taps), st.just((12, 12)))


@st.composite
def paddings(draw, size: int, up: int, num_taps: int) -> tuple[int, int]:
    """Padding before and after that leaves `num_taps` samples at least."""
    before = draw(st.integers(-5, num_taps + 3))
    least = num_taps - size * up - before
    after = draw(st.integers(max(least, -5), max(least, num_taps) + 3))
    return before, after


@st.composite
def cases(draw, is_lrelu: bool) -> Case:
    fu_shape = draw(filter_shapes)
    up, down = draw(st.tuples(factors, factors)), draw(st.tuples(factors, factors))
    options = {}
    if is_lrelu:
        up, down = (up[0], up[0]), (down[0], down[0])
        options = dict(
            fd_shape=draw(filter_shapes),
            has_bias=draw(st.booleans()),
            slope=draw(st.sampled_from([0.2, 0.0, 1.0, 3.0, -0.5])),
            clamp=draw(st.sampled_from([None, 0.5, 2.0, 256.0, 0.0])),
        )
    width, height = draw(sizes), draw(sizes)
    most = max(1, MAX_SAMPLES // (width * up[0] * height * up[1]))
    channels = min(draw(st.integers(1, 35)), most)
    batch = min(draw(st.sampled_from([0, 1, 2, 3])), max(1, most // channels))
    shape = batch, channels, height, width
    padding = ()
    for axis in (0, 1):  # x, y
        num_taps = fu_shape[-1 - axis] if len(fu_shape) == 2 else fu_shape[0]
        if is_lrelu:
            fd_shape = options["fd_shape"]
            num_taps += (fd_shape[-1 - axis] if len(fd_shape) == 2 else fd_shape[0]) - 1
        padding += draw(paddings(shape[3 - axis], up[axis], num_taps))
    return Case(
        shape=shape,
        dtype=draw(st.sampled_from(list(ERRORS))),
        layout=draw(st.sampled_from(LAYOUTS)),
        grad_layout=draw(st.sampled_from(LAYOUTS)),
        fu_shape=fu_shape,
        up=up,
        down=down,
        padding=padding,
        flip_filter=draw(st.booleans()),
        gain=draw(st.sampled_from([1.0, 2**0.5, 4.0] + ([] if is_lrelu else [0.0]))),
        seed=draw(st.integers(0, 2**32 - 1)),
        **options,
    )


def random_filter(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Taps of few bits: the reference multiplies them by `up**2` in float32, the kernel exactly."""
    return (torch.randn(shape, generator=generator) * 256).round() / 256


def limit_of(f: Tensor) -> Tensor:
    """Taps that limit the sums of rounding errors: the kernels write 2D filters as sums of
    separable ones, which are exact relative to the largest tap only."""
    return f.abs() + f.abs().max() if f.ndim == 2 else f.abs()


def random_images(shape, dtype: torch.dtype, layout: str, generator: torch.Generator) -> Tensor:
    """Normal numbers in a memory layout."""
    n, c, h, w = shape

    def normal(*size) -> Tensor:
        return torch.randn(size, generator=generator).to(dtype)

    if layout == "expanded":
        return normal(n, 1, h, 1).expand(shape)
    if layout == "transposed":
        return normal(w, h, n, c).permute(2, 3, 1, 0)
    if layout == "strided":
        return normal(n, c, 2 * h, 3 * w)[:, :, ::2, 1::3]
    if layout == "offset":
        return normal(n, c + 1, h, w + 3)[:, 1:, :, 2:-1]
    x = normal(*shape)
    return x.to(memory_format=torch.channels_last) if layout == "channels_last" else x


def assert_close(got: Tensor, want: Tensor, terms: Tensor) -> None:
    """Compare with the float64 `want`; `terms` has the sums of the absolute values of its terms."""
    assert got.shape == want.shape
    arithmetic, storage = ERRORS[got.dtype]
    # A gradient of the bias is a sum of stored numbers, and PyTorch may store parts of the sum.
    stored = 3 * terms if got.ndim == 1 else want.abs()
    excess = (got.double() - want).abs() - arithmetic * terms - storage * stored
    assert not excess.isnan().any()
    assert (excess <= 1e-30).all(), f"the largest error is {float(excess.max())} too much"


def assert_layout(y: Tensor, x: Tensor) -> None:
    assert y.stride() == torch.empty(y.shape).contiguous(memory_format=output_format(x)).stride()


def check_gradients(y, inputs, want, bound, case: Case, generator) -> None:
    """Compare the gradients of `y` with those of `want`; those of `bound` limit the error."""
    dy = random_images(y.shape, case.dtype, case.grad_layout, generator)
    got = torch.autograd.grad(y, inputs, dy)
    want_inputs, bound_inputs = want[1], bound[1]
    wanted = torch.autograd.grad(want[0], want_inputs, dy.double())
    bounds = torch.autograd.grad(bound[0], bound_inputs, dy.double().abs())
    for grad, want_grad, bound_grad in zip(got, wanted, bounds, strict=True):
        assert_close(grad, want_grad, bound_grad)


@profile
@hypothesis.given(cases(is_lrelu=False))
def test_upfirdn2d_matches_reference(case):
    generator = torch.Generator().manual_seed(case.seed)
    x = random_images(case.shape, case.dtype, case.layout, generator).requires_grad_()
    f = random_filter(case.fu_shape, generator)
    call = UpFirDn(case.up, case.down, case.padding, case.flip_filter, case.gain)
    y = upfirdn2d(x, f, *call)
    x64 = x.detach().double().requires_grad_()
    bound_x = x64.detach().abs().requires_grad_()
    want = upfirdn_reference.upfirdn2d(x64, f, call)
    bound_call = call._replace(gain=abs(case.gain))
    bound = upfirdn_reference.upfirdn2d(bound_x, limit_of(f), bound_call)
    assert_layout(y, x)
    assert y.dtype == case.dtype
    assert_close(y.detach(), want.detach(), bound.detach())
    check_gradients(y, [x], (want, [x64]), (bound, [bound_x]), case, generator)


@profile
@hypothesis.given(cases(is_lrelu=True))
def test_filtered_lrelu_matches_reference(case):
    generator = torch.Generator().manual_seed(case.seed)
    x = random_images(case.shape, case.dtype, case.layout, generator).requires_grad_()
    b = torch.randn(case.shape[1], generator=generator).to(case.dtype).requires_grad_()
    fu = random_filter(case.fu_shape, generator)
    fd = random_filter(case.fd_shape, generator)
    inputs = [x, b] if case.has_bias else [x]
    up, down = case.up[0], case.down[0]
    settings = case.gain, case.slope, case.clamp, case.flip_filter
    call = FilteredLrelu(up, down, case.padding, *settings)
    y = filtered_lrelu(x, fu, fd, b if case.has_bias else None, *call)
    assert_layout(y, x)

    exact = [t.detach().double().requires_grad_() for t in inputs]
    exact_b = exact[1] if case.has_bias else None
    want = lrelu_reference.filtered_lrelu(exact[0], fu, fd, exact_b, None, call)
    # The same without nonlinearity and with absolute values limits the sums of rounding errors.
    positive = [t.detach().abs().requires_grad_() for t in exact]
    gain = case.gain * max(1.0, abs(case.slope))
    positive_b = positive[1] if case.has_bias else None
    bound = lrelu_reference.filtered_lrelu(
        positive[0],
        limit_of(fu),
        limit_of(fd),
        positive_b,
        None,
        call._replace(gain=gain, slope=1.0, clamp=None),
    )
    assert y.dtype == case.dtype
    assert_close(y.detach(), want.detach(), bound.detach())
    if not is_near_kink(exact, positive, fu, case):
        check_gradients(y, inputs, (want, exact), (bound, positive), case, generator)


@torch.no_grad()
def is_near_kink(exact: list[Tensor], positive: list[Tensor], fu: Tensor, case: Case) -> bool:
    """Whether rounding may decide on which side of the nonlinearity's corners a sample lies."""
    t, bound = (
        upfirdn_reference.upfirdn2d(
            inputs[0] + (inputs[1][:, None, None] if case.has_bias else 0),
            f,
            UpFirDn(case.up, (1, 1), case.padding, case.flip_filter, case.gain * case.up[0] ** 2),
        )
        for inputs, f in ((exact, fu), (positive, limit_of(fu)))
    )
    margin = 1e-6 * bound
    activated = torch.where(t > 0, t, t * case.slope)
    corner = t.abs() < margin
    if case.clamp is not None:
        corner |= (activated.abs() - case.clamp).abs() < margin
    return bool(corner.any())
