"""Dragging: the two equations, what is refused, and points of the networks in the box."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from dnnlib.errors import InputError
from editing import dragging
from editing.dragging import Dragging, DragSettings, drag
from editing.middle_features import MiddleFeatures
from generation.images import map_seeds
from network_files.load import load_network
from tests.editing.test_middle_features import (
    KINDS,
    features_with_margins,
    interpolate_slowly,
    network,
    styles,
)
from torch_utils import latents

MAX_CHANGE = 0.1  # of the masked rest: mean over its pixels and colours, which go from -1 to 1
RADIUS = 8.5  # pixels around the way of a point that may change


def at_slowly(features: MiddleFeatures, x: float, y: float) -> np.ndarray:
    return interpolate_slowly(features.x[0].double().detach().numpy(), x / 4 + 3, y / 4 + 2)


POINTS, TARGETS = [(9.0, 21.5), (14.2, 3.0)], [(13.0, 18.5), (14.2, 3.5)]


def test_motion_supervision_is_equation_1():
    features, patch = features_with_margins(), dragging.square(1.5)
    total = 0.0
    for (x, y), (to_x, to_y) in zip(POINTS, TARGETS, strict=True):
        length = max(math.hypot(to_x - x, to_y - y), 1)
        d_x, d_y = (to_x - x) / length, (to_y - y) / length
        differences = []
        for i in np.arange(-1.5, 1.6, 0.5):
            for j in np.arange(-1.5, 1.6, 0.5):
                here = at_slowly(features, x + j, y + i)
                there = at_slowly(features, x + j + d_x, y + i + d_y)
                differences.append(np.abs(here - there).mean())
        total += np.mean(differences)
    points, targets = torch.tensor(POINTS), torch.tensor(TARGETS)
    loss = dragging.motion_supervision(features, points, targets, patch)
    assert loss.item() == pytest.approx(total, rel=1e-4)


def test_motion_supervision_pulls_only_what_lies_towards_the_target():
    features = features_with_margins()
    features.x.requires_grad_()
    points, targets = torch.tensor([[8.0, 16.0]]), torch.tensor([[30.0, 16.0]])
    # Pixel centres of these features are at 2, 6, 10, ...: the point at 8 aims at 9.
    dragging.motion_supervision(features, points, targets, torch.zeros([1, 2])).backward()
    changed = features.x.grad.abs().sum(dim=(0, 1)).nonzero()
    assert changed.tolist() == [[5, 4], [5, 5], [6, 4], [6, 5]]
    x = features.x.detach()[0].double()
    sign = torch.sign(x[:, 5:7, 5].mean(dim=1) - x[:, 5:7, 4].mean(dim=1))
    # The weight of the pixel at 10 is 3/4 in x, and 1/2 in y; the loss averages over 5 channels.
    torch.testing.assert_close(
        features.x.grad[0, :, 5, 5].double(), sign * (3 / 4 / 2 / 5), rtol=1e-5, atol=0
    )


def test_masked_change_is_the_rest_of_equation_1():
    start, features = features_with_margins(), features_with_margins()
    features = dataclasses.replace(features, x=features.x + torch.randn_like(features.x))
    outside = torch.rand([12, 14])
    total = 0.0
    for row in range(12):
        for col in range(14):
            change = (features.x - start.x)[0, :, row, col].abs().mean()
            total += float(change * outside[row, col])
    found = dragging.masked_change(features, start, outside)
    assert found.item() == pytest.approx(total / float(outside.sum()), rel=1e-4)


def test_tracking_is_equation_2():
    features = features_with_margins()
    wanted = torch.from_numpy(np.random.RandomState(1).randn(2, 5)).float()
    found = dragging.track(features, wanted, torch.tensor(POINTS), dragging.square(3))
    for (x, y), f, point in zip(POINTS, wanted.numpy(), found.tolist(), strict=True):
        best, expected = math.inf, None
        for i in np.arange(-3, 3.1, 0.5):
            for j in np.arange(-3, 3.1, 0.5):
                q = max(x + j, 0), max(y + i, 0)
                distance = np.abs(at_slowly(features, *q) - f).sum()
                if distance < best:
                    best, expected = distance, q
        assert point == pytest.approx(expected, abs=1e-5)


def test_tracked_points_stay_in_the_image():
    features = features_with_margins()
    far = features.at(torch.tensor([[36.0, -4.0]]))
    found = dragging.track(features, far, torch.tensor([[31.5, 0.5]]), dragging.square(9))
    assert (found >= 0).all() and (found <= 32).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_drag_changes_the_first_styles_and_nothing_else(kind):
    G = network(kind).requires_grad_(False)
    next(G.synthesis.parameters()).requires_grad_()
    needs_grad = [p.requires_grad for p in G.parameters()]
    before = {name: value.clone() for name, value in G.state_dict().items()}
    ws = styles(G)
    with torch.no_grad():
        runs = [drag(G, ws, [(6, 7)], [(12, 9)], max_steps=3) for _ in range(2)]
        assert not torch.is_grad_enabled()
    assert torch.equal(runs[0].ws, runs[1].ws) and runs[0] == dataclasses.replace(
        runs[1], ws=runs[0].ws
    )
    ws_after = runs[0].ws
    assert ws_after.shape == ws.shape and not ws_after.requires_grad
    num = math.ceil(G.num_ws / 2)
    assert torch.equal(ws_after[:, num:], ws[:, num:])
    assert (ws_after[:, :num] != ws[:, :num]).any()
    for name, value in G.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [p.requires_grad for p in G.parameters()] == needs_grad
    assert all(p.grad is None for p in G.parameters())


def test_a_drag_starts_in_inference_mode_and_with_a_transform():
    G = network("t")
    with torch.inference_mode():
        ws = styles(G)
        plain = drag(G, ws[0], [(6, 7)], [(12, 9)], max_steps=2)
        matrix = latents.make_transform((0.25, 0), 0)
        moved = drag(G, ws, [(10, 7)], [(14, 9)], max_steps=2, transform=matrix)
    assert plain.num_steps == moved.num_steps == 2
    assert not torch.equal(plain.ws, moved.ws)
    assert torch.equal(G.synthesis.input.transform, torch.eye(3))


def test_steps_are_counted_and_reported():
    G = network("sg2")
    states = []
    state = drag(G, styles(G), [(6, 7)], [(12, 9)], max_steps=3, on_step=states.append)
    assert [s.num_steps for s in states] == [1, 2, 3] and states[-1] is state
    (x, y), (distance,) = state.points[0], state.distances
    assert distance == pytest.approx(math.hypot(12 - x, 9 - y), abs=1e-5)
    later = Dragging(G, state.ws, state.points, [(12, 9)], num_steps_done=3)
    assert later.state.num_steps == 3 and torch.equal(later.state.ws, state.ws)
    assert later.step().num_steps == 4


def test_points_that_have_arrived_end_the_drag():
    G = network("sg2")
    state = drag(G, styles(G), [(6, 7), (3, 3)], [(6.9, 7), (3, 3)])
    assert state.is_done and state.num_steps == 0
    assert not Dragging(G, styles(G), [(6, 7), (3, 3)], [(6, 7), (3, 5)]).state.is_done


def test_a_mask_keeps_features_outside():
    G = network("sg2")
    mask = np.zeros([16, 16], bool)
    mask[4:11, 2:14] = True
    changes = []
    for weight in (0, 10):
        settings = DragSettings(mask_weight=weight)
        dragged = Dragging(
            G, styles(G), [(6, 7)], [(12, 9)], mask=torch.from_numpy(mask), settings=settings
        )
        # The features of this layer have the size of the image: the mask is theirs.
        torch.testing.assert_close(dragged.outside, torch.from_numpy(~mask).float())
        for _ in range(10):
            dragged.step()
        changes.append(
            dragging.masked_change(dragged._features(), dragged.start, dragged.outside).item()
        )
    assert changes[1] < 0.5 * changes[0]


def test_margins_are_not_masked():
    G = network("t")
    mask = np.ones([16, 16], bool)
    assert Dragging(G, styles(G), [(6, 7)], [(12, 9)], mask=mask).outside is None
    mask[:, :8] = False
    outside = Dragging(G, styles(G), [(12, 7)], [(12, 9)], mask=mask).outside
    assert outside.shape == (36, 36) and outside.sum() == 16 * 8
    assert (outside[10:26, 10:18] == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(points=[], targets=[]), "0 points and 0 targets"),
        (dict(targets=[(1, 2), (3, 4)]), "1 points and 2 targets"),
        (dict(points=[(16.5, 3)]), r"point \(16.5, 3\) is not in the image, which is 16 pixels"),
        (dict(targets=[(3, math.nan)]), r"target \(3, nan\) is not in the image"),
        (dict(ws=torch.zeros([1, 3, 8])), r"shape \[1, 3, 8\], but this network takes \[N, 6, 8\]"),
        (dict(ws=torch.zeros([2, 6, 8])), "styles of 2 images"),
        (dict(ws=torch.full([6, 8], math.nan)), "NaN or infinite"),
        (dict(mask=np.ones([8, 16], bool)), r"bool \[8, 16\], but must be bool \[16, 16\]"),
        (dict(mask=np.ones([16, 16])), r"float64 \[16, 16\], but must be bool"),
        (dict(mask=np.zeros([16, 16], bool)), "False everywhere"),
        (dict(mask=np.eye(16, dtype=bool)), r"does not let the point \(6, 7\) change"),
        (dict(noise_mode="random"), "noise_mode 'random' does not suit a drag"),
        (dict(transform=np.diag([-1.0, -1.0, 1.0])), "no input transform"),
        (dict(settings=DragSettings(num_layers=7)), "choose from 1 to 6"),
        (dict(settings=DragSettings(feature_layer="b64")), "no layer b64"),
        (dict(settings=DragSettings(tracking_radius=0)), "must be positive"),
        (dict(settings=DragSettings(mask_weight=-1)), "mask_weight -1 must not be negative"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    G = network("sg2")
    arguments = dict(ws=styles(G), points=[(6, 7)], targets=[(12, 9)])
    with pytest.raises(InputError, match=message):
        Dragging(G, **{**arguments, **change})


def test_a_damaged_network_is_named():
    G = network("sg2")
    G.synthesis.b4.const.data[0, 0, 0] = math.nan
    with pytest.raises(InputError, match="the network is damaged, or the learning rate too high"):
        drag(G, styles(G), [(6, 7)], [(12, 9)])


def outline(shape: np.ndarray, centre: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The outermost position of a shape `[H, W]` along a ray from a centre."""
    radii = np.arange(0, 20, 0.1)
    x, y = (centre + radii[:, None] * direction).T
    inside = ndimage.map_coordinates(shape.astype(float), [y - 0.5, x - 0.5], order=1) > 0.5
    return centre + radii[inside.nonzero()[0].max()] * direction


