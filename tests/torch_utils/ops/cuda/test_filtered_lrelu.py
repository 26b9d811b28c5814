"""The CUDA kernels of filtered_lrelu, run by the emulator, against the reference in float64."""

from dataclasses import dataclass, replace

import pytest
import torch

from tests.cuda_emulator import emulator
from torch_utils.ops.calls import FilteredLrelu, FilteredMask, Operands
from torch_utils.ops.cuda import compiler, filtered_lrelu, launcher
from torch_utils.ops.cuda.filtered_lrelu_plan import (
    ACT,
    READ_MASK,
    WRITE_MASK,
    Call,
    specialisation,
)
from torch_utils.ops.cuda.recorder import record_launches
from torch_utils.ops.layout import arithmetic_dtype
from torch_utils.ops.reference import filtered_lrelu as reference

TOLERANCES = {  # relative to the largest value
    torch.float16: 2e-3,
    torch.bfloat16: 1.5e-2,
    torch.float32: 4e-6,
    torch.float64: 1e-13,
}


@dataclass(frozen=True)
class Case:
    """Arguments of the op; taps of a filter are `(12,)` or `(12, 12)`."""

    up: int
    down: int
    fu: tuple[int, ...]
    fd: tuple[int, ...]
    shape: tuple[int, ...] = (1, 2, 17, 14)
    padding: tuple[int, ...] = (9, 10, 11, 8)
    dtype: torch.dtype = torch.float32
    layout: str = "contiguous"
    flip: bool = False
    clamp: float | None = 0.8
    slope: float = 0.2
    is_general: bool = False


T2, T4 = Case(2, 2, (12,), (12,)), Case(4, 2, (24,), (12,))
R2, R4 = replace(T2, fd=(12, 12)), replace(T4, fd=(12, 12))


def taps(factor: int) -> tuple[int]:
    """Size of the filters of the networks."""
    return (6 * factor if factor > 1 else 1,)


CASES = {
    **{
        f"up{up}_down{down}": Case(up, down, taps(up), taps(down), (1, 1, 13, 11))
        for up in (1, 2, 4)
        for down in (1, 2, 4)
    },
    "radial_up2": R2,
    "radial_up4": R4,
    "several_tiles": replace(T2, shape=(1, 1, 61, 47)),
    "several_tiles_up4": replace(T4, shape=(1, 1, 33, 24)),
    "several_tiles_radial": replace(R2, shape=(1, 1, 31, 46)),
    "several_tiles_channels_last": replace(T2, shape=(1, 6, 34, 37), layout="channels_last"),
    "several_tiles_down4": Case(2, 4, (12,), (24,), (1, 1, 57, 55), (9, 8, 9, 8)),
    "half": replace(T2, dtype=torch.float16),
    "half_up4": replace(T4, dtype=torch.float16),
    "half_radial": replace(R2, dtype=torch.float16),
    "half_channels_last": replace(
        T2, dtype=torch.float16, shape=(2, 5, 9, 12), layout="channels_last"
    ),
    "bfloat16": replace(T2, dtype=torch.bfloat16),
    "bfloat16_radial": replace(R4, dtype=torch.bfloat16),
    "no_filters": Case(1, 1, (1, 1), (1, 1), padding=(0, 0, 0, 0), slope=1.0, clamp=256.0),
    "channels_last_up4": replace(T4, shape=(2, 3, 7, 8), layout="channels_last"),
    "channels_last_radial": replace(R2, shape=(1, 3, 9, 12), layout="channels_last"),
    "strided": replace(T2, layout="strided"),
    "flip": replace(T2, flip=True),
    "flip_radial": replace(R2, flip=True),
    "no_clamp": replace(T2, clamp=None),
    "crop": replace(T2, padding=(-3, -2, 4, -5)),
    "even_phases": replace(T4, padding=(4, 5, 6, 7)),
    "one_pixel": replace(T2, shape=(1, 1, 1, 1), padding=(11, 12, 11, 13)),
    "odd_taps": Case(2, 1, (7,), (5,), padding=(3, 4, 5, 2)),
    "general_up3": Case(3, 2, (17,), (11,), is_general=True),
    "general_2d": Case(1, 3, (3, 5), (6, 4), layout="channels_last", is_general=True),
    "general_both_2d": Case(2, 2, (4, 4), (6, 6), padding=(2, -1, 3, -2), is_general=True),
    "general_slope": replace(T2, slope=1.5, is_general=True),
    "general_half": Case(3, 1, (9,), (4,), dtype=torch.float16, is_general=True),
    "float64": replace(T2, dtype=torch.float64, is_general=True),
    "float64_radial_channels_last": replace(
        R4, dtype=torch.float64, layout="channels_last", is_general=True
    ),
}


