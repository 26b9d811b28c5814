"""Seeds to latents, bit for bit as the reference has them, and class labels."""

import numpy as np
import pytest
import torch

from tests import golden
from torch_utils import latents


@pytest.mark.parametrize("name", golden.case_names("gen.npz", "z_"))
def test_latents_match_reference(name):
    case = golden.load("gen.npz")[name]
    seeds, z_dim = case.meta["seeds"], case.meta["z_dim"]
    z = latents.z_from_seeds(seeds, z_dim)
    assert z.dtype == torch.float64
    np.testing.assert_array_equal(z.numpy(), case.arrays["z"])
    torch.testing.assert_close(latents.z_from_seed(seeds[1], z_dim), z[1:2], rtol=0, atol=0)


def test_no_seeds_give_an_empty_batch():
    assert latents.z_from_seeds([], 8).shape == (0, 8)


def test_label_is_one_hot():
    label = latents.label_from_class(2, 4, num=3)
    assert label.tolist() == [[0, 0, 1, 0]] * 3
    assert label.dtype == torch.float32


@pytest.mark.parametrize("class_idx", [None, 5])
def test_unconditional_networks_get_an_empty_label(class_idx):
    assert latents.label_from_class(class_idx, 0, num=2).shape == (2, 0)


@pytest.mark.parametrize(
    ("class_idx", "message"),
    [
        (None, "conditional: choose a --class from 0 to 3"),
        (4, "--class 4 does not exist"),
        (-1, "--class -1 does not"),
    ],
)
def test_missing_classes_are_refused(class_idx, message):
    with pytest.raises(ValueError, match=message):
        latents.label_from_class(class_idx, 4)


def test_make_transform_matches_reference():
    arrays = golden.load("gen.npz")["make_transform"].arrays
    for row, matrix, inverse in zip(
        arrays["inputs"], arrays["matrix"], arrays["inverse_used_by_generator"], strict=True
    ):
        got = latents.make_transform(tuple(row[:2]), row[2])
        np.testing.assert_allclose(got, matrix, atol=1e-12)
        np.testing.assert_allclose(np.linalg.inv(got), inverse, atol=1e-12)
