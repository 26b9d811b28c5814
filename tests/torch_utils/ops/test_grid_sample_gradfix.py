import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests import golden
from torch_utils.ops.grid_sample_gradfix import grid_sample
from torch_utils.ops.reference import grid_sample as reference

NAN, INF = float("nan"), float("inf")
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


@pytest.mark.parametrize("needs_grid", [False, True], ids=["constant-grid", "grid"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 1e-2)]
)
@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (1, 1, 1, 1), (3, 2, 4, 1)], ids=str)
def test_deterministic_gradients_match_pytorch(shape, dtype, tolerance, needs_grid):
    x = torch.randn(shape).to(dtype)
    grid = (torch.rand(shape[0], 7, 8, 2) * 3 - 1.5).to(dtype)  # many of them outside
    grid.view(-1, 2)[:3] = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [0.0, 5.0]], dtype=dtype)
    dy = torch.randn(*shape[:2], 7, 8).to(dtype)
    dx, dgrid = reference.grid_sample_grad(dy, x, grid, needs_grid)
    assert dx.dtype == dtype and (dgrid is not None) == needs_grid
    wide = [t.float() if dtype == torch.float16 else t for t in (dy, x, grid)]
    expected = torch.ops.aten.grid_sampler_2d_backward(*wide, 0, 0, False, [True, True])
    for got, wanted in zip((dx, dgrid), expected, strict=True):
        if got is not None and got.numel() > 0:
            assert golden.scaled_error(got.to(wanted.dtype), wanted.numpy()) < tolerance


def test_deterministic_gradient_leaves_out_what_is_no_position():
    x, grid = _inputs()
    grid.view(-1, 2)[:4] = torch.tensor([[NAN, 0], [0, NAN], [INF, 0], [-INF, INF]])
    dx, _ = reference.grid_sample_grad(torch.ones_like(grid_sample(x, grid)), x, grid, False)
    rest = grid.clone()
    rest.view(-1, 2)[:4] = 9  # outside
    expected, _ = reference.grid_sample_grad(torch.ones_like(grid_sample(x, grid)), x, rest, False)
    assert torch.equal(dx, expected)


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_gpus_sample_deterministically_if_asked(is_deterministic):
    """The meta device stands for CUDA."""
    x, grid = torch.empty(2, 3, 5, 6, device="meta", requires_grad=True), torch.empty(2, 4, 4, 2)
    seen = set()

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    torch.use_deterministic_algorithms(is_deterministic)
    try:
        with Recorder():
            grid_sample(x, grid.to("meta")).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert ("grid_sampler_2d_backward" in seen) == (not is_deterministic)
    assert ("index_add_" in seen) == is_deterministic
    assert x.grad.shape == x.shape


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