def make_inputs(case: Case) -> dict:
    """Tensors in guarded memory, filters not symmetric."""
    torch.manual_seed(0)
    n, c, h, w = case.shape
    x = torch.randn(n, h, w, c).to(case.dtype).permute(0, 3, 1, 2)
    if case.layout == "contiguous":
        x = x.contiguous()
    elif case.layout == "strided":
        x = torch.randn(n, 2 * h, c, 3 * w).to(case.dtype)[:, ::2, :, ::3].transpose(1, 2)
    fu, fd = (torch.randn(size) / 3 ** len(size) for size in (case.fu, case.fd))
    b, scale = (torch.randn(size).to(arithmetic_dtype(case.dtype)) for size in ((c,), (n, c)))
    names = ["x", "fu", "fd", "b", "scale"]
    return {k: emulator.guarded(v) for k, v in zip(names, (x, fu, fd, b, scale), strict=True)}


def inner_size(case: Case) -> tuple[int, int]:
    """Height and width at the nonlinearity."""
    x0, x1, y0, y1 = case.padding
    return (
        case.shape[2] * case.up + y0 + y1 - case.fu[0] + 1,
        case.shape[3] * case.up + x0 + x1 - case.fu[-1] + 1,
    )


def run(case: Case, x, fu, fd, b, scale, has_mask: bool = True):
    """Output and mask (or `None`) of the kernels."""
    shape = filtered_lrelu.mask_shape(x, *inner_size(case))
    mask = torch.empty(shape, dtype=torch.uint8, device=x.device) if has_mask else None
    return filtered_lrelu.filtered_lrelu(Operands(x, fu, fd, b, scale, mask), call_of(case)), mask


def call_of(case: Case) -> FilteredLrelu:
    return FilteredLrelu(case.up, case.down, case.padding, 1.4, case.slope, case.clamp, case.flip)


def run_adjoint(case: Case, dy, x, fu, fd, mask, scale=None, saved=None, needs_sums=False):
    """Gradients of input (times the scale), bias and scale."""
    first, second = [], []
    for axis, tmp in ((1, inner_size(case)[1]), (0, inner_size(case)[0])):
        before = case.padding[0 if axis else 2]
        fu_taps, fd_taps = case.fu[-1 if axis else 0], case.fd[-1 if axis else 0]
        first += [fd_taps - 1, tmp - dy.shape[2 + axis] * case.down]
        second += [fu_taps - 1 - before, (x.shape[2 + axis] - 1) * case.up + 1 + before - tmp]
    settings = tuple(first), tuple(second), 1.4 * case.up**2, case.slope, not case.flip
    call = FilteredMask(case.down, case.up, *settings, needs_sums)
    return filtered_lrelu.filtered_mask(Operands(dy, fd, fu, None, scale, mask, saved), call)


def run_reference(case: Case, x, fu, fd, b, scale):
    """Output in float64, and input, bias and scale, which it depends on."""
    x, b, scale = (t.double().requires_grad_() for t in (x, b, scale))
    return reference.filtered_lrelu(x, fu.double(), fd.double(), b, scale, call_of(case)), (
        x,
        b,
        scale,
    )


@pytest.fixture(scope="module")
def kernels():
    """All kernels of the cases in one library, which builds faster than one after the other."""
    with record_launches() as launches:
        for case in CASES.values():
            inputs = {key: value.to("meta") for key, value in make_inputs(case).items()}
            run(case, **inputs, has_mask=False)
            y, mask = run(case, **inputs)
            run_adjoint(case, y, inputs["x"], inputs["fu"], inputs["fd"], mask)
    for source in (filtered_lrelu.SOURCE, filtered_lrelu.GENERAL_SOURCE):
        emulator.prepare(source, sorted(name for file, name in launches if file == source))


@pytest.fixture
def emulated(kernels, monkeypatch):
    """Launches go to the emulator, outputs to guarded memory full of NaN."""

    def launch(source, *args):
        assert source == expected, "the wrong kernels were chosen"
        emulator.launch(source, *args, seed=seed)

    expected, seed = None, 0

    def start(case: Case, thread_order_seed: int = 0) -> dict:
        nonlocal expected, seed
        expected = filtered_lrelu.GENERAL_SOURCE if case.is_general else filtered_lrelu.SOURCE
        seed = thread_order_seed
        return make_inputs(case)

    monkeypatch.setattr(launcher, "launch", launch)
    monkeypatch.setattr(torch, "empty", emulator.guarded_empty)
    return start


