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


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu"])
@pytest.mark.parametrize("operands", ["scale", "noise", "b", "scale noise b"])
def test_gradients_of_all_operands(act, operands):
    inputs = make_operands((2, 3, 4, 5), torch.float64, num_noises=1, requires_grad=True)
    names = ["x", *operands.split()]

    def function(*values):
        return bias_act.bias_act(**dict(zip(names, values, strict=True)), act=act, clamp=2.0)

    values = [inputs[name] for name in names]
    assert torch.autograd.gradcheck(function, values)
    assert torch.autograd.gradgradcheck(function, values)


@pytest.mark.parametrize("clamp", [None, 0.5, 1.5])
@pytest.mark.parametrize("act", ["linear", "relu", "lrelu"])
@pytest.mark.parametrize("operands", ["b", "noise", "noise b"])
def test_second_order_gradients_are_missing_or_zero_as_those_of_the_reference(act, clamp, operands):
    found = []
    for impl in ("cuda", "ref"):
        inputs = make_operands((2, 3, 4, 5), torch.float64, num_noises=1, requires_grad=True)
        names = ["x", *operands.split()]
        used = {name: inputs[name] for name in names}
        y = bias_act.bias_act(**used, act=act, clamp=clamp, impl=impl)
        r = torch.ones_like(y, requires_grad=True)
        (dx,) = torch.autograd.grad((y * r).sum(), inputs["x"], create_graph=True)
        dx.square().sum().backward()
        found.append([inputs[name].grad is None for name in names])
        for name in names:
            assert inputs[name].grad is None or not inputs[name].grad.any()
    kernels, reference = found
    assert kernels == reference == [act == "linear"] * len(names)


SHAPES = {
    "pixel": (2, 3, 1, 1),
    "colours": (2, 3, 9, 7),
    "wide": (1, 130, 5, 3),
    "several tasks": (2, 70, 37, 41),
    "empty": (0, 3, 4, 5),
    "no pixels": (2, 3, 0, 5),
}
ERRORS = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}
CASES = {
    "linear": dict(gain=0.7, clamp=0.5),
    "linear without limit": dict(act="linear", gain=0.7),
    "relu": dict(act="relu", clamp=1),
    "lrelu": dict(act="lrelu", clamp=1.5),
    "no limit": dict(act="lrelu"),
    "only zero": dict(act="lrelu", clamp=0),
    "negative gain": dict(act="lrelu", gain=-1.5, clamp=1),
    "no gain": dict(act="lrelu", gain=0),
    "negative slope": dict(act="lrelu", alpha=-0.5),
    "no slope": dict(act="lrelu", alpha=0),
    "steep slope": dict(act="lrelu", alpha=3, clamp=1),
}


@pytest.mark.parametrize("dtype", ERRORS, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
@pytest.mark.parametrize("operands", ["", "scale", "noise", "b", "noises b", "scale noise b"])
def test_kernel_matches_reference(dtype, shape, layout, operands):
    case = make_operands(shape, dtype, shape[0] if "noises" in operands else 1)
    case = {key: case[key] for key in ["x", *operands.replace("noises", "noise").split()]}
    case["x"] = in_layout(case["x"], layout)
    # Many a bfloat16 is rounded to the limit, where the gradient is zero by definition.
    clamp = None if dtype == torch.bfloat16 else 1.5
    compare_with_reference(case, dict(act="lrelu", clamp=clamp), ERRORS[dtype])


@pytest.mark.parametrize("is_last", [False, True], ids=["planes", "channels last"])
@pytest.mark.parametrize("with_scale", [False, True], ids=["output saved", "input saved"])
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_kernel_matches_reference_for_all_settings(settings, with_scale, is_last):
    case = make_operands((2, 5, 6, 7), torch.float32, 1)
    if not with_scale:
        del case["scale"]
    case["x"] = in_layout(case["x"], "channels last" if is_last else "contiguous")
    compare_with_reference(case, settings, ERRORS[torch.float32])


@pytest.mark.parametrize("act", bias_act.activation_funcs)
def test_kernel_matches_reference_for_all_activations(act):
    case = make_operands((2, 5, 6, 7), torch.float32, 1)
    compare_with_reference(case, dict(act=act, clamp=1.1, gain=1.2), ERRORS[torch.float32])


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(6, 5, 4), (300, 3, 70), (3, 4, 5, 6)], ids=str)
def test_bias_along_any_dimension(shape, dim):
    x, b = torch.randn(shape), torch.randn(shape[dim])
    compare_with_reference(dict(x=x, b=b), dict(dim=dim, act="lrelu"), ERRORS[torch.float32])


