import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests import golden
from torch_utils.ops.conv2d_gradfix import conv2d, conv_transpose2d, no_weight_gradients

TOLERANCE = 5e-6


class ComputedGradients(TorchDispatchMode):
    """Records which gradients convolutions compute: (input, weight, bias) each."""

    def __init__(self):
        super().__init__()
        self.masks = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.masks.append(tuple(args[-1]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", golden.case_names("ops_misc.npz", "conv_"))
def test_values_and_gradients_of_both_orders_match_golden(name):
    case = golden.load("ops_misc.npz")[name]
    op = conv_transpose2d if case.meta["func"].endswith("conv_transpose2d") else conv2d
    x, w, r = (golden.tensor(case, key, requires_grad=True) for key in ("x", "w", "r"))
    b = golden.tensor(case, "b", requires_grad=True)
    y = op(x, w, b, **case.meta["kwargs"])
    inputs = [x, w] if b is None else [x, w, b]
    dx, dw, *db = torch.autograd.grad((y * r).sum(), inputs, create_graph=True)
    s = (dx * golden.tensor(case, "r2")).sum() + (dw * golden.tensor(case, "r3")).sum()
    ddx, ddw, ddr = torch.autograd.grad(s, [x, w, r])
    got = {"y": y, "dx": dx, "dw": dw, "ddx": ddx, "ddw": ddw, "ddr": ddr}
    if db:
        got["db"] = db[0]
    for key, value in got.items():
        assert golden.scaled_error(value, case.arrays[key]) < TOLERANCE, key


@pytest.mark.parametrize(
    ("op", "kwargs"),
    [
        (conv2d, {"padding": 1}),
        (conv2d, {"stride": 2, "dilation": 2, "padding": [2, 1]}),
        (conv_transpose2d, {"stride": 2, "padding": 1, "output_padding": 1}),
    ],
    ids=["plain", "strided", "transposed"],
)
def test_gradgradcheck(op, kwargs):
    torch.manual_seed(0)
    args = [torch.randn(s, dtype=torch.float64) for s in ([2, 2, 5, 4], [2, 2, 3, 3], [2])]
    for arg in args:
        arg.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda *a: op(*a, **kwargs), args)
    assert torch.autograd.gradgradcheck(lambda *a: op(*a, **kwargs), args)


@pytest.mark.parametrize("op", [conv2d, conv_transpose2d])
def test_context_computes_no_weight_gradient(op):
    x, w, b, s = _tensors()
    y = op(x * s, w * s, b)
    with ComputedGradients() as computed, no_weight_gradients():
        torch.autograd.grad(y.sum(), [s], retain_graph=True)
    assert computed.masks == [(True, False, False)]
    with ComputedGradients() as computed:
        torch.autograd.grad(y.sum(), [s])
    assert computed.masks == [(True, True, False)]


@pytest.mark.parametrize("op", [conv2d, conv_transpose2d])
def test_weight_counts_as_constant_in_the_context(op):
    x, w, b, s = _tensors()
    with no_weight_gradients():
        (got,) = torch.autograd.grad(op(x * s, w * s, b).square().sum(), [s])
    (expected,) = torch.autograd.grad(op(x * s, (w * s).detach(), b).square().sum(), [s])
    torch.testing.assert_close(got, expected)


def test_backward_in_the_context_fills_all_gradients_but_those_of_weights():
    x, w, b, _ = _tensors()
    y = conv2d(x, w, b).square().sum()
    dx, _, db = torch.autograd.grad(y, [x, w, b], retain_graph=True)
    with no_weight_gradients():
        y.backward()
    assert w.grad is None
    torch.testing.assert_close([x.grad, b.grad], [dx, db])


@pytest.mark.parametrize("op", [conv2d, conv_transpose2d])
def test_second_backward_outside_of_the_context_reaches_the_weights(op):
    x, w, b, s = _tensors()

    def penalty_gradients(disable):
        y = op(op(x * s, w).square(), w, b[:4])
        with no_weight_gradients(disable):
            (ds,) = torch.autograd.grad(y.square().sum(), [s], create_graph=True)
        return torch.autograd.grad(ds.square().sum(), [x, w, s])

    for got, expected in zip(penalty_gradients(True), penalty_gradients(False), strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(got, expected)


def test_context_does_nothing_when_not_asked_to():
    x, w, _, _ = _tensors()
    with no_weight_gradients(disable=False):
        conv2d(x, w).sum().backward()
    assert w.grad is not None


def test_context_ends_with_an_exception():
    x, w, _, _ = _tensors()
    with pytest.raises(KeyError), no_weight_gradients():
        raise KeyError
    conv2d(x, w).sum().backward()
    assert w.grad is not None


def test_input_gradients_alone_never_compute_the_gradient_of_an_independent_weight():
    x, w, _, _ = _tensors()
    with ComputedGradients() as computed:
        torch.autograd.grad(conv2d(x, w).sum(), [x], create_graph=True)
    assert computed.masks == [(True, False, False)]


def test_compiles_to_one_graph():
    x, w, b, _ = _tensors()

    def both(x, w, b):
        return conv_transpose2d(conv2d(x, w, b, padding=1), w, b, stride=2)

    got = torch.compile(both, fullgraph=True, backend="aot_eager")(x, w, b)
    expected = F.conv_transpose2d(F.conv2d(x, w, b, padding=1), w, b, stride=2)
    torch.testing.assert_close(got, expected)


def _tensors():
    torch.manual_seed(0)
    shapes = [2, 4, 6, 6], [4, 4, 3, 3], [4], [1, 4, 1, 1]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]
