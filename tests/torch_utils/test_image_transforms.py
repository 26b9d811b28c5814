"""Band-limited resampling: the reference numbers, the definition, and continuous signals."""

from math import pi

import pytest
import torch

from benchmarks import equivariance as naive
from tests import golden
from torch_utils import image_transforms

DATA = "metrics_equivariance.npz"
FILTER_ARGS = ("a", "amax", "aflt", "up", "cutoff_in", "cutoff_out")
IMAGE_CASES = [
    name
    for name in golden.case_names(DATA)
    if name.startswith(("itrans_", "ftrans_", "rot_", "prot_", "affine_"))
]
# Largest error of the images, and largest share of other pixels of the mask.
TOLERANCES = {
    "itrans": (0, 0),
    "ftrans": (1e-5, 0),
    "rot": (2e-4, 0.005),
    "prot": (2e-4, 0.005),
    "affine": (2e-4, 0.005),
}


def call(case, x):
    args = {k: v for k, v in case.meta.items() if k not in ("function", "image")}
    return getattr(image_transforms, case.meta["function"])(x, **args)


def test_primitives_match_the_reference():
    case = golden.load(DATA)["primitives"]
    x = golden.tensor(case, "x")
    rotations = torch.stack(
        [image_transforms.rotation_matrix(angle) for angle in case.meta["angles"]]
    )
    for name, got in (
        ("sinc", image_transforms.sinc(x)),
        ("lanczos_a3", image_transforms.lanczos_window(x, case.meta["a"])),
        ("rot", rotations),
    ):
        assert (got - golden.tensor(case, name)).abs().max() <= 1e-6


@pytest.mark.parametrize("name", golden.case_names(DATA, "filter"))
def test_filters_match_the_reference_and_the_definition(name):
    case = golden.load(DATA)[name]
    args = {k: case.meta[k] for k in FILTER_ARGS if k in case.meta}
    mat = torch.tensor(case.meta["mat"])
    f = image_transforms.construct_affine_bandlimit_filter(mat, **args)
    assert f.dtype == torch.float32
    assert list(f.shape) == case.meta["shape"]
    assert (f - golden.tensor(case, "f")).abs().max() <= 1e-6
    assert (f - naive.naive_bandlimit_filter(mat, **args)).abs().max() <= 1e-7


@pytest.mark.parametrize("angle", [0, 1e-12, 1e-5, pi / 2, pi, 2.5])
def test_filters_are_exact_near_the_zeros_of_the_sines(angle):
    mat = image_transforms.rotation_matrix(0).double()
    mat[:2, :2] = torch.tensor(
        [[torch.tensor(angle).double().cos(), torch.tensor(angle).double().sin()]] * 2
    ) * torch.tensor([[1, 1], [-1, 1]])
    mat[1, :2] = mat[1, :2].flip(0)
    f = image_transforms.construct_affine_bandlimit_filter(mat, amax=6, aflt=16)
    exact = naive.naive_bandlimit_filter(mat, amax=6, aflt=16)
    assert (f - exact).abs().max() <= 1e-8


def test_filter_has_components_of_equal_sum_and_is_symmetric():
    f = image_transforms.construct_affine_bandlimit_filter(
        image_transforms.rotation_matrix(0.4), amax=6
    )
    sums = torch.stack([f[y::4, x::4].sum() for y in range(4) for x in range(4)])
    torch.testing.assert_close(sums, torch.full([16], 1 / 16))
    torch.testing.assert_close(f, f.flip(0, 1))


def test_filter_larger_than_what_it_is_made_of_is_refused():
    with pytest.raises(ValueError, match=r"`amax` must not exceed `aflt`, got 9 > 8"):
        image_transforms.construct_affine_bandlimit_filter(torch.eye(3), amax=9, aflt=8)


@pytest.mark.parametrize("name", IMAGE_CASES)
def test_operators_match_the_reference(name):
    case = golden.load(DATA)[name]
    x = golden.tensor(golden.load(DATA)[case.meta["image"]], "x")
    out, mask = call(case, x)
    max_error, max_share = TOLERANCES[name.split("_")[0]]
    assert out.shape == mask.shape == x.shape
    assert out.dtype == mask.dtype == x.dtype
    assert (out - golden.tensor(case, "out")).abs().max() <= max_error
    assert (mask != golden.tensor(case, "mask")).float().mean() <= max_share


