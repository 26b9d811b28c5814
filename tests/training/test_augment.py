import math
import pickle

import numpy as np
import pytest
import torch

from tests import golden
from training import augment
from training.augment import AugmentPipe

GEOMETRY = ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac")
COLOUR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
OTHER = ("imgfilter", "noise", "cutout")
NOT_DETERMINISTIC = "noise_p60"
GOLDEN_CASES = [
    name
    for name in golden.case_names("augment.npz")
    if name not in ("inputs", "filters", NOT_DETERMINISTIC)
]


@pytest.mark.parametrize("name", GOLDEN_CASES)
def test_value_and_gradient_match_golden(name):
    case, inputs = golden.load("augment.npz")[name], golden.load("augment.npz")["inputs"]
    pipe = AugmentPipe(**case.meta["kwargs"])
    pipe.p.fill_(case.meta["p"])
    x = golden.tensor(inputs, f"x_{case.meta['input']}", requires_grad=True)
    y = pipe(x, debug_percentile=case.meta["debug_percentile"])
    assert golden.scaled_error(y, case.arrays["y"]) < 3e-5
    if "dx" in case.arrays:
        (dx,) = torch.autograd.grad((y * golden.tensor(inputs, f"r_{case.meta['input']}")).sum(), x)
        assert golden.scaled_error(dx, case.arrays["dx"]) < 6e-5


def test_noise_matches_golden(monkeypatch):
    case, inputs = golden.load("augment.npz")[NOT_DETERMINISTIC], golden.load("augment.npz")
    noise = golden.tensor(case, "n")
    monkeypatch.setattr(torch, "randn_like", lambda _: noise)
    pipe = AugmentPipe(**case.meta["kwargs"])
    y = pipe(golden.tensor(inputs["inputs"], "x_rgb"), case.meta["debug_percentile"])
    assert golden.scaled_error(y, case.arrays["y"]) < 3e-5


@pytest.mark.parametrize("name", ["Hz_geom", "Hz_fbank"])
def test_filters_match_golden(name):
    case = golden.load("augment.npz")["filters"]
    assert golden.scaled_error(getattr(AugmentPipe(), name), case.arrays[name]) < 1e-6


def test_filter_bank_adds_up_to_an_impulse():
    bank = augment.octave_filter_bank()
    np.testing.assert_allclose(bank.sum(axis=0), np.eye(43)[21], atol=1e-12)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-12)


def test_nothing_enabled_returns_the_images_themselves():
    x = torch.rand([2, 3, 8, 8])
    assert AugmentPipe()(x) is x


@pytest.mark.parametrize("name", [*GEOMETRY, *COLOUR, *OTHER])
@pytest.mark.parametrize("shape", [(3, 3, 16, 16), (2, 1, 9, 14)], ids=["rgb", "gray"])
def test_strength_zero_changes_nothing(name, shape):
    torch.manual_seed(0)
    x = torch.rand(shape) * 2 - 1
    pipe = AugmentPipe(**{name: 1})
    pipe.p.zero_()
    torch.testing.assert_close(pipe(x), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [*GEOMETRY, *COLOUR, *OTHER])
def test_share_of_changed_images_follows_multiplier_and_strength(name):
    torch.manual_seed(0)
    x = (torch.rand([1, 3, 8, 8]) * 2 - 1).repeat(1500, 1, 1, 1)
    pipe = AugmentPipe(**{name: 0.8}, imgfilter_bands=[1, 0, 0, 0])
    pipe.p.fill_(0.5)
    changed = ((pipe(x) - x).abs().amax(dim=(1, 2, 3)) > 1e-4).float().mean()
    # Some parameters happen to be neutral: no flip, no turn, two shifts of less than half a pixel.
    neutral = {"xflip": 1 / 2, "lumaflip": 1 / 2, "rotate90": 1 / 4, "xint": 1 / 4}.get(name, 0)
    assert abs(changed - 0.8 * 0.5 * (1 - neutral)) < 0.04


