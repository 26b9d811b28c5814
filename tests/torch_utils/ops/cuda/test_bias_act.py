"""The CUDA kernels of bias_act: run by the emulator against the CPU's, and compiled by NVRTC."""

import functools
import itertools

import pytest
import torch

from tests.cuda_emulator import emulator
from torch_utils.ops import bias_act as ops
from torch_utils.ops.calls import BiasAct, BiasActGrad
from torch_utils.ops.cuda import bias_act, compiler, launcher
from torch_utils.ops.cuda.cpp_types import CPP_TYPES
from torch_utils.ops.cuda.recorder import record_launches
from torch_utils.ops.reference import bias_act as reference

TOLERANCES = {
    torch.float16: 2e-3,
    torch.bfloat16: 2e-2,
    torch.float32: 2e-6,
    torch.float64: 1e-13,
}
# The fast tests leave out two types that take the paths of the other two.
RARE = (torch.bfloat16, torch.float64)
DTYPES = [pytest.param(t, marks=[pytest.mark.slow] * (t in RARE)) for t in TOLERANCES]
SHAPES = {
    "aligned": (2, 8, 4, 8),
    "odd": (2, 5, 3, 7),
    "several tiles": (2, 70, 12, 24),
    "wide": (1, 264, 3, 3),
    "pixel": (3, 8, 1, 1),
    "empty": (0, 3, 4, 5),
}
SETTINGS = {
    "lrelu": (1, "lrelu", 0.2, 1.4, 1.7),
    "no limit": (1, "lrelu", 0.2, 1.4, None),
    "relu": (1, "relu", 0.0, 0.7, 0.8),
    "linear": (1, "linear", 0.0, -1.3, 1.1),
    "nothing": (1, "linear", 0.0, 1.0, None),
}
CASES = {
    **{name: (shape, SETTINGS["lrelu"]) for name, shape in SHAPES.items()},
    **{name: (SHAPES["aligned"], settings) for name, settings in SETTINGS.items()},
}


@pytest.fixture(autouse=True)
def emulated(monkeypatch):
    """Kernels run on the CPU, in guarded memory, with their threads in random order."""
    monkeypatch.setattr(launcher, "launch", functools.partial(emulator.launch, seed=1))
    monkeypatch.setattr(torch, "empty", emulator.guarded_empty)
    monkeypatch.setattr(torch, "empty_like", guarded_empty_like)


def guarded_empty_like(x, memory_format):
    """In place of `torch.empty_like`."""
    return emulator.guarded_empty(
        x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format
    )


def operands(shape, dtype, num_noises, is_last):
    """Images, bias, scale and noise; images keep away from where rounding decides."""
    generator = torch.Generator().manual_seed(0)
    n, c, h, w = shape
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    shapes = (shape, [c], [n, c], [num_noises, 1, h, w])
    x, *others = (torch.randint(-8, 8, size, generator=generator) / 4 + 0.125 for size in shapes)
    x = x.contiguous(memory_format=torch.channels_last) if is_last else x
    return x.to(dtype), *(t.to(wide) for t in others)


def check_close(got, want):
    assert got.shape == want.shape and got.isfinite().all()
    scale = max(want.abs().amax().item(), 1) if want.numel() else 1  # sums may cancel
    torch.testing.assert_close(
        got.double(), want.double(), rtol=0, atol=TOLERANCES[got.dtype] * scale
    )