@pytest.mark.parametrize("shape", [(2, 3, 40, 40), (1, 2, 30, 52), (1, 1, 5, 3)], ids=str)
@pytest.mark.parametrize("up", [1, 2, 3, 4])
def test_affine_transformation_matches_the_definition(shape, up):
    generator = torch.Generator().manual_seed(up)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    for _ in range(3):
        mat = torch.eye(3, dtype=torch.float64)
        mat[:2] += 0.3 * torch.randn([2, 3], generator=generator)
        args = dict(up=up, amax=8, aflt=16)
        exact, exact_mask = naive.naive_affine_transformation(x, mat, **args)
        for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-5)):
            out, mask = image_transforms.apply_affine_transformation(x.to(dtype), mat, **args)
            assert out.dtype == mask.dtype == dtype
            assert (out - exact).abs().max() <= tolerance * x.abs().max()
        if up != 3:  # a position of which the centre is between two samples
            assert (mask != exact_mask).float().mean() <= 0.005


def test_images_in_half_precision_are_transformed_in_float32():
    x = torch.randn([1, 3, 32, 32]).half()
    out, mask = image_transforms.apply_fractional_rotation(x, 0.5)
    exact, _ = image_transforms.apply_fractional_rotation(x.float(), 0.5)
    assert out.dtype == mask.dtype == torch.float16
    assert torch.equal(out, exact.half())


def test_affine_transformation_in_parts_is_the_same(monkeypatch):
    x = torch.randn([3, 4, 16, 20])
    whole, _ = image_transforms.apply_fractional_rotation(x, 0.3)
    monkeypatch.setattr(image_transforms, "MAX_UPSAMPLED_PIXELS", 5 * 28 * 32 * 16)
    parts, _ = image_transforms.apply_fractional_rotation(x, 0.3)
    torch.testing.assert_close(parts, whole)


def test_no_images_remain_no_images():
    x = torch.zeros([0, 3, 16, 16])
    for operator in (
        image_transforms.apply_fractional_rotation,
        image_transforms.apply_fractional_pseudo_rotation,
    ):
        out, mask = operator(x, 0.3)
        assert out.shape == mask.shape == x.shape


def smooth(x, y):
    """A signal well below the Nyquist frequency of 64 pixels."""
    return (2 * pi * (3 * x - 5 * y)).cos() + 0.5 * (2 * pi * (7 * x + 2 * y) + 1).sin()


def sample(mat=None, size=64):
    t = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    y, x = torch.meshgrid(t, t, indexing="ij")
    p = torch.stack([x, y, torch.ones_like(x)])
    if mat is not None:
        p = torch.einsum("ij,jhw->ihw", torch.linalg.inv(mat.double()), p)
    return smooth(p[0], p[1])[None, None]


def test_operators_transform_the_continuous_signal():
    mat = torch.eye(3)
    mat[:2, 2] = torch.tensor([0.07, -0.11])
    out, mask = image_transforms.apply_fractional_translation(sample(), 0.07, -0.11)
    assert mask.sum() > 1000
    assert ((out - sample(mat)) * mask).abs().max() < 0.02
    for angle in (0.3, 2.0):
        out, mask = image_transforms.apply_fractional_rotation(sample(), angle)
        exact, pseudo_mask = image_transforms.apply_fractional_pseudo_rotation(
            sample(image_transforms.rotation_matrix(angle)), angle
        )
        assert (mask * pseudo_mask).sum() > 1000
        assert ((out - exact) * mask * pseudo_mask).abs().max() < 0.02


def test_operators_are_differentiable():
    x = torch.randn([1, 1, 6, 7], dtype=torch.float64, requires_grad=True)
    for operator in (
        lambda x: image_transforms.apply_integer_translation(x, 0.2, 0.3)[0],
        lambda x: image_transforms.apply_fractional_translation(x, 0.2, 0.3)[0],
        lambda x: image_transforms.apply_fractional_rotation(x, 0.3, aflt=8)[0],
        lambda x: image_transforms.apply_fractional_pseudo_rotation(x, 0.3, aflt=8)[0],
    ):
        assert torch.autograd.gradcheck(operator, x)


@pytest.mark.gpu
@pytest.mark.parametrize("name", IMAGE_CASES)
def test_operators_match_on_cuda(name):
    case = golden.load(DATA)[name]
    x = golden.tensor(golden.load(DATA)[case.meta["image"]], "x")
    out, mask = call(case, x)
    out_cuda, mask_cuda = call(case, x.cuda())
    assert out_cuda.device.type == mask_cuda.device.type == "cuda"
    assert (out_cuda.cpu() - out).abs().max() <= 1e-4
    assert (mask_cuda.cpu() != mask).float().mean() <= 0.005
