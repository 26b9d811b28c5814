import functools
import itertools

import pytest
import torch
import torch.nn.functional as F

from tests import golden
from torch_utils.ops import conv2d_gradfix, upfirdn2d
from torch_utils.ops.conv2d_resample import conv2d_resample


def definition(x, w, f, up, down, padding, groups, flip_weight, flip_filter):
    """Upsample, convolve, downsample, one after the other; `padding` has four values."""
    fw, fh = (1, 1) if f is None else (f.shape[-1], f.shape[0])
    pad = list(padding)
    if up > 1:
        pad[0] += (fw + up - 1) // 2
        pad[1] += (fw - up) // 2
        pad[2] += (fh + up - 1) // 2
        pad[3] += (fh - up) // 2
    if down > 1:
        pad[0] += (fw - down + 1) // 2
        pad[1] += (fw - down) // 2
        pad[2] += (fh - down + 1) // 2
        pad[3] += (fh - down) // 2
    x = upfirdn2d.upfirdn2d(
        x, f if up > 1 else None, up=up, padding=pad, flip_filter=flip_filter, gain=up**2
    )
    x = F.conv2d(x, w if flip_weight else w.flip([2, 3]), groups=groups)
    return upfirdn2d.upfirdn2d(x, f if down > 1 else None, down=down, flip_filter=flip_filter)


@pytest.mark.parametrize("name", golden.case_names("ops_misc.npz", "resample_"))
def test_value_and_gradients_match_golden(name):
    case = golden.load("ops_misc.npz")[name]
    x, w = golden.tensor(case, "x", True), golden.tensor(case, "w", True)
    y = conv2d_resample(x, w, golden.tensor(case, "f"), **case.meta["kwargs"])
    dx, dw = torch.autograd.grad((y * golden.tensor(case, "r")).sum(), [x, w])
    for key, value in {"y": y, "dx": dx, "dw": dw}.items():
        assert golden.scaled_error(value, case.arrays[key]) < 5e-6, key


@pytest.mark.parametrize("f_shape", [None, [3], [4, 5], [12]], ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5)], ids=str)
def test_every_route_matches_the_definition(kernel, f_shape):
    torch.manual_seed(0)
    x = torch.randn([2, 4, 7, 8], dtype=torch.float64, requires_grad=True)
    w = torch.randn([6, 2, *kernel], dtype=torch.float64, requires_grad=True)
    f = None if f_shape is None else torch.randn(f_shape)
    for up, down, padding, flip_weight, flip_filter in itertools.product(
        [1, 2, 3], [1, 2], [(2, 2, 1, 1), (0, 3, 2, -1)], [True, False], [True, False]
    ):
        args = x, w, f, up, down, padding, 2, flip_weight, flip_filter
        got, expected = conv2d_resample(*args), definition(*args)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
        r = torch.randn_like(expected)
        for pair in zip(
            torch.autograd.grad((got * r).sum(), [x, w]),
            torch.autograd.grad((expected * r).sum(), [x, w]),
            strict=True,
        ):
            torch.testing.assert_close(*pair, rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_gradgradcheck(up, down):
    torch.manual_seed(0)
    x = torch.randn([1, 2, 4, 4], dtype=torch.float64, requires_grad=True)
    w = torch.randn([2, 2, 3, 3], dtype=torch.float64, requires_grad=True)
    f = upfirdn2d.setup_filter([1, 3, 3, 1])
    assert torch.autograd.gradgradcheck(
        lambda x, w: conv2d_resample(x, w, f, up=up, down=down, padding=1), [x, w]
    )


@pytest.mark.parametrize(
    ("kernel", "up", "down", "expected"),
    [(3, 1, 2, (5, 5)), (1, 1, 2, (5, 5)), (1, 2, 1, (10, 10)), (3, 2, 1, (10, 10))],
    ids=["strided", "1x1-after-down", "1x1-before-up", "transposed"],
)
def test_convolution_sees_no_more_pixels_than_it_must(monkeypatch, kernel, up, down, expected):
    sizes = []

    def spy(op, x, *args, **kwargs):
        y = op(x, *args, **kwargs)
        sizes.append((x.shape[2:], y.shape[2:]))
        return y

    for op in (F.conv2d, F.conv_transpose2d):
        monkeypatch.setattr(conv2d_gradfix, op.__name__, functools.partial(spy, op))
    x, w = torch.randn([1, 3, 10, 10]), torch.randn([3, 3, kernel, kernel])
    f = upfirdn2d.setup_filter([1, 3, 3, 1])
    conv2d_resample(x, w, f, up=up, down=down, padding=kernel // 2)
    (convolution,) = sizes
    # The smaller one counts the positions at which the kernel is applied, up to the border.
    smaller = min(convolution)
    assert all(abs(got - size) <= 3 for got, size in zip(smaller, expected, strict=True))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"up": 0}, "`up` must be a positive integer, got 0"),
        ({"down": 1.5}, "`down` must be a positive integer, got 1.5"),
        ({"groups": 2}, r"weight \(3, 4, 3, 3\) in 2 groups does not fit images \(2, 4, 6, 6\)"),
        ({"padding": [1, 2, 3]}, "`padding`"),
    ],
    ids=["up", "down", "groups", "padding"],
)
def test_refuses_what_does_not_fit(changed, message):
    with pytest.raises(ValueError, match=message):
        conv2d_resample(torch.randn([2, 4, 6, 6]), torch.randn([3, 4, 3, 3]), **changed)


def test_compiles_to_one_graph():
    x, w = torch.randn([1, 2, 6, 6]), torch.randn([3, 2, 3, 3])
    f = upfirdn2d.setup_filter([1, 3, 3, 1])

    def block(x, w):
        return conv2d_resample(conv2d_resample(x, w, f, up=2, padding=1)[:, :2], w, f, down=2)

    got = torch.compile(block, fullgraph=True, backend="aot_eager")(x, w)
    torch.testing.assert_close(got, block(x, w))