@pytest.mark.parametrize("is_last", [False, True], ids=["planes", "channels last"])
@pytest.mark.parametrize(("shape", "settings"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_matches_reference(dtype, shape, settings, is_last):
    for uses in itertools.product([False, True], repeat=3):
        given = operands(shape, dtype, 1, is_last)
        x, *others = given
        others = [t if is_used else None for t, is_used in zip(others, uses, strict=True)]
        y = bias_act.bias_act(emulator.guarded(x), BiasAct(*others, *settings))
        exact = [None if t is None else t.double() for t in others]
        want = reference.bias_act(x.double(), BiasAct(*exact, *settings))
        assert y.dtype == dtype
        if x.numel() > 0:
            memory_format = torch.channels_last if is_last else torch.contiguous_format
            assert y.is_contiguous(memory_format=memory_format)
        check_close(y, want)


@pytest.mark.parametrize("is_last", [False, True], ids=["planes", "channels last"])
@pytest.mark.parametrize(("shape", "settings"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_match_definition(dtype, shape, settings, is_last):
    for num_noises, scales_dx in ((1, True), (shape[0], False)):
        x, b, scale, noise = operands(shape, dtype, num_noises, is_last)
        dy = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        call = BiasAct(b, scale, noise, *settings)
        wanted = BiasActGrad(False, scales_dx, *[True] * 3)
        got = bias_act.bias_act_grad(dy, emulator.guarded(x), call, wanted)
        want = gradients(dy, x, b, scale, noise, settings)
        if not scales_dx:
            want[0] = gradients(dy, x, b, scale, noise, settings, of_v=True)
        for value, expected in zip(got, want, strict=True):
            check_close(value, expected)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("is_last", [False, True], ids=["planes", "channels last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_from_the_output_match_those_from_the_input(dtype, is_last, settings):
    x, b, _, noise = operands((2, 40, 5, 6), dtype, 1, is_last)
    call = BiasAct(b, None, noise, *settings)
    y = bias_act.bias_act(x, call)
    dy = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    needs = (True, True, False, True)
    got = bias_act.bias_act_grad(dy, y, call, BiasActGrad(True, *needs))
    want = bias_act.bias_act_grad(dy, x, call, BiasActGrad(False, *needs))
    for value, wanted in zip(got, want, strict=True):
        assert torch.equal(value, wanted)


def gradients(dy, x, b, scale, noise, settings, of_v=False):
    """Those of `x`, `b`, `scale`, `noise`, or that behind the scale, by PyTorch in float64."""
    x, b, scale, noise = (t.double().requires_grad_() for t in (x, b, scale, noise))
    v = x * scale[:, :, None, None]
    v = v if not of_v else v.detach().requires_grad_()
    y = reference.bias_act(v, BiasAct(b, None, noise, *settings))
    wanted = [v] if of_v else [x, b, scale, noise]
    grads = torch.autograd.grad(y, wanted, dy.double())
    return grads[0] if of_v else list(grads)


def test_long_indices_match_short_ones(monkeypatch):
    x, b, scale, noise = operands((2, 40, 5, 6), torch.float16, 2, False)
    call = BiasAct(b, scale, noise, *SETTINGS["lrelu"])
    wanted = BiasActGrad(False, *[True] * 4)
    run = lambda: (  # noqa: E731
        bias_act.bias_act(x, call),
        *bias_act.bias_act_grad(x, x, call, wanted),
    )
    short = run()
    short_name = bias_act._specialisation
    monkeypatch.setattr(
        bias_act, "_specialisation", lambda *a: short_name(*a).replace("int", "long long")
    )
    bias_act._make_plan.cache_clear()
    for value, expected in zip(run(), short, strict=True):
        assert torch.equal(value, expected)
    bias_act._make_plan.cache_clear()


def test_launches_on_meta_device_are_recorded_forward_and_backward(monkeypatch):
    monkeypatch.undo()  # no emulator
    with record_launches() as kernels:
        x = torch.empty(2, 64, 8, 8, dtype=torch.float16, device="meta", requires_grad=True)
        b = torch.empty(64, device="meta", requires_grad=True)
        ops.bias_act(x, b, act="lrelu").sum().backward()
    assert kernels == {
        ("bias_act.cu", "bias_act<__half, int, 8, false>"),
        ("bias_act.cu", "bias_act_gradient<__half, int, 8, false>"),
    }


@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
@pytest.mark.parametrize("dtype", CPP_TYPES.values())
def test_kernels_compile_without_spilling(dtype, arch, monkeypatch):
    if not compiler.is_available():
        pytest.skip("needs NVRTC")
    vec = {"double": 2, "float": 4}.get(dtype, 8)
    for kernel, is_last in itertools.product(["bias_act", "bias_act_gradient"], ["false", "true"]):
        name = f"{kernel}<{dtype}, int, {vec}, {is_last}>"
        cubin = compiler.compile_cubin("bias_act.cu", name, arch)
        assert cubin.spill_bytes == 0 and cubin.registers <= 128, cubin