@pytest.mark.parametrize("act", ["relu", "lrelu"])
def test_gradient_at_zero_is_that_of_the_negative_side(act):
    x = torch.zeros(2, 3, 4, 5, requires_grad=True)
    for operands in ({}, {"b": torch.zeros(3)}, {"scale": torch.ones(2, 3)}):
        (dx,) = torch.autograd.grad(bias_act.bias_act(x, act=act, **operands).sum(), x)
        slope = {"relu": 0, "lrelu": 0.2}[act] * 2**0.5
        torch.testing.assert_close(dx, torch.full_like(x, slope))


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu"])
def test_limit_of_bfloat16(act):
    x = (torch.arange(-32, 32).reshape(2, 2, 4, 4) / 8).bfloat16()
    compare_with_reference(dict(x=x), dict(act=act, gain=1, clamp=1.8), ERRORS[torch.bfloat16])


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu"])
def test_infinity_and_nan_come_out_as_from_the_reference(act):
    x = torch.tensor([[float("inf"), -float("inf"), float("nan"), 1]] * 5)
    for clamp in (None, 2.0):
        got = bias_act.bias_act(x, act=act, clamp=clamp)
        want = bias_act.bias_act(x, act=act, clamp=clamp, impl="ref")
        torch.testing.assert_close(got, want, equal_nan=True)


def test_number_of_threads_does_not_change_results():
    for layout in ("contiguous", "channels last"):
        case = make_operands((2, 70, 37, 41), torch.float32, 1, requires_grad=True)
        case["x"] = in_layout(case["x"].detach(), layout).requires_grad_()
        results = []
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            y = bias_act.bias_act(**case, act="lrelu", clamp=1)
            results.append([y, *torch.autograd.grad(y.square().sum(), list(case.values()))])
        torch.set_num_threads(1)
        for others in results[1:]:
            for value, other in zip(results[0], others, strict=True):
                assert torch.equal(value, other)


def test_sums_of_bfloat16_gradients_are_exact_to_float32():
    x = torch.ones(4, 3, 64, 64, dtype=torch.bfloat16)
    b = torch.zeros(3, requires_grad=True)
    for act in ("linear", "lrelu"):
        (db,) = torch.autograd.grad(bias_act.bias_act(x, b, act=act, gain=1).sum(), b)
        assert db.dtype == torch.float32 and torch.equal(db, torch.full([3], 4.0 * 64 * 64))


@pytest.mark.parametrize("is_last", [False, True], ids=["planes", "channels last"])
def test_op_is_registered_correctly(is_last):
    case = make_operands((2, 3, 4, 5), torch.float32, 1, requires_grad=True)
    x = in_layout(case["x"].detach(), "channels last" if is_last else "contiguous")
    operands = (case["b"], case["scale"], case["noise"])
    settings = (1, "lrelu", 0.2, 1.4, 2.0)
    x.requires_grad_()
    torch.library.opcheck(bias_act._bias_act, (x, *operands, *settings))
    torch.library.opcheck(bias_act._bias_act, (x, case["b"], None, None, *settings))
    dy = torch.randn(2, 3, 4, 5, requires_grad=True)
    flags = (True, True, True, True)
    torch.library.opcheck(bias_act._bias_act_grad, (dy, x, *operands, *settings, False, *flags))
    flags = (False, True, False, False)
    settings = (x, None, None, None, *settings, True, *flags)
    torch.library.opcheck(bias_act._bias_act_grad, (dy, *settings))