def test_strength_above_one_applies_to_all():
    torch.manual_seed(0)
    x = torch.rand([50, 3, 8, 8])
    pipe = AugmentPipe(rotate=1, brightness=1)
    pipe.p.fill_(1.7)
    y = pipe(x)
    assert y.isfinite().all()
    assert ((y - x).abs().amax(dim=(1, 2, 3)) > 1e-4).all()


def test_random_parameters_are_distributed_as_in_the_paper():
    torch.manual_seed(0)
    ones = torch.ones([20000, 3, 1, 1])
    brightness = AugmentPipe(brightness=1)(ones)[:, 0, 0, 0] - 1
    assert abs(brightness.mean()) < 0.01
    assert abs(brightness.std() - 0.2) < 0.01
    contrast = AugmentPipe(contrast=1)(ones)[:, 0, 0, 0].log2()
    assert abs(contrast.mean()) < 0.02
    assert abs(contrast.std() - 0.5) < 0.02
    flipped = AugmentPipe(lumaflip=1)(ones)[:, 0, 0, 0]
    assert abs((flipped < 0).float().mean() - 0.5) < 0.02
    red = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1).expand(20000, -1, -1, -1)
    hue = AugmentPipe(hue=1)(red)[:, :, 0, 0]
    angle = torch.atan2((hue[:, 1] - hue[:, 2]) / math.sqrt(3), hue[:, 0] - hue.mean(dim=1))
    torch.testing.assert_close(hue.sum(dim=1), torch.ones(20000))
    assert abs(angle.std() - 2 * math.pi / math.sqrt(12)) < 0.05
    saturation = AugmentPipe(saturation=1)(red)[:, :, 0, 0]
    assert abs((saturation[:, 0] - saturation[:, 1]).log2().std() - 1) < 0.03
    cutout = AugmentPipe(cutout=1)(torch.ones([400, 1, 40, 40]))
    # With its centre anywhere, half of the width covers 7/16 of the image on average.
    assert abs((cutout == 0).float().mean() - (7 / 16) ** 2) < 0.02


def test_random_numbers_are_drawn_in_pipeline_order(monkeypatch):
    drawn = []
    for op in (torch.rand, torch.randn, torch.randn_like):

        def spy(shape, op=op, **kwargs):
            drawn.append((op.__name__, list(getattr(shape, "shape", shape))))
            return op(shape, **kwargs)

        monkeypatch.setattr(torch, op.__name__, spy)
    AugmentPipe(**dict.fromkeys([*GEOMETRY, *COLOUR, *OTHER], 1))(torch.zeros([4, 3, 8, 8]))
    parameters = [
        *[("rand", [4]), ("rand", [4]), ("rand", [4, 2])],  # xflip, rotate90, xint
        *[("randn", [4]), ("rand", [4]), ("randn", [4])],  # scale, rotate, aniso
        *[("rand", [4]), ("randn", [4, 2])],  # rotate, xfrac
        *[("randn", [4]), ("randn", [4]), ("rand", [4])],  # brightness, contrast, lumaflip
        *[("rand", [4]), ("randn", [4])],  # hue, saturation
        *[("randn", [4])] * 4,  # imgfilter
        *[("randn", [4]), ("rand", [4, 2])],  # noise, cutout
    ]
    expected = [draw for parameter in parameters for draw in (parameter, ("rand", [4]))]
    expected.insert(-2, ("randn_like", [4, 3, 8, 8]))
    assert drawn == expected


def test_same_seed_gives_the_recorded_draws_of_the_loss():
    case = golden.load("loss.npz")["t32_aug/Gmain"]
    torch.manual_seed(0)
    x = torch.full([4, 3, 32, 32], 0.25)
    y = AugmentPipe(scale=1, brightness=1)(x)
    expected = 0.25 + 0.2 * case.arrays["draw02"]
    np.testing.assert_allclose(y[:, 1, 16, 16], expected, atol=1e-5)


