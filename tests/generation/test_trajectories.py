"""Paths through styles: reference seeds, and the way through keyframes."""

import numpy as np

from generation import trajectories
from tests import golden


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