@pytest.mark.slow
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_compiles_without_graph_breaks(act):
    case = make_operands((2, 3, 8, 8), torch.float32, 1, requires_grad=True)

    def function(**case):
        return bias_act.bias_act(**case, act=act, clamp=1)

    values = list(case.values())
    got, want = torch.compile(function, fullgraph=True)(**case), function(**case)
    torch.testing.assert_close(got, want)
    grads = (torch.autograd.grad(y.square().sum(), values) for y in (got, want))
    for grad, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(grad, wanted, rtol=1e-5, atol=1e-5)


def make_operands(shape, dtype, num_noises, requires_grad=False):
    """Random images and operands in float32, or float64 with float64 images."""
    generator = torch.Generator().manual_seed(0)
    n, c, h, w = shape
    shapes = dict(x=shape, b=[c], scale=[n, c], noise=[num_noises, 1, h, w])
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return {
        key: torch.randn(size, generator=generator, dtype=wide)
        .to(dtype if key == "x" else wide)
        .requires_grad_(requires_grad)
        for key, size in shapes.items()
    }


def in_layout(x, layout):
    if layout == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        return torch.stack([x, x], dim=-1)[..., 0]
    return x.contiguous()


def compare_with_reference(case, settings, max_error):
    """Values and gradients of first and second order; the reference in double precision."""
    results = []
    for impl in ("cuda", "ref"):
        inputs = {
            key: (value.double() if impl == "ref" else value.clone()).requires_grad_()
            for key, value in case.items()
        }
        y = bias_act.bias_act(**inputs, **settings, impl=impl)
        generator = torch.Generator().manual_seed(1)
        r = torch.randn(y.shape, generator=generator).to(case["x"]).to(y.dtype).requires_grad_()
        dx, *others = torch.autograd.grad((y * r).sum(), list(inputs.values()), create_graph=True)
        r2 = torch.randn(y.shape, generator=generator).to(case["x"]).to(y.dtype)
        total = sum((d * d).sum() for d in others) + (dx * r2).sum()
        wanted = [r, *inputs.values()]
        seconds = torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)
        results.append([y, dx, *others, *seconds])
        if impl == "cuda":
            assert y.dtype == case["x"].dtype and dx.dtype == case["x"].dtype
            is_last = case["x"].is_contiguous(memory_format=torch.channels_last)
            if is_last and not case["x"].is_contiguous():
                assert y.is_contiguous(memory_format=torch.channels_last)
    for got, want in zip(*results, strict=True):
        assert golden.scaled_error(got, want.detach().numpy()) < max_error


def test_result_has_the_dtype_of_the_features():
    x, b = torch.randn(2, 3).bfloat16(), torch.randn(3)
    assert bias_act.bias_act(x, b, act="lrelu", clamp=1).dtype == torch.bfloat16


def test_default_gains_and_slopes_match_published_table():
    lrelu = dict(bias_act.activation_funcs["lrelu"])
    func = lrelu.pop("func")
    assert lrelu == dict(def_gain=2**0.5, def_alpha=0.2, has_2nd_grad=False)
    x = torch.tensor([-1.0, 2.0])
    assert torch.equal(func(x), func(x, alpha=0.2)) and func(x, alpha=0.5).tolist() == [-0.5, 2]
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
        (dict(scale=torch.ones(2, 3)), "need images"),
        (dict(x=torch.zeros(2, 3, 4, 5), scale=torch.ones(1, 3)), r"scale \(1, 3\) does not fit"),
        (dict(x=torch.zeros(2, 3, 4, 5), noise=torch.ones(4, 5)), r"noise \(4, 5\) does not fit"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        bias_act.bias_act(**{"x": torch.zeros(2, 3), **kwargs})
