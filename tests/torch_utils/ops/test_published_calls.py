"""Ops, called as the sources inside published pickles call them, against plain formulas.

The formulas share nothing with the reference implementations: sums over taps, zeros between pixels.
"""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests import golden
from tests.standins.nets import randn
from tests.standins.networks_stylegan3 import low_pass
from torch_utils import misc
from torch_utils.ops import (
    bias_act,
    conv2d_gradfix,
    conv2d_resample,
    filtered_lrelu,
    fma,
    grid_sample_gradfix,
    selection,
    upfirdn2d,
)


def plain_upfirdn2d(x, f, up=1, down=1, padding=(0, 0, 0, 0), gain=1.0, flip_filter=False):
    """By the definition: zeros between the pixels, padding, a sum over taps, every n-th pixel."""
    n, c, h, w = x.shape
    stuffed = x.new_zeros(n, c, h * up, w * up)
    stuffed[:, :, ::up, ::up] = x
    x0, x1, y0, y1 = padding
    x = F.pad(stuffed, [max(p, 0) for p in padding])
    x = x[:, :, max(-y0, 0) : x.shape[2] - max(-y1, 0), max(-x0, 0) : x.shape[3] - max(-x1, 0)]
    f = torch.ones(1, 1, dtype=x.dtype) if f is None else f.to(x.dtype)
    f = torch.outer(f, f) if f.ndim == 1 else f
    f = f if flip_filter else f.flip([0, 1])
    fh, fw = f.shape
    height, width = x.shape[2] - fh + 1, x.shape[3] - fw + 1
    y = 0
    for i, j in itertools.product(range(fh), range(fw)):
        y = y + f[i, j] * x[:, :, i : i + height, j : j + width]
    return y[:, :, ::down, ::down] * gain


def plain_act(x, act, gain=None, clamp=None):
    functions = {
        "linear": lambda x: x,
        "relu": lambda x: x * (x > 0),
        "lrelu": lambda x: torch.where(x > 0, x, x * 0.2),
        "tanh": torch.tanh,
        "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
        "elu": lambda x: torch.where(x > 0, x, torch.expm1(x)),
        "selu": lambda x: (
            1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * torch.expm1(x))
        ),
        "softplus": lambda x: torch.log1p(torch.exp(x)),
        "swish": lambda x: x / (1 + torch.exp(-x)),
    }
    has_gain = act in ("relu", "lrelu", "swish")
    x = functions[act](x) * ((np.sqrt(2) if has_gain else 1) if gain is None else gain)
    return x if clamp is None else torch.maximum(torch.minimum(x, x * 0 + clamp), x * 0 - clamp)


def agrees(function, plain, *inputs):
    """Values and gradients of first and second order, in single and in double precision."""
    for dtype, max_error in ((torch.float32, 2e-5), (torch.float64, 2e-6)):
        for got, want in zip(
            *(value_and_gradients(f, [x.to(dtype) for x in inputs]) for f in (function, plain)),
            strict=True,
        ):
            assert golden.scaled_error(got, want.detach().numpy()) < max_error


def value_and_gradients(function, inputs):
    inputs = [x.detach().requires_grad_(True) for x in inputs]
    y = function(*inputs)
    weights = randn(*y.shape, dtype=y.dtype)
    grads = torch.autograd.grad((y * weights).sum(), inputs, create_graph=True)
    penalty = sum(grad.square().sum() for grad in grads)
    if not penalty.requires_grad:  # a linear function
        return [y, *grads, *map(torch.zeros_like, inputs)]
    return [y, *grads, *torch.autograd.grad(penalty, inputs, materialize_grads=True)]


FILTERS = {
    "none": None,
    "4 taps": upfirdn2d.setup_filter([1, 3, 3, 1]),
    "1 tap": upfirdn2d.setup_filter([1]),
    "uneven": upfirdn2d.setup_filter([1, 2, 4]),
    "separable": upfirdn2d.setup_filter(list(range(1, 9))),
}
filters = pytest.mark.parametrize("f", FILTERS.values(), ids=FILTERS)


