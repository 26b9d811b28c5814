"""Ops whose CUDA kernels cannot be built, all or some: as the reference, gradients included.

Kernels that can be built run on the emulator. The ops are given tensors on the CPU, and take those
for tensors on a GPU.
"""

import pytest
import torch

from tests.cuda_emulator import emulator
from torch_utils.ops import bias_act as bias_act_module
from torch_utils.ops import filtered_lrelu as lrelu_module
from torch_utils.ops import selection
from torch_utils.ops import upfirdn2d as upfirdn_module
from torch_utils.ops.calls import BiasAct, BiasActGrad, FilteredLrelu, Operands
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import fallback, launcher
from torch_utils.ops.cuda.filtered_lrelu_plan import ACT, READ_MASK, WRITE_MASK

BUILDABLE = {  # what can be built, by source and specialisation
    "nothing": lambda source, name: False,
    "general kernels": lambda source, name: "general" in source + name,
    "forward": lambda source, name: not ("gradient" in name or READ_MASK in name),
    "backward": lambda source, name: "gradient" in name or READ_MASK in name or "downs" in name,
    "everything": lambda source, name: True,
}
MODULES = bias_act_module, lrelu_module, upfirdn_module
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-2}


@pytest.fixture(params=BUILDABLE)
def launched(request, monkeypatch):
    """The kernels that were launched, while only some can be built."""
    names = set()

    def launch(source, name, *args):
        if not BUILDABLE[request.param](source, name):
            raise BuildError("no such kernel")
        names.add(name)
        emulator.launch(source, name, *args)

    monkeypatch.setattr(launcher, "launch", launch)
    monkeypatch.setattr(selection.cpu, "is_supported", lambda *_: True)
    for module in MODULES:
        monkeypatch.setattr(module, "cpu", module.cuda)
    yield names
    assert names or request.param != "everything"
    assert not names or request.param != "nothing"


def filtered_lrelu(x, b, scale, impl, fd_ndim=1, **kwargs):
    fu, fd = taps(12), taps(8)
    fd = fd if fd_ndim == 1 else torch.outer(fd, fd)
    if impl == "ref":  # where filter and gain would meet in float32
        fu, fd = fu.to(x.dtype), fd.to(x.dtype)
    kwargs = dict(up=2, down=2, padding=[9, 7, 8, 10], clamp=0.9) | kwargs
    return lrelu_module.filtered_lrelu(x, fu, fd, b, impl=impl, scale=scale, **kwargs)


def upfirdn2d(x, b, scale, impl, size=4, ndim=2, **kwargs):
    f = taps(size)
    f = f if ndim == 1 else torch.outer(f, f)
    return upfirdn_module.upfirdn2d(x, f, impl=impl, **kwargs)


def bias_act(x, b, scale, impl, has_scale=True, num_noises=0, **kwargs):
    noise = torch.linspace(-1, 1, num_noises * x[0, 0].numel()).view(-1, 1, *x.shape[2:])
    noise = noise.requires_grad_() if num_noises else None
    scale = scale if has_scale else None
    return bias_act_module.bias_act(x, b, impl=impl, scale=scale, noise=noise, **kwargs)


def taps(size):
    return torch.linspace(0.5, 1.0, size).cos() / size * 2


CASES = {
    "lrelu": (filtered_lrelu, {}),
    "lrelu 2D": (filtered_lrelu, dict(fd_ndim=2, flip_filter=True)),
    "lrelu, no clamp": (filtered_lrelu, dict(clamp=None, slope=0.0)),
    "lrelu, general": (filtered_lrelu, dict(up=3, down=1, padding=3)),
    "blur": (upfirdn2d, dict(padding=2, gain=3.0)),
    "upsample": (upfirdn2d, dict(up=2, padding=[2, 1, 3, 2])),
    "downsample separable": (upfirdn2d, dict(size=12, ndim=1, down=2, padding=7, gain=2.0)),
    "resample": (upfirdn2d, dict(up=[3, 1], down=[1, 2], padding=2, flip_filter=True)),
    "bias": (bias_act, dict(has_scale=False, act="lrelu", clamp=0.7)),
    "bias, relu": (bias_act, dict(act="relu", num_noises=1)),
    "bias, linear": (bias_act, dict(act="linear", gain=-1.3, clamp=1.1, num_noises=2)),
    "bias, noise": (bias_act, dict(has_scale=False, act="lrelu", num_noises=2, clamp=1.5)),
}


def operands(dtype, is_last):
    """Images, bias and scale."""
    generator = torch.Generator().manual_seed(3)
    x, b, scale = (torch.randn(shape, generator=generator) for shape in [(2, 3, 9, 7), [3], [2, 3]])
    x = x.contiguous(memory_format=torch.channels_last) if is_last else x
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return [t.to(d).requires_grad_() for t, d in ((x, dtype), (b, dtype), (scale, wide))]


