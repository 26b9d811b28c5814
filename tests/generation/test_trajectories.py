"""Paths through styles: reference seeds, and the way through keyframes."""

import numpy as np
import pytest

from generation import tracks, trajectories
from tests import golden
from torch_utils import latents


def test_seeds_are_assigned_as_in_the_reference():
    cases = golden.load("gen.npz")
    for name in golden.case_names("gen.npz", "video_"):
        meta = cases[name].meta
        table = trajectories.assign_seeds(
            meta["seeds"], meta["grid_dims"], meta["num_keyframes_arg"], meta["shuffle_seed"]
        )
        np.testing.assert_array_equal(
            np.moveaxis(table, 0, 2).ravel(), cases[name].arrays["all_seeds"]
        )


def test_path_passes_through_keyframes_and_closes():
    keyframes = np.random.RandomState(0).randn(3, 1, 2, 1, 4).repeat(5, axis=3)  # equal layers
    path = trajectories.interpolate(keyframes, "cubic", wraps=2)
    np.testing.assert_allclose(path(np.arange(4))[[0, 1, 2]], keyframes, atol=1e-12)
    np.testing.assert_allclose(path(np.array([2.999999])), keyframes[:1], atol=1e-4)


def keyframes_of(*numbers: float) -> np.ndarray:
    """Keyframes with one number each, `[K, 1, 1, 1, 1]`."""
    return np.array(numbers, float).reshape(-1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("linear", [0, 2, 4, 6, 8, 6, 4, 2]),
        ("smooth", [0, 1.25, 4, 6.75, 8, 6.75, 4, 1.25]),  # 3 x^2 - 2 x^3
    ],
)
def test_straight_ways_between_keyframes(kind, values):
    path = trajectories.interpolate(keyframes_of(0, 8), kind, wraps=2)
    np.testing.assert_allclose(path(np.arange(8) / 4).ravel(), values)


def test_smooth_ways_rest_at_keyframes():
    path = trajectories.interpolate(keyframes_of(0, 8, -3), "smooth", wraps=2)
    steps = np.diff(path(np.array([0.999, 1, 1.001])).ravel())
    assert np.abs(steps).max() < 1e-4  # a straight way makes steps of 0.008


def test_spline_is_cubic():
    keyframes, t = keyframes_of(0, 8, -3), np.linspace(0, 3, 10)
    spline, cubic = (
        trajectories.interpolate(keyframes, kind, wraps=2)(t) for kind in ("spline", "cubic")
    )
    np.testing.assert_array_equal(spline, cubic)


def transforms_of(*moves: tuple[tuple[float, float], float]) -> np.ndarray:
    return np.stack([latents.make_transform(*move) for move in moves])[:, None, None]


def test_content_turns_along_the_shorter_way():
    """From 170 to -170 degrees through 180, and back the same way."""
    path = trajectories.interpolate_transforms(
        transforms_of(((0, 0), 170), ((0.4, 0.2), -170)), "linear", wraps=2
    )
    got = path(np.array([0, 0.25, 0.5, 1, 1.5]))[:, 0, 0]
    expected = transforms_of(
        ((0, 0), 170), ((0.1, 0.05), 175), ((0.2, 0.1), 180), ((0.4, 0.2), 190), ((0.2, 0.1), 180)
    )
    np.testing.assert_allclose(got, expected[:, 0, 0], atol=1e-12)


def test_content_that_turns_on_and_on_has_no_jump():
    """Three thirds of a turn: the path goes on after the last keyframe, not back."""
    thirds = transforms_of(((0, 0), 0), ((0, 0), 120), ((0, 0), 240))
    path = trajectories.interpolate_transforms(thirds, "spline", wraps=2)
    np.testing.assert_allclose(path(np.array([2.5]))[0], transforms_of(((0, 0), 300))[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "smooth", "spline"])
def test_content_that_turns_and_grows_keeps_its_shape(kind):
    """Between 1 and a half turn at 1.44, entry by entry, matrices pass through zero."""
    half_turn = latents.make_transform((0.4, 0), 180)
    half_turn[:2, :2] *= 1.44
    matrices = np.stack([np.eye(3), half_turn])[:, None, None]
    path = trajectories.interpolate_transforms(matrices, kind, wraps=2)
    np.testing.assert_allclose(path(np.arange(2)), matrices, atol=1e-12)
    got = path(np.array([0.5]))[0, 0, 0]
    np.testing.assert_allclose(got[:2, :2] @ got[:2, :2].T, 1.44 * np.eye(2), atol=1e-6)
    np.testing.assert_allclose(got[:, 2], [0.2, 0, 1], atol=1e-12)
    np.testing.assert_allclose(np.abs(got[0, 1]), 1.2, atol=1e-6)  # a quarter turn


def test_other_transforms_are_interpolated_entry_by_entry():
    matrices = np.stack([np.diag([1.0, 1, 1]), np.diag([3.0, 2, 1])])[:, None, None]
    path = trajectories.interpolate_transforms(matrices, "linear", wraps=2)
    np.testing.assert_allclose(path(np.array([0.5]))[0, 0, 0], np.diag([2, 1.5, 1]))


def test_truncation_follows_its_track():
    average, full = (
        trajectories.interpolate(keyframes_of(*numbers), "linear", wraps=2)
        for numbers in ((2, 2), (4, 8))
    )
    path = trajectories.truncate(average, full, tracks.parse("0..1"), num_keyframes=2)
    got = path(np.array([0, 0.5, 1, 1.5])).ravel()
    np.testing.assert_allclose(got, [2, 2 + 0.25 * 4, 2 + 0.5 * 6, 2 + 0.75 * 4])


def test_classes_are_blended_without_those_in_between():
    asked = []

    def path_of(idx):
        asked.append(idx)
        return trajectories.interpolate(keyframes_of(10 * idx, 10 * idx), "linear", wraps=2)

    path = trajectories.blend_classes(path_of, tracks.parse("0:1,0.5:5,1:1", int), 2)
    assert asked == [1, 5]
    np.testing.assert_allclose(path(np.array([0, 0.5, 1, 1.5])).ravel(), [10, 30, 50, 30])


def test_directions_add_up():
    path = trajectories.interpolate(keyframes_of(1, 1), "linear", wraps=2)
    offsets = [
        (np.array([[10.0]]), tracks.parse("0..1")),
        (np.array([[100.0]]), tracks.constant(2)),
    ]
    moved = trajectories.move_along(path, offsets, 2)
    np.testing.assert_allclose(moved(np.array([0, 1])).ravel(), [201, 206])
