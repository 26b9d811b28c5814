"""Damaged files load, or are refused in one line; `fuzz` does the same for as long as you like."""

import pytest

pytest.importorskip("resource")

from tests.network_files import fuzz, seeds

COUNT = 300


@pytest.mark.parametrize("name", seeds.all_seeds())
def test_seeds_load(victim, name):
    report = victim.load(seeds.all_seeds()[name])
    assert report.outcome == "loaded", report
    assert report.complaint(fuzz.MAX_SECONDS) is None


@pytest.mark.slow
def test_damaged_files_load_or_are_refused_in_one_line(victim):
    reports = [(number, victim.load(fuzz.mutant(number))) for number in range(COUNT)]
    complaints = {n: text for n, r in reports if (text := r.complaint(fuzz.MAX_SECONDS))}
    assert complaints == {}
    num_loaded = sum(report.outcome == "loaded" for _, report in reports)
    assert 0 < num_loaded < COUNT / 2  # else it is not the loader that is tested


def test_mutants_are_made_from_their_number():
    assert [fuzz.mutant(number) for number in range(20)] == [fuzz.mutant(n) for n in range(20)]