def derivatives(case, dtype, is_last, impl):
    """Output, gradients of the operands, and the derivative of these by the output's gradient."""
    function, kwargs = CASES[case]
    inputs = operands(dtype, is_last)
    y = function(*inputs, impl, **kwargs)
    generator = torch.Generator().manual_seed(4)
    dy = torch.randn(y.shape, generator=generator).to(y).requires_grad_()
    grads = torch.autograd.grad(y, inputs, dy, create_graph=True, allow_unused=True)
    grads = [grad for grad in grads if grad is not None]
    directions = [torch.randn(g.shape, generator=generator).to(g) for g in grads]
    return y, [y, *grads, *torch.autograd.grad(grads, dy, directions)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "is_last"),
    [(torch.float64, False), (torch.float32, True), (torch.float16, False)],
    ids=["double", "float, channels last", "half"],
)
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_match_reference(launched, case, dtype, is_last):
    y, got = derivatives(case, dtype, is_last, "cuda")
    _, want = derivatives(case, torch.float64, is_last, "ref")
    assert y.dtype == dtype
    memory_format = torch.channels_last if is_last else torch.contiguous_format
    assert y.is_contiguous(memory_format=memory_format)
    for ours, theirs in zip(got, want, strict=True):
        error = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert error < TOLERANCES[dtype]


@pytest.mark.parametrize("case", ["lrelu", "lrelu 2D", "lrelu, general", "bias, relu"])
def test_gradients_of_the_scale_survive_products_too_small_for_half_precision(launched, case):
    function, kwargs = CASES[case]

    def gradients(dtype, impl):
        """Those of first and of second order; all factors are about 1e-4."""
        x, b, scale = operands(dtype, False)
        x = (x * 1e-4).half().to(dtype).detach().requires_grad_()
        y = function(x, b, scale, impl, **kwargs)
        generator = torch.Generator().manual_seed(6)
        dy, direction = (
            (torch.randn(t.shape, generator=generator) * 1e-4).half().to(t) for t in (y, x)
        )
        dx, dscale = torch.autograd.grad(y, [x, scale], dy, create_graph=True)
        return dscale, *torch.autograd.grad(dx, scale, direction)

    pairs = zip(gradients(torch.float16, "cuda"), gradients(torch.float64, "ref"), strict=True)
    for ours, theirs in pairs:
        error = (ours - theirs).abs().max() / theirs.abs().max()
        assert error < TOLERANCES[torch.float16]


@pytest.mark.parametrize("width", [1, 7, 16, 17, 35])
def test_masks_are_those_of_the_kernels(width, monkeypatch):
    monkeypatch.setattr(launcher, "launch", emulator.launch)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 3, 5, width, generator=generator)
    x[0, 0, 0, 0] = float("nan")
    x[0, 0, 1, 0] = 0
    f, cuda = torch.ones(1, 1), lrelu_module.cuda
    mask = torch.zeros(cuda.mask_shape(x, 5, width), dtype=torch.uint8)
    call = FilteredLrelu(1, 1, (0, 0, 0, 0), 1.0, 0.5, 0.4, False)
    cuda.filtered_lrelu(Operands(x, f, f, mask=mask), call)
    is_negative, is_clamped = fallback._unpack(mask, width)
    assert torch.equal(is_negative, ~(x > 0))
    assert torch.equal(is_clamped, torch.where(x > 0, x, x / 2).abs() > 0.4)
    ours = fallback._pack(is_negative, is_clamped)  # behind `width` there may be anything
    assert ours.shape == mask.shape
    assert all(map(torch.equal, fallback._unpack(ours, width), (is_negative, is_clamped)))


def test_modes_are_distinct_names():
    """`BUILDABLE` finds them in specialisations."""
    assert len({ACT, WRITE_MASK, READ_MASK}) == 3


def test_bias_of_vectors():
    """All dimensions but that of the bias are summed over, even if that is none."""
    dy = torch.tensor([1.0, 2.0])
    call, wanted = BiasAct(b=dy, dim=0, gain=3.0), BiasActGrad(False, True, needs_b=True)
    dx, db, *_ = fallback.bias_act_grad(dy, dy, call, wanted)
    assert torch.equal(dx, 3 * dy) and torch.equal(db, 3 * dy)


@pytest.mark.parametrize("case", ["lrelu", "upsample", "bias"])
def test_compiled_function_computes_the_same(case, launched):
    x, b, scale = operands(torch.float32, True)
    function, kwargs = CASES[case]
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    y = compiled(x, b, scale, "cuda", **kwargs)
    torch.testing.assert_close(y, function(x, b, scale, "ref", **kwargs), rtol=1e-5, atol=1e-5)
    y.sum().backward()
