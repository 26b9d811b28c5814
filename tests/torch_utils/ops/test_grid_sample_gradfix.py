import pytest
import torch
import torch.nn.functional as F

from tests import golden
from torch_utils.ops.grid_sample_gradfix import grid_sample

TOLERANCE = 1e-5


@pytest.mark.parametrize("name", golden.case_names("ops_misc.npz", "gridsample_"))
def test_value_and_gradients_match_golden(name):
    case = golden.load("ops_misc.npz")[name]
    x, grid = golden.tensor(case, "x", requires_grad=True), golden.tensor(case, "grid")
    grid.requires_grad_(True)
    y = grid_sample(x, grid)
    dx, dgrid = torch.autograd.grad((y * golden.tensor(case, "r")).sum(), [x, grid])
    for key, value in {"y": y, "dx": dx, "dgrid": dgrid}.items():
        assert golden.scaled_error(value, case.arrays[key]) < TOLERANCE, key


@pytest.mark.parametrize("needs_grid", [False, True], ids=["constant-grid", "grid"])
@pytest.mark.parametrize("name", golden.case_names("ops_misc.npz", "gridsample_"))
def test_second_order_gradient_matches_golden(name, needs_grid):
    case = golden.load("ops_misc.npz")[name]
    x, r = golden.tensor(case, "x", requires_grad=True), golden.tensor(case, "r", True)
    grid = golden.tensor(case, "grid", requires_grad=needs_grid)
    y = grid_sample(x, grid)
    wanted = [x, grid] if needs_grid else [x]
    dx, *_ = torch.autograd.grad((y * r).sum(), wanted, create_graph=True)
    (ddr,) = torch.autograd.grad((dx * golden.tensor(case, "r2")).sum(), [r])
    assert golden.scaled_error(dx, case.arrays["dx"]) < TOLERANCE
    assert golden.scaled_error(ddr, case.arrays["ddr"]) < TOLERANCE


def test_gradcheck_and_gradgradcheck():
    x, grid = _inputs(torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: grid_sample(x, grid), [x])
    assert torch.autograd.gradcheck(grid_sample, [x, grid.requires_grad_(True)])


def test_third_order_gradient_exists():
    x, grid = _inputs(torch.float64)

    def gradient(x):
        return torch.autograd.grad(grid_sample(x, grid).pow(4).sum(), [x], create_graph=True)[0]

    assert torch.autograd.gradgradcheck(gradient, [x])


def test_gradient_of_the_image_depends_on_the_grid():
    x, grid = _inputs(torch.float64)
    r = torch.randn_like(grid_sample(x, grid)).requires_grad_(True)

    def gradient(r, grid):
        (dx,) = torch.autograd.grad((grid_sample(x, grid) * r).sum(), [x], create_graph=True)
        return dx

    assert torch.autograd.gradcheck(gradient, [r, grid.requires_grad_(True)])


def test_gradient_of_the_grid_cannot_be_differentiated():
    x, grid = _inputs()
    y = grid_sample(x, grid.requires_grad_(True))
    (dgrid,) = torch.autograd.grad(y.square().sum(), [grid], create_graph=True)
    with pytest.raises(RuntimeError, match=r"grid\.detach\(\)"):
        dgrid.sum().backward()


def test_constant_grid_does_not_keep_the_image():
    saved = []
    x, grid = _inputs()
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda _: None):
        grid_sample(x, grid)
    assert sum(t.untyped_storage().nbytes() for t in saved if t is not None) < grid.nbytes + 64


def test_compiles_to_one_graph_with_its_gradient():
    x, grid = _inputs()
    y = torch.compile(grid_sample, fullgraph=True, backend="aot_eager")(x, grid)
    expected = F.grid_sample(x, grid, align_corners=False)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(
        torch.autograd.grad(y.square().sum(), [x]),
        torch.autograd.grad(expected.square().sum(), [x]),
    )


def _inputs(dtype=torch.float32):
    torch.manual_seed(0)
    x = torch.randn([2, 2, 4, 5], dtype=dtype, requires_grad=True)
    return x, torch.rand([2, 3, 3, 2], dtype=dtype) * 3 - 1.5
