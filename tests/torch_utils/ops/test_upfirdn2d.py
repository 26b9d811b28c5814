"""upfirdn2d and its helpers against reference numbers, their own definition, and bad input."""

import numpy as np
import pytest
import torch
from scipy import signal

from tests import golden
from torch_utils.ops import upfirdn2d

FILE = "ops_upfirdn2d.npz"
FILTER_CASES = [name for name in golden.case_names(FILE) if not name.startswith("setup_")]


@pytest.mark.parametrize("impl", ["cuda", "ref"])
@pytest.mark.parametrize("name", FILTER_CASES)
def test_value_and_gradient_match_golden(name, impl):
    case = golden.load(FILE)[name]
    function = getattr(upfirdn2d, case.meta["func"].rpartition(".")[2])
    x, f = golden.tensor(case, "x", requires_grad=True), golden.tensor(case, "f")
    y = function(x, f, **case.meta["kwargs"], impl=impl)
    (dx,) = torch.autograd.grad((y * golden.tensor(case, "r")).sum(), x)
    tolerance = 1e-12 if x.dtype == torch.float64 else 2e-6
    assert y.dtype == x.dtype
    assert golden.scaled_error(y, case.arrays["y"]) < tolerance
    assert golden.scaled_error(dx, case.arrays["dx"]) < tolerance


@pytest.mark.parametrize("name", golden.case_names(FILE, "setup_"))
def test_setup_filter_matches_golden(name):
    case = golden.load(FILE)[name]
    out = upfirdn2d.setup_filter(case.arrays.get("f_in"), **case.meta["kwargs"])
    assert golden.scaled_error(out, case.arrays["out"]) < 2e-7


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (3, 1, 0, 5), (-1, 2, 1, -3)])
@pytest.mark.parametrize("size", [(1, 1), (7, 4)], ids=str)
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 3), (3, 2)])
def test_definition_holds(padding, size, up, down):
    """Insert zeros, pad or crop, convolve, keep every `down`-th pixel: with NumPy and SciPy."""
    rng = np.random.default_rng(0)
    x, f = rng.normal(size=[2, 3, *size]), rng.normal(size=[3, 2]).astype(np.float32)
    x0, x1, y0, y1 = padding
    stuffed = np.zeros([2, 3, size[0] * up, size[1] * up])
    stuffed[:, :, ::up, ::up] = x
    stuffed = np.pad(stuffed, [(0, 0), (0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0))])
    h, w = stuffed.shape[2:]
    stuffed = stuffed[:, :, max(-y0, 0) : h - max(-y1, 0), max(-x0, 0) : w - max(-x1, 0)]
    args = dict(up=up, down=down, padding=padding)
    if stuffed.shape[2] < 3 or stuffed.shape[3] < 2:
        with pytest.raises(ValueError, match="leave nothing"):
            upfirdn2d.upfirdn2d(torch.from_numpy(x), torch.from_numpy(f), **args)
        return
    want = signal.convolve(stuffed, f[None, None].astype(np.float64), mode="valid")
    got = upfirdn2d.upfirdn2d(torch.from_numpy(x), torch.from_numpy(f), **args)
    np.testing.assert_allclose(got.numpy(), want[:, :, ::down, ::down], atol=1e-12)


def test_separable_filter_equals_its_outer_product():
    x, f = torch.randn(2, 3, 9, 8, dtype=torch.float64), torch.randn(5)
    args = dict(up=2, down=3, padding=[4, 1, -2, 6], gain=2.0)
    separable = upfirdn2d.upfirdn2d(x, f, **args)
    full = upfirdn2d.upfirdn2d(x, torch.outer(f, f), **args)
    torch.testing.assert_close(separable, full, rtol=1e-5, atol=1e-6)  # the taps are float32


def test_gradients_of_second_order():
    x, f = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True), torch.randn(4)
    function = lambda x: upfirdn2d.upfirdn2d(x, f, up=2, down=3, padding=[3, 2, 1, -1])  # noqa: E731
    assert torch.autograd.gradcheck(function, [x])
    assert torch.autograd.gradgradcheck(function, [x])


def test_padding_may_make_up_for_what_is_cropped_at_the_other_end():
    x, f = torch.randn(1, 1, 2, 1), torch.ones(1)
    got = upfirdn2d.upfirdn2d(x, f, padding=[0, 0, 3, -4], impl="ref")
    assert torch.equal(got, torch.zeros(1, 1, 1, 1))
    got = upfirdn2d.upfirdn2d(x, f, up=2, padding=[-2, 2, -1, 1], impl="ref")
    assert torch.equal(got, torch.tensor([[[[0.0, 0], [0, 0], [0, 0], [0, 0]]]]))


def test_images_of_one_channel_may_be_channels_last():
    """Both layouts are one then, though the strides that PyTorch reports differ."""
    x = torch.randn(2, 1, 3, 5).to(memory_format=torch.channels_last)
    assert x.is_contiguous() and x.stride(1) == 1
    f = torch.randn(4)
    got = upfirdn2d.upfirdn2d(x, f, up=2, padding=3)
    torch.testing.assert_close(got, upfirdn2d.upfirdn2d(x, f, up=2, padding=3, impl="ref"))


def test_numpy_integers_pass_for_integers():
    x, f = torch.randn(1, 2, 5, 4), torch.randn(4)
    got = upfirdn2d.upfirdn2d(x, f, up=np.int64(2), down=[np.int32(3), 1], padding=np.array([1, 2]))
    torch.testing.assert_close(got, upfirdn2d.upfirdn2d(x, f, up=2, down=[3, 1], padding=[1, 2]))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore::torch.jit.TracerWarning")
def test_sizes_pass_for_integers_in_a_trace():
    f = upfirdn2d.setup_filter([1, 3, 3, 1])

    def resample(x, f):
        x = upfirdn2d.upsample2d(x, f, up=f.shape[0] // 2, padding=f.shape[1] // 2)
        return upfirdn2d.downsample2d(x, f, padding=[f.shape[0], f.shape[1] - 5])

    x = torch.randn(2, 3, 8, 8)
    traced = torch.jit.trace(resample, (x, f), check_trace=False)
    torch.testing.assert_close(traced(x + 1, f), resample(x + 1, f))


def test_empty_batch_keeps_its_shape():
    assert upfirdn2d.upsample2d(torch.zeros(0, 3, 4, 5), torch.ones(4)).shape == (0, 3, 8, 10)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(x=torch.zeros(3, 4, 5)), r"must be \[N, C, H, W\]"),
        (dict(f=torch.ones(2, 2, 2)), "must be a floating-point filter"),
        (dict(f=torch.ones(3, dtype=torch.int32)), "must be a floating-point filter"),
        (dict(up=0), "`up` must be a positive integer"),
        (dict(down=[1, 2, 3]), "`down` must be a positive integer"),
        (dict(padding=[1, 2, 3]), "`padding` must be one, two or four integers"),
        (dict(padding=-5), "leave nothing of an image of 5x4"),
        (dict(gain=-1), "`gain` of a separable filter must not be negative"),
        (dict(impl="fast"), '`impl` must be "cuda" or "ref"'),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        upfirdn2d.upfirdn2d(**{"x": torch.zeros(1, 3, 4, 5), "f": torch.ones(3), **kwargs})