def is_bright_shape(img: np.ndarray) -> np.ndarray:
    """Where a drawing of `shapes-t` has its shape: it is red, the background is not."""
    return img[0] > 0


def is_not_white(img: np.ndarray) -> np.ndarray:
    """Where a picture of `faces-stylegan2` has its person, before a white background."""
    return img.min(axis=0) < 0.5


@pytest.mark.parametrize(
    ("name", "seed", "class_idx", "angle", "pixels"),
    [
        ("shapes-t", 0, 0, 198, 4),
        ("shapes-t", 3, 0, 198, -4),
        ("faces-stylegan2", 7, None, -138, -4),
        ("faces-stylegan2", 1, None, -128, -4),
    ],
)
def test_the_outline_of_a_shape_follows_a_drag(name, seed, class_idx, angle, pixels):
    G = load_network(f"pretrained:{name}")["G_ema"]
    shape_of = is_bright_shape if name == "shapes-t" else is_not_white

    def draw(ws: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return G.synthesis(ws, noise_mode="const")[0].clamp(-1, 1).numpy()

    ws = map_seeds(G, [seed], class_idx)
    before = draw(ws)
    direction = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    centre = np.array(ndimage.center_of_mass(shape_of(before)))[::-1] + 0.5
    point = outline(shape_of(before), centre, direction)
    target = point + pixels * direction
    x, y = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5)
    middle = (point + target) / 2
    mask = np.hypot(x - middle[0], y - middle[1]) < RADIUS
    state = drag(G, ws, [tuple(point)], [tuple(target)], mask=mask, max_steps=50)
    after = draw(state.ws)
    # The drag's own tracking does not judge it: the outline in the picture does.
    assert np.linalg.norm(outline(shape_of(after), centre, direction) - target) < 2
    assert np.abs(after - before).mean(axis=0)[~mask].mean() < MAX_CHANGE
