"""All ops on a GPU: against their references in float64, in CUDA graphs, on several streams.

`test_gpu_without_one.py` runs what is here in the emulator, and on the meta device.
"""

import functools

import pytest
import torch

from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.filtered_lrelu import filtered_lrelu
from torch_utils.ops.upfirdn2d import setup_filter, upfirdn2d

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda")
TOLERANCES = {  # relative to the largest value
    torch.float16: 3e-3,
    torch.bfloat16: 2e-2,
    torch.float32: 1e-5,
    torch.float64: 1e-12,
}
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
}
TAPS = {taps: torch.hann_window(taps + 2, periodic=False)[1:-1] for taps in (4, 5, 12, 24)}


@functools.cache  # a graph cannot contain a copy from the memory of the CPU
def _filter_on(device: torch.device, taps: int, ndim: int):
    f = torch.outer(TAPS[taps], TAPS[taps]) if ndim == 2 else TAPS[taps]
    return setup_filter(f, device=device, separable=ndim == 1)


def _filter(taps: int, ndim: int):
    return _filter_on(DEVICE, taps, ndim)


def _upfirdn2d(taps, ndim, **kwargs):
    return lambda x, b, impl: upfirdn2d(x, _filter(taps, ndim), impl=impl, **kwargs)


def _filtered_lrelu(up, down, fd_ndim=1, **kwargs):
    def function(x, b, impl, scale=None):
        fu = None if up == 1 else _filter(6 * up, 1)
        fd = None if down == 1 else _filter(6 * down, fd_ndim)
        kwargs_ = dict(up=up, down=down, padding=12, clamp=1.5, impl=impl) | kwargs
        return filtered_lrelu(x, fu, fd, b, **kwargs_, scale=scale)

    return function


def _scaled(function):
    """With a scale that depends on the images, so that its gradient is part of theirs."""

    def scaled(x, b, impl):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return function(x, b, impl, scale=1 + wide.mean([2, 3]))

    return scaled


def _bias_act(act, **kwargs):
    return lambda x, b, impl: bias_act(x, b, act=act, impl=impl, **kwargs)


OPS = {
    "blur_2d": _upfirdn2d(4, 2, padding=[2, 1, 1, 2], gain=4.0),
    "up_2d": _upfirdn2d(4, 2, up=2, padding=[2, 1, 2, 1]),
    "down_2d": _upfirdn2d(4, 2, down=2, padding=1, flip_filter=True),
    "up_separable": _upfirdn2d(12, 1, up=2, padding=[6, 5, 6, 5]),
    "down_separable": _upfirdn2d(12, 1, down=2, padding=[-1, 6, 5, -2]),
    "general": _upfirdn2d(5, 2, up=[3, 1], down=[2, 4], padding=4),
    "general_separable": _upfirdn2d(5, 1, padding=2),
    "lrelu_up2": _filtered_lrelu(2, 2),
    "lrelu_up4": _filtered_lrelu(4, 2),
    "lrelu_radial": _filtered_lrelu(2, 2, fd_ndim=2),
    "lrelu_up4_scaled": _scaled(_filtered_lrelu(4, 2)),
    "lrelu_radial_scaled": _scaled(_filtered_lrelu(2, 2, fd_ndim=2)),
    "lrelu_general_scaled": _scaled(_filtered_lrelu(2, 2, slope=1.5)),
    "lrelu_critical": _filtered_lrelu(1, 1, padding=0, gain=1.0, slope=1.0),
    "bias_lrelu": _bias_act("lrelu"),
    "bias_linear": _bias_act("linear", gain=0.5),
    "bias_swish": _bias_act("swish"),
}