@filters
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("num_groups", [1, 3])
@pytest.mark.parametrize(
    ("up", "down", "padding", "flip_weight"),
    [
        (1, 1, 0, True),
        (1, 1, 1, False),
        (1, 1, [2, 0, 1, 3], True),
        (2, 1, 1, False),
        (2, 1, [1, 0], True),
        (1, 2, 1, True),
        (1, 2, [0, 1, 1, 2], False),
        (2, 2, 1, True),
    ],
)
def test_conv2d_resample_upsamples_convolves_and_downsamples(
    f, kernel, num_groups, up, down, padding, flip_weight
):
    x0, x1, y0, y1 = upfirdn2d.parse_padding(padding)
    taps = 1 if f is None else f.shape[-1]
    if up > 1:
        x0, y0 = x0 + (taps + up - 1) // 2, y0 + (taps + up - 1) // 2
        x1, y1 = x1 + (taps - up) // 2, y1 + (taps - up) // 2
    if down > 1:
        x0, y0 = x0 + (taps - down + 1) // 2, y0 + (taps - down + 1) // 2
        x1, y1 = x1 + (taps - down) // 2, y1 + (taps - down) // 2

    def plain(x, w):
        x = plain_upfirdn2d(x, f if up > 1 else None, up, 1, (x0, x1, y0, y1), up**2)
        if down > 1:
            x = plain_upfirdn2d(x, f)
        x = torch.cat(
            [
                F.conv2d(part, weight if flip_weight else weight.flip([2, 3]))
                for part, weight in zip(x.chunk(num_groups, 1), w.chunk(num_groups), strict=True)
            ],
            dim=1,
        )
        return x[:, :, ::down, ::down]

    def function(x, w):
        if num_groups == 1:
            return conv2d_resample.conv2d_resample(
                x=x, w=w, f=f, up=up, down=down, padding=padding, flip_weight=flip_weight
            )
        return conv2d_resample.conv2d_resample(
            x=x,
            w=w,
            f=f,
            up=up,
            down=down,
            padding=padding,
            groups=num_groups,
            flip_weight=flip_weight,
        )

    # With groups, a batch is folded into the channels.
    x = randn(1 if num_groups > 1 else 2, 2 * num_groups, 7, 6)
    agrees(function, plain, x, randn(3 * num_groups, 2, kernel, kernel, seed=1))


@filters
@pytest.mark.parametrize("size", [(8, 6), (5, 7)])
def test_resampling_with_two_arguments(f, size):
    x, taps = randn(2, 3, *size), 1 if f is None else f.shape[-1]
    after, before = (taps - 2) // 2, (taps + 1) // 2
    agrees(
        lambda x: upfirdn2d.upsample2d(x, f),
        lambda x: plain_upfirdn2d(x, f, 2, 1, [before, after] * 2, gain=4),
        x,
    )
    before = (taps - 1) // 2
    agrees(
        lambda x: upfirdn2d.downsample2d(x, f),
        lambda x: plain_upfirdn2d(x, f, 1, 2, [before, after] * 2),
        x,
    )


@filters
@pytest.mark.parametrize("flip_filter", [False, True])
@pytest.mark.parametrize("padding", [0, -1, 2, [1, -1], [0, 1, 2, -1]])
def test_resampling_with_keywords(f, flip_filter, padding):
    x, taps = randn(2, 3, 8, 9), 1 if f is None else f.shape[-1]
    agrees(
        lambda x: upfirdn2d.upsample2d(x=x, f=f, up=2),
        lambda x: plain_upfirdn2d(x, f, 2, 1, [(taps + 1) // 2, (taps - 2) // 2] * 2, gain=4),
        x,
    )
    own = [(taps - 1) // 2, (taps - 2) // 2] * 2
    total = [a + b for a, b in zip(own, upfirdn2d.parse_padding(padding), strict=True)]
    agrees(
        lambda x: upfirdn2d.downsample2d(
            x=x, f=f, down=2, padding=padding, flip_filter=flip_filter
        ),
        lambda x: plain_upfirdn2d(x, f, 1, 2, total, flip_filter=flip_filter),
        x,
    )


@pytest.mark.parametrize("act", bias_act.activation_funcs)
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5, 4)], ids=["features", "images"])
def test_bias_act_in_each_call_shape(act, shape):
    x, b = randn(*shape) * 2, randn(3, seed=1)

    def biased(x, b):
        return x + (b if x.ndim == 2 else b[:, None, None])

    agrees(
        lambda x, b: bias_act.bias_act(x, b, act=act),
        lambda x, b: plain_act(biased(x, b), act),
        x,
        b,
    )
    for gain, clamp in ((1, None), (np.sqrt(0.5), 0.7), (np.float32(2), 256)):
        agrees(
            lambda x, b, g=gain, c=clamp: bias_act.bias_act(x, b, act=act, gain=g, clamp=c),
            lambda x, b, g=gain, c=clamp: plain_act(biased(x, b), act, float(g), c),
            x,
            b,
        )
    for clamp in (None, 0.5):
        agrees(
            lambda x, b, c=clamp: bias_act.bias_act(x, b, clamp=c),
            lambda x, b, c=clamp: plain_act(biased(x, b), "linear", clamp=c),
            x,
            b,
        )
    assert bias_act.bias_act(x, None, act=act).shape == x.shape


