import pytest
import torch

from tests import golden
from torch_utils.ops.fma import fma


@pytest.mark.parametrize("name", golden.case_names("ops_misc.npz", "fma_"))
def test_value_and_gradients_match_golden(name):
    case = golden.load("ops_misc.npz")[name]
    a, b, c = inputs = [golden.tensor(case, key, requires_grad=True) for key in "abc"]
    y = fma(a, b, c)
    da, db, dc = torch.autograd.grad((y * golden.tensor(case, "r")).sum(), inputs)
    for key, value in {"y": y, "da": da, "db": db, "dc": dc}.items():
        assert golden.scaled_error(value, case.arrays[key]) < 5e-6, key


def test_gradgradcheck_with_broadcasting():
    torch.manual_seed(0)
    inputs = [torch.randn(s, dtype=torch.float64) for s in ([2, 3, 1, 2], [3, 1, 1], [1, 2])]
    for value in inputs:
        value.requires_grad_(True)
    assert torch.autograd.gradcheck(fma, inputs)
    assert torch.autograd.gradgradcheck(fma, inputs)


def test_half_precision_product_is_not_rounded():
    a = torch.tensor([1 + 2**-10], dtype=torch.float16)
    expected = a.double().square() - 1
    assert torch.equal(fma(a, a, torch.tensor([-1], dtype=torch.float16)), expected.half())


def test_compiles_to_one_graph():
    a, b, c = torch.randn(2, 3), torch.randn(3), torch.randn(2, 1)
    torch.testing.assert_close(
        torch.compile(fma, fullgraph=True, backend="aot_eager")(a, b, c), a * b + c
    )