def _operands(dtype, layout, num_images=2):
    """Image and bias."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(num_images, 5, 41, 38, generator=generator).to(DEVICE, dtype)
    b = torch.randn(5, generator=generator).to(DEVICE, dtype)
    return LAYOUTS[layout](x).requires_grad_(), b.requires_grad_()


def _derivatives(function, x, b, impl):
    """Output, gradients of image and bias, and the derivative of these by the output's gradient."""
    y = function(x, b, impl)
    generator = torch.Generator().manual_seed(6)
    dy = torch.randn(y.shape, generator=generator).to(y).requires_grad_()
    grads = torch.autograd.grad(y, [x, b], dy, create_graph=True, allow_unused=True)
    grads = [grad for grad in grads if grad is not None]
    directions = [torch.randn(g.shape, generator=generator).to(g) for g in grads]
    ddy = torch.autograd.grad(grads, [dy], directions)
    return [y, *grads, *ddy]


def _value_and_gradient(op, x, b, dy):
    """Output, and gradient of the image."""
    y = OPS[op](x, b, "cuda")
    (dx,) = torch.autograd.grad(y, x, dy)
    return y, dx


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("op", OPS)
def test_value_and_gradients_match_reference(op, dtype, layout):
    x, b = _operands(dtype, layout)
    got = _derivatives(OPS[op], x, b, "cuda")
    x, b = (t.detach().double().requires_grad_() for t in (x, b))
    want = _derivatives(OPS[op], x, b, "ref")
    assert got[0].dtype == dtype
    for ours, theirs in zip(got, want, strict=True):
        error = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert error < TOLERANCES[dtype]


@pytest.mark.parametrize("op", OPS)
def test_empty_batch(op):
    x, b = _operands(torch.float16, "contiguous", num_images=0)
    y = OPS[op](x, b, "cuda")
    assert y.shape[0] == 0
    assert y.shape == OPS[op](x, b, "ref").shape


@pytest.mark.parametrize("op", OPS)
def test_graph_repeats_what_was_captured(op):
    x, b = _operands(torch.float16, "contiguous")
    dy = torch.randn_like(OPS[op](x, b, "cuda"))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # warms up: makes the filters, compiles and loads the kernels
        _value_and_gradient(op, x, b, dy)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, dx = _value_and_gradient(op, x, b, dy)
    with torch.no_grad():
        x.mul_(-0.5)
    graph.replay()
    want_y, want_dx = _value_and_gradient(op, x, b, dy)
    assert torch.equal(y, want_y)
    assert torch.equal(dx, want_dx)


@pytest.mark.parametrize("op", OPS)
def test_streams_do_not_mix(op):
    """What waits on one stream does not hold up, or reach into, the other."""
    x, b = _operands(torch.float32, "contiguous")
    want = [OPS[op](factor * x, b, "cuda") for factor in (1, 2)]
    streams = torch.cuda.Stream(), torch.cuda.Stream()
    torch.cuda.synchronize()
    got = [[], []]
    for _ in range(5):
        for i, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                got[i].append(OPS[op]((i + 1) * x, b, "cuda"))
    torch.cuda.synchronize()
    for i in range(2):
        assert all(torch.equal(y, want[i]) for y in got[i])


@pytest.mark.parametrize("op", ["up_2d", "lrelu_up2", "bias_lrelu"])
def test_every_device_of_the_machine(op, monkeypatch):
    x, b = _operands(torch.float32, "contiguous")
    want = OPS[op](x.double(), b.double(), "ref").float()
    current = torch.cuda.current_device()
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        monkeypatch.setitem(globals(), "DEVICE", device)  # that of the filters
        y = OPS[op](x.to(device), b.to(device), "cuda")
        assert torch.cuda.current_device() == current
        assert y.device == device
        torch.testing.assert_close(y.to(want.device), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", OPS)
def test_compiled_function_computes_the_same(op):
    x, b = _operands(torch.float32, "contiguous")
    compiled = torch.compile(lambda x, b: OPS[op](x, b, "cuda") * 2, fullgraph=True)
    torch.testing.assert_close(compiled(x, b), OPS[op](x, b, "cuda") * 2, rtol=1e-5, atol=1e-5)