@pytest.mark.parametrize(
    ("fu", "fd"),
    [(None, None), (4, None), (None, 6), (12, 12), (6, "radial")],
    ids=str,
)
@pytest.mark.parametrize(
    "call",
    [
        dict(up=1, down=1, padding=14, gain=1, slope=1, clamp=256),
        dict(up=2, down=2, padding=[15, 12, 14, 13], gain=np.sqrt(2), slope=0.2, clamp=0.5),
        dict(up=4, down=2, padding=[7, 9], gain=np.float32(0.7), slope=0.1, clamp=None),
        dict(up=1, down=2, padding=13, gain=2, slope=0.0, clamp=1),
        dict(up=2, down=1, padding=[9, 8, 9, 10], gain=np.sqrt(2), slope=0.2, clamp=None),
    ],
    ids=lambda call: f"{call['up']} {call['down']}",
)
def test_filtered_lrelu_is_its_definition(fu, fd, call):
    fu = low_pass(fu)
    fd = low_pass(*((6, True) if fd == "radial" else (fd,)))
    up, down, padding = call["up"], call["down"], upfirdn2d.parse_padding(call["padding"])

    def plain(x, b=None):
        x = x if b is None else x + b[:, None, None]
        x = plain_upfirdn2d(x, fu, up, 1, padding, up**2)
        x = torch.where(x > 0, x, x * call["slope"]) * float(call["gain"])
        clamp = call["clamp"]
        x = x if clamp is None else x.clamp(-clamp, clamp)
        return plain_upfirdn2d(x, fd, 1, down)

    def function(x, b=None):
        return filtered_lrelu.filtered_lrelu(x=x, fu=fu, fd=fd, b=b, **call)

    agrees(function, plain, randn(2, 3, 7, 8), randn(3, seed=1))
    agrees(function, plain, randn(2, 3, 7, 8))


@pytest.mark.parametrize("num", [1, 3])
def test_grouped_convolution_has_one_weight_per_image(num):
    def plain(padding):
        def convolve(x, w):
            parts = zip(x.chunk(num, 1), w.chunk(num), strict=True)
            return torch.cat([F.conv2d(part, v, padding=padding) for part, v in parts], dim=1)

        return convolve

    x, w = randn(1, 2 * num, 6, 5), randn(4 * num, 2, 3, 3, seed=1)
    agrees(lambda x, w: conv2d_gradfix.conv2d(input=x, weight=w, groups=num), plain(0), x, w)
    for padding in (0, 1, 2):
        agrees(
            lambda x, w, p=padding: conv2d_gradfix.conv2d(input=x, weight=w, padding=p, groups=num),
            plain(padding),
            x,
            w,
        )


def test_grid_sample_is_bilinear_with_zeros_outside():
    grid = randn(2, 4, 6, 2, seed=1, dtype=torch.float64) * 0.8

    def plain(x):
        n, c, h, w = x.shape
        y = 0
        px, py = ((grid[..., i] + 1) * size / 2 - 0.5 for i, size in ((0, w), (1, h)))
        for dy, dx in itertools.product((0, 1), (0, 1)):
            qx, qy = px.floor() + dx, py.floor() + dy
            weight = (1 - (px - qx).abs()) * (1 - (py - qy).abs())
            weight = weight * ((qx >= 0) & (qx < w) & (qy >= 0) & (qy < h))
            index = (qy.clamp(0, h - 1) * w + qx.clamp(0, w - 1)).long().flatten(1)
            values = x.flatten(2).gather(2, index[:, None].expand(-1, c, -1))
            y = y + values.reshape(n, c, *grid.shape[1:3]) * weight[:, None].to(x.dtype)
        return y

    agrees(lambda x: grid_sample_gradfix.grid_sample(x, grid.to(x.dtype)), plain, randn(2, 3, 5, 6))