def assert_close(value, expected, dtype):
    error = (value.double() - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCES[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_match_reference(emulated, name):
    case = CASES[name]
    inputs = emulated(case)
    x = inputs["x"]
    y, mask = run(case, **inputs)
    y_ref, inputs_ref = run_reference(case, **inputs)
    assert y.shape == y_ref.shape and y.dtype == case.dtype
    assert_close(y, y_ref, case.dtype)
    assert torch.equal(run(case, **inputs, has_mask=False)[0], y)
    is_last = case.layout == "channels_last"
    assert y.is_contiguous(
        memory_format=torch.channels_last if is_last else torch.contiguous_format
    )

    dy = emulator.guarded(torch.randn_like(y))
    adjoint = dy, x, inputs["fu"], inputs["fd"], mask
    grads = run_adjoint(case, *adjoint, inputs["scale"], x, needs_sums=True)
    grads_ref = torch.autograd.grad((y_ref * dy.double()).sum(), inputs_ref)
    assert grads[0].dtype == case.dtype
    for grad, grad_ref in zip(grads, grads_ref, strict=True):
        assert grad.shape == grad_ref.shape
        assert_close(grad, grad_ref, case.dtype)
    dv, *sums = run_adjoint(case, *adjoint)
    assert_close(dv.double() * inputs["scale"].double()[:, :, None, None], grads_ref[0], case.dtype)
    assert all(t.numel() == 0 for t in sums)


@pytest.mark.parametrize(
    "name", ["several_tiles", "up4_down4", "radial_up2", "half_channels_last", "general_up3"]
)
def test_order_of_threads_does_not_matter(emulated, name):
    results = []
    for seed in (0, 1):
        inputs = emulated(CASES[name], seed)
        y, mask = run(CASES[name], **inputs)
        x, scale = inputs["x"], inputs["scale"]
        grads = run_adjoint(CASES[name], y, x, inputs["fu"], inputs["fd"], mask, scale, x, True)
        results.append((y, mask, *grads))
    assert all(map(torch.equal, *results))


def test_nan_reaches_the_output(emulated):
    inputs = emulated(T2)
    inputs["x"][0, 0, 8, 7] = float("nan")
    y, _ = run(T2, **inputs)
    y_ref, _ = run_reference(T2, **inputs)
    assert y_ref.isnan().any() and torch.equal(y.isnan(), y_ref.isnan())


def test_zeros_have_the_slope_of_negative_numbers(emulated):
    inputs = emulated(T2)
    for name in ("x", "b"):
        inputs[name].zero_()
    y, mask = run(T2, **inputs)
    y_ref, (_, b_ref, _) = run_reference(T2, **inputs)
    dv, *_ = run_adjoint(T2, torch.ones_like(y), inputs["x"], inputs["fu"], inputs["fd"], mask)
    assert_close(dv.sum([0, 2, 3]), torch.autograd.grad(y_ref.sum(), b_ref)[0], T2.dtype)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 8, 8)])
def test_empty_batches_launch_nothing(shape):
    case = replace(T2, shape=shape)
    x, f = torch.empty(shape), torch.ones(12)
    y, mask = run(case, x, f, f, None, None)
    assert y.shape == (*shape[:2], *((size - 12) // 2 + 1 for size in inner_size(case)))
    dx, db, dscale = run_adjoint(case, y, x, f, f, mask, torch.ones(shape[:2]), x, True)
    assert dx.shape == x.shape
    assert torch.equal(db, torch.zeros(shape[1])) and torch.equal(dscale, torch.zeros(shape[:2]))


def standard_names() -> list[str]:
    """Kernels of StyleGAN3-T and -R in float16, forward without and with mask, and backward."""
    names = set()
    for up, fu, fd in (
        (2, (12,), (12,)),
        (2, (12,), (12, 12)),
        (4, (24,), (12,)),
        (4, (24,), (12, 12)),
    ):
        layout = torch.float16, (1, 1, 8, 8), (64, 64, 8, 1)
        rest = (0,) * 4, 1.0, 0.2, 256.0, False
        padding, adjoint_padding = ((-1,) * 4, (1,) * 4) if up == 2 else ((2,) * 4, (0,) * 4)
        calls = [Call(mode, *layout, fu, fd, up, 2, padding, *rest) for mode in (ACT, WRITE_MASK)]
        calls.append(Call(READ_MASK, *layout, fd, fu, 2, up, adjoint_padding, *rest))
        names |= {specialisation(call)[0] for call in calls}
    return sorted(names)


@pytest.mark.parametrize("name", standard_names())
def test_standard_kernels_compile_without_spilling(name):
    cubin = compiler.compile_cubin(filtered_lrelu.SOURCE, name, "sm_80")
    assert 0 < cubin.registers <= 128 and cubin.spill_bytes == 0
    assert 0 < cubin.shared_bytes <= 48 * 1024
