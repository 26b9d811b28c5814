"""Metrics through the whole path of `calc_metrics.py --images`, beside the programs of others."""

import pytest
import torch

from benchmarks import metric_oracles

EXACT = ("kid50k_full", "dc50k5_full_density", "dc50k5_full_coverage")


@pytest.fixture(scope="module")
def rows() -> dict[str, metric_oracles.Row]:
    return {row.name: row for row in metric_oracles.compare(torch.device("cpu"))}


def test_every_value_has_an_oracle(rows):
    values = {"fid50k_full", "is50k_mean", "is50k_std", *EXACT}
    values |= {"pr50k3_full_precision", "pr50k3_full_recall"}
    assert values | {"the same, N - 1"} == set(rows)


def test_values_are_those_of_other_programs(rows):
    for name, row in rows.items():
        assert row.theirs > 0.01  # far from where all programs agree
        assert row.difference < (1e-12 if name in EXACT else 1e-6), row