@pytest.mark.parametrize("c_shape", [(2, 1, 4, 5), (1, 1, 4, 5), (4, 5), ()], ids=str)
def test_fma_broadcasts(c_shape):
    agrees(
        fma.fma, lambda a, b, c: a * b + c, randn(2, 3, 4, 5), randn(2, 3, 1, 1), randn(*c_shape)
    )


def test_constant_in_both_call_shapes():
    device = torch.device("cpu")
    for value in (1, 0.5, [1, 2, 3], np.eye(3), [[1, 0], [0, 1]]):
        got = misc.constant(value, device=device)
        assert got.dtype == torch.float32 and got.device == device
        np.testing.assert_array_equal(got.numpy(), np.float32(value))
    for shape in ([4], [4, 1], torch.Size([2, 4]), (), np.array([2, 3])):
        got = misc.constant(1, shape=shape, device=device)
        assert got.shape == tuple(shape) and (got == 1).all()
    assert misc.constant([1, 2], shape=[3, 2], device="cpu").tolist() == [[1, 2]] * 3


@pytest.mark.parametrize("is_reference", [False, True], ids=["kernels", "reference"])
def test_half_precision_of_each_op_on_the_cpu(is_reference):
    def cast(args, dtype):
        return [a.to(dtype).requires_grad_(True) for a in args]

    taps = FILTERS["4 taps"]
    x, b, w = randn(2, 4, 8, 8), randn(4), randn(6, 4, 3, 3) / 6
    long = upfirdn2d.setup_filter(np.hanning(14)[1:-1])
    grid = (randn(2, 5, 5, 2) / 2).to(torch.float16)
    calls = {
        "bias_act": (lambda x, b: bias_act.bias_act(x, b, act="lrelu", gain=1, clamp=1), x, b),
        "smooth": (lambda x, b: bias_act.bias_act(x, b, act="swish"), x, b),
        "upsample": (lambda x: upfirdn2d.upsample2d(x, taps), x),
        "downsample": (lambda x: upfirdn2d.downsample2d(x, taps), x),
        "conv": (
            lambda x, w: conv2d_resample.conv2d_resample(
                x=x, w=w, f=taps, up=2, down=1, padding=1, flip_weight=False
            ),
            x,
            w,
        ),
        "groups": (
            lambda x, w: conv2d_resample.conv2d_resample(
                x=x, w=w, f=None, up=1, down=1, padding=1, groups=2, flip_weight=True
            ),
            x,
            w[:, :2].detach(),
        ),
        "gradfix": (lambda x, w: conv2d_gradfix.conv2d(input=x, weight=w, groups=1), x, w),
        "lrelu": (
            lambda x, b: filtered_lrelu.filtered_lrelu(
                x=x, fu=long, fd=long, b=b, up=2, down=2, padding=9, gain=1, slope=0.2, clamp=256
            ),
            x,
            b,
        ),
        "identity": (
            lambda x, b: filtered_lrelu.filtered_lrelu(
                x=x, fu=None, fd=None, b=b, up=1, down=1, padding=0, gain=1, slope=1, clamp=None
            ),
            x,
            b,
        ),
        "fma": (fma.fma, x, x[:, :, :1, :1], x[:, :1]),
        "grid": (lambda x: grid_sample_gradfix.grid_sample(x, grid.to(x.dtype)), x),
    }
    for name, (function, *args) in calls.items():
        results = []
        for dtype in (torch.float16, torch.float32):
            inputs = cast(args, dtype)
            with selection.force_reference(is_reference):
                y = function(*inputs)
            assert y.dtype == dtype, name
            grads = torch.autograd.grad(y.float().square().mean(), inputs, create_graph=True)
            penalty = sum(grad.float().square().sum() for grad in grads)
            more = torch.autograd.grad(penalty, inputs)
            results.append([y, *grads, *more])
        for half, single in zip(*results, strict=True):
            assert half.isfinite().all() and half.dtype == torch.float16, name
            assert golden.scaled_error(half, single.detach().numpy()) < 0.03, name
