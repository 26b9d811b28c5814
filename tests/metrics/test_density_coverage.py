"""Density and coverage, against the formulas and against the authors' program."""

import numpy as np
import pytest
import torch
from prdc import compute_prdc

from metrics import density_coverage, neighbours
from metrics.metric_utils import MetricOptions
from tests.metrics.test_oracle import draw_features
from torch_utils.distributed import Worker

NHOOD = 5
SIZES = {"many": (300, 250, 64), "few": (60, 90, 32), "smallest": (7, 7, 3)}


def compute(real: np.ndarray, gen: np.ndarray, rows: int = 64, columns: int = 50):
    tensors = torch.from_numpy(real), torch.from_numpy(gen)
    opts = MetricOptions(worker=Worker())
    return density_coverage.compute_dc_of_features(opts, *tensors, NHOOD, rows, columns)


def by_formula(real: np.ndarray, gen: np.ndarray) -> tuple[float, float]:
    """Eq. 3 and 4 of the paper in float64, one pair after the other."""
    real, gen = real.astype(np.float64), gen.astype(np.float64)
    radii = [np.sort(np.linalg.norm(real - x, axis=1))[NHOOD] for x in real]
    inside = [[np.linalg.norm(y - x) < r for y in gen] for x, r in zip(real, radii, strict=True)]
    density = sum(map(sum, inside)) / (NHOOD * len(gen))
    return density, sum(map(any, inside)) / len(real)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_density_and_coverage_are_those_of_the_paper_and_of_its_authors(size):
    num_real, num_gen, dim = size
    real, gen = draw_features(num_real, dim, 0), draw_features(num_gen, dim, 1)
    got = compute(real, gen)
    assert got == pytest.approx(by_formula(real, gen), rel=1e-12)
    theirs = compute_prdc(real, gen, NHOOD)
    assert got == pytest.approx((theirs["density"], theirs["coverage"]), rel=1e-12)


def test_blocks_do_not_matter():
    real, gen = draw_features(90, 16, 0), draw_features(110, 16, 1)
    expected = compute(real, gen, 10000, 10000)
    assert 0 < expected[1] < 1
    for rows, columns in ((37, 23), (1, 1000), (90, 1)):
        assert compute(real, gen, rows, columns) == expected


def test_images_that_are_all_equal_cover_nothing():
    """A network that always draws the same image, beside real images that are all different."""
    real = draw_features(100, 16, 0)
    density, coverage = compute(real, np.repeat(real[:1], 80, axis=0))
    assert coverage < 0.2 and density > 0.2


def test_equal_sets_are_covered_and_equal_images_are_not():
    real = draw_features(100, 16, 0)
    density, coverage = compute(real, real)
    assert coverage == 1 and density == pytest.approx(1, rel=1e-12)
    same = np.ones([20, 4], np.float32)  # neighbourhoods without any inside
    assert compute(same, same) == (0, 0)


def test_too_few_real_images_are_refused():
    x = draw_features(5, 8, 0)
    with pytest.raises(ValueError, match="compare 5 neighbours of each real image: 5 real images"):
        compute(x, x)


def test_no_more_distances_than_a_block_are_in_memory(monkeypatch):
    sizes, original = [], neighbours.distances.pairwise

    def pairwise(x, y, center):
        sizes.append((len(x), len(y)))
        return original(x, y, center)

    monkeypatch.setattr(neighbours.distances, "pairwise", pairwise)
    compute(draw_features(70, 8, 0), draw_features(90, 8, 1), 30, 20)
    assert max(sizes) == (30, 20) and len(sizes) == 3 * (4 + 5)
    sizes.clear()
    monkeypatch.setattr(neighbours, "MAX_DISTANCES", 200)
    compute(draw_features(70, 8, 0), draw_features(90, 8, 1), 30, 20)
    assert set(sizes[:12]) == {(30, 6), (30, 4)} and (10, 20) in sizes
