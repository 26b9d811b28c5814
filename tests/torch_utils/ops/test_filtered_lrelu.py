"""filtered_lrelu against reference numbers up to the second order, and bad input."""

import pytest
import torch

from tests import golden
from torch_utils.ops.filtered_lrelu import filtered_lrelu

FILE = "ops_filtered_lrelu.npz"


@pytest.mark.parametrize("impl", ["cuda", "ref"])
@pytest.mark.parametrize("name", golden.case_names(FILE))
def test_value_and_gradients_match_golden(name, impl):
    case = golden.load(FILE)[name]
    x, b, r = (golden.tensor(case, key, requires_grad=True) for key in ("x", "b", "r"))
    fu, fd = golden.tensor(case, "fu"), golden.tensor(case, "fd")
    y = filtered_lrelu(x, fu, fd, b, **case.meta["kwargs"], impl=impl)
    got = {"y": y}
    got["dx"], *db = torch.autograd.grad(
        (y * r).sum(), [x] if b is None else [x, b], create_graph=True
    )
    got |= {"db": db[0]} if db else {}
    (got["ddr"],) = torch.autograd.grad((got["dx"] * golden.tensor(case, "r2")).sum(), r)
    tolerance = 1e-10 if x.dtype == torch.float64 else 5e-6
    for key, value in got.items():
        assert golden.scaled_error(value, case.arrays[key]) < tolerance, key


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 2), (4, 2), (3, 1)])
def test_gradients_of_second_order(up, down):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, dtype=torch.float64, requires_grad=True)
    fu, fd = torch.randn(3 * up), torch.randn(2 * down, 3)
    function = lambda x, b: filtered_lrelu(x, fu, fd, b, up, down, padding=3, clamp=3.0)  # noqa: E731
    assert torch.autograd.gradcheck(function, [x, b])
    assert torch.autograd.gradgradcheck(function, [x, b])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(x=torch.zeros(3, 8, 8)), r"must be \[N, C, H, W\]"),
        (dict(b=torch.zeros(2)), "does not fit 3 channels"),
        (dict(up=[2, 2]), "`up` must be a positive integer"),
        (dict(down=0), "`down` must be a positive integer"),
        (dict(fu=torch.ones(2, 2, 2)), "`fu` must be a floating-point filter"),
        (dict(clamp=-1), "`clamp` must not be negative"),
        (dict(fd=torch.ones(12)), "too small for filters of 1x1 and 12x12"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        filtered_lrelu(**{"x": torch.zeros(1, 3, 8, 8), **kwargs})


@pytest.mark.parametrize("up", [1, 2, 3, 4])
def test_gradient_does_not_depend_on_the_bits_behind_a_row(up):
    """Rows of the mask end anywhere in a byte, and in a word of the kernel."""
    torch.manual_seed(0)
    f = torch.tensor([0.25, 0.5, 0.25])
    for width in range(2, 19):
        for extra in range(up):
            x = torch.randn(1, 2, 3, width, dtype=torch.float32, requires_grad=True)
            kwargs = dict(up=up, padding=[2, 2 + extra, 2, 2], clamp=0.9)
            y, expected = (filtered_lrelu(x, f, f, impl=impl, **kwargs) for impl in ("cuda", "ref"))
            r = torch.randn_like(y)
            dx, expected_dx = (torch.autograd.grad((t * r).sum(), x)[0] for t in (y, expected))
            torch.testing.assert_close(dx, expected_dx, rtol=1e-5, atol=1e-5)