@pytest.mark.parametrize("bounds", [(0, 5), (-3, 7), (-23, 31), (6, 9), (-9, -4)], ids=str)
@pytest.mark.parametrize("dim", [2, 3])
def test_mirror_reflects_any_distance(bounds, dim):
    x = torch.randn([1, 1, 5, 6])
    size, margin = x.shape[dim], 50
    index = np.pad(np.arange(size), margin, mode="reflect")[bounds[0] + margin : bounds[1] + margin]
    assert torch.equal(
        augment.mirror(x, dim, *bounds), x.index_select(dim, torch.from_numpy(index))
    )


def test_warp_by_whole_pixels_reads_the_mirrored_image_at_any_distance():
    x = torch.randn([4, 2, 7, 6], generator=torch.Generator().manual_seed(0))
    shifts = torch.tensor([[0.0, 0.0], [2.0, -1.0], [-9.0, 4.0], [31.0, 25.0]])
    y = augment.warp(x, augment.translation(*shifts.unbind(1)), AugmentPipe().Hz_geom)
    for got, image, (dx, dy) in zip(y, x[:, None], shifts.int().tolist(), strict=True):
        expected = augment.mirror(augment.mirror(image, 3, dx, dx + 6), 2, dy, dy + 7)[0]
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)


def test_second_order_gradients_exist():
    torch.manual_seed(0)
    pipe = AugmentPipe(**dict.fromkeys([*GEOMETRY, *COLOUR, "imgfilter", "cutout"], 1))
    x = torch.randn([1, 3, 4, 5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda x: pipe(x, 0.3).square(), [x], atol=1e-3, fast_mode=True
    )


def test_images_keep_their_dtype():
    pipe = AugmentPipe(**dict.fromkeys([*GEOMETRY, *COLOUR, *OTHER], 1))
    x = torch.rand([2, 3, 8, 8], dtype=torch.float64)
    assert pipe(x).dtype == torch.float64


def test_pickle_reopens_as_the_same_pipeline():
    pipe = AugmentPipe(scale=1, brightness=1, imgfilter=0.5)
    pipe.p.fill_(0.75)
    reopened = pickle.loads(pickle.dumps(pipe))
    assert set(reopened.state_dict()) == {"p", "Hz_geom", "Hz_fbank"}
    x = torch.rand([4, 3, 16, 16])
    torch.manual_seed(0)
    expected = pipe(x)
    torch.manual_seed(0)
    assert torch.equal(reopened(x), expected)


@pytest.mark.slow
def test_compiles_to_one_graph():
    pipe = AugmentPipe(**dict.fromkeys([*GEOMETRY, *COLOUR, *OTHER], 1))
    x = torch.randn([2, 3, 8, 8])
    torch.manual_seed(0)
    expected = pipe(x)
    torch.manual_seed(0)
    got = torch.compile(pipe, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(got, expected)


@pytest.mark.gpu
def test_nothing_waits_for_the_gpu():
    pipe = AugmentPipe(**dict.fromkeys([*GEOMETRY, *COLOUR, *OTHER], 1)).cuda()
    x = torch.randn([2, 3, 32, 32], device="cuda", requires_grad=True)
    pipe(x).sum().backward()  # builds kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        pipe(x).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("percentile", [0.1, 0.8])
def test_gpu_matches_cpu(percentile):
    pipe = AugmentPipe(**dict.fromkeys([*GEOMETRY, *COLOUR, "imgfilter", "cutout"], 1))
    x = torch.rand([2, 3, 32, 32]) * 2 - 1
    expected = pipe(x, percentile)
    got = pipe.cuda()(x.cuda(), percentile)
    torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 4])
def test_colour_refuses_other_than_gray_and_rgb(channels):
    with pytest.raises(ValueError, match=f"need 1 or 3 channels, got {channels}"):
        AugmentPipe(contrast=1)(torch.zeros([1, channels, 8, 8]))


def test_band_multipliers_must_be_four():
    with pytest.raises(ValueError, match="must have 4 values"):
        AugmentPipe(imgfilter_bands=[1, 1])
