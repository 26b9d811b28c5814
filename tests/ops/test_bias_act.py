"""bias_act against reference numbers up to the second order, and bad input."""

import pytest
import torch

from tests import golden
from torch_utils.ops import bias_act

FILE = "ops_bias_act.npz"
# Scaled errors that golden/README-model.md allows.
TOLERANCES = {"y": 2e-6, "dx": 5e-6, "db": 5e-6, "ddx": 5e-5, "ddb": 5e-5, "ddr": 5e-6}


@pytest.mark.parametrize("name", golden.case_names(FILE))
def test_value_and_gradients_match_golden(name):
    case = golden.load(FILE)[name]
    x, b, r = (golden.tensor(case, key, requires_grad=True) for key in ("x", "b", "r"))
    inputs = {"x": x} if b is None else {"x": x, "b": b}
    y = bias_act.bias_act(x, b, **case.meta["kwargs"])
    got = {"y": y}
    firsts = torch.autograd.grad((y * r).sum(), list(inputs.values()), create_graph=True)
    got |= {f"d{key}": value for key, value in zip(inputs, firsts, strict=True)}
    s = (got["dx"] * golden.tensor(case, "r2")).sum()
    seconds = torch.autograd.grad(s, [*inputs.values(), r], allow_unused=True)
    for (key, value), grad in zip({**inputs, "r": r}.items(), seconds, strict=True):
        got[f"dd{key}"] = torch.zeros_like(value) if grad is None else grad
    for key, value in got.items():
        error = golden.scaled_error(value, case.arrays[key])
        allowed = TOLERANCES[key] if abs(case.arrays[key]).max() > 0 else 1e-7
        assert error < allowed, f"{key}: {error}"


@pytest.mark.parametrize("act", bias_act.activation_funcs)
def test_gradients_of_second_order(act):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, dtype=torch.float64, requires_grad=True)
    function = lambda x, b: bias_act.bias_act(x, b, act=act, gain=1.3, clamp=2.0)  # noqa: E731
    assert torch.autograd.gradcheck(function, [x, b])
    assert torch.autograd.gradgradcheck(function, [x, b])


def test_result_has_the_dtype_of_the_features():
    x, b = torch.randn(2, 3).bfloat16(), torch.randn(3)
    assert bias_act.bias_act(x, b, act="lrelu", clamp=1).dtype == torch.bfloat16


def test_default_gains_and_slopes_match_published_table():
    assert bias_act.activation_funcs["lrelu"] == dict(
        def_gain=2**0.5, def_alpha=0.2, has_2nd_grad=False
    )
    assert bias_act.activation_funcs["swish"].def_gain == 2**0.5
    names = ["linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"]
    assert list(bias_act.activation_funcs) == names


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(act="gelu"), "unknown `act` 'gelu'; known: linear, relu"),
        (dict(b=torch.zeros(4)), r"bias \(4,\) does not fit dimension 1"),
        (dict(b=torch.zeros(3), dim=2), "does not fit dimension 2"),
        (dict(clamp=-1), "`clamp` must not be negative"),
        (dict(impl="fast"), "`impl` must be"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        bias_act.bias_act(torch.zeros(2, 3), **kwargs)
