"""CMMD: the estimate beside its formula, written out in NumPy."""

import numpy as np
import pytest
import torch

from metrics import clip_mmd


def embeddings(num: int, seed: int, spread: float = 0.3) -> np.ndarray:
    """Vectors of length 1 around a common direction, float32 `[num, 24]`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=[num, 24]) * spread + rng.normal(size=24)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def oracle(x: np.ndarray, y: np.ndarray, sigma: float = 10) -> float:
    """Means of kernel values over all pairs, from differences in long double."""

    def mean(a, b):
        squares = np.square(a.astype(np.longdouble)[:, None] - b.astype(np.longdouble)).sum(axis=2)
        return np.exp(-squares / (2 * sigma**2)).mean()

    return float(mean(x, x) + mean(y, y) - 2 * mean(x, y))


@pytest.mark.parametrize("sigma", [10, 0.5])
@pytest.mark.parametrize("block_size", [4096, 32, 7])
def test_value_is_that_of_the_formula(monkeypatch, block_size, sigma):
    monkeypatch.setattr(clip_mmd, "BLOCK_SIZE", block_size)
    x, y = embeddings(60, seed=0), embeddings(45, seed=1)
    value = clip_mmd.squared_mmd(torch.from_numpy(x), torch.from_numpy(y), sigma)
    assert value == pytest.approx(oracle(x, y, sigma), rel=1e-11)


def test_small_values_keep_their_digits():
    """In float32, kernel values near 1 have seven digits, and the result would have none."""
    x = embeddings(80, seed=0, spread=1e-3)
    y = x.copy()
    y[:3] = embeddings(3, seed=2, spread=1e-3)
    value = clip_mmd.squared_mmd(torch.from_numpy(x), torch.from_numpy(y))
    expected = oracle(x, y)
    assert 0 < expected < 1e-4
    assert value == pytest.approx(expected, rel=1e-9)


def test_equal_sets_have_no_distance_in_any_order():
    x = torch.from_numpy(embeddings(50, seed=0))
    assert clip_mmd.squared_mmd(x, x.clone()) == pytest.approx(0, abs=1e-16)
    assert clip_mmd.squared_mmd(x, x.flip(0)) == pytest.approx(0, abs=1e-16)


def test_pairs_of_an_image_with_itself_count():
    """Two images each: the biased estimate, worked out by hand."""
    x, y = torch.eye(4)[:2], torch.eye(4)[2:]
    apart = np.exp(-2 / 200)  # of two directions at a right angle
    assert clip_mmd.squared_mmd(x, y) == pytest.approx((1 + apart) - 2 * apart, rel=1e-12)
