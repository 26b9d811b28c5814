"""viz.browse: which network a folder stands for."""

import os

import pytest

from viz import browse


@pytest.fixture
def runs(tmp_path):
    for age, name in enumerate(["00001-b/network-snapshot-000002.pkl", "00000-a/old.pkl"]):
        path = tmp_path / "runs" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        for changed in (path, path.parent):
            os.utime(changed, (1e9 - age, 1e9 - age))
    return tmp_path / "runs"


def test_a_folder_stands_for_its_newest_network(runs):
    newest = runs / "00001-b" / "network-snapshot-000002.pkl"
    assert browse.resolve(str(runs)) == str(newest)
    assert browse.resolve(str(newest.parent)) == str(newest)
    assert browse.resolve(str(runs / "00000-a")) == str(runs / "00000-a" / "old.pkl")


@pytest.mark.parametrize(
    "network",
    ["net.pkl", "https://example.com/net.pkl", "~nobody-of-this-name/net.pkl", "a\0b", "x" * 5000],
)
def test_what_is_no_folder_stays_as_it_is(network):
    assert browse.resolve(network) == network


def test_a_folder_without_networks_stays_as_it_is(tmp_path):
    assert browse.resolve(str(tmp_path)) == str(tmp_path)


def test_a_home_folder_is_found(runs, monkeypatch):
    monkeypatch.setenv("HOME", str(runs.parent))
    assert browse.resolve("~/runs/00000-a") == str(runs / "00000-a" / "old.pkl")


def test_runs_are_listed_newest_first(runs, tmp_path):
    names = [path.name for path in browse.newest_of_runs([runs, tmp_path / "none"], 8)]
    assert names == ["network-snapshot-000002.pkl", "old.pkl"]
    assert len(browse.newest_of_runs([runs], 1)) == 1
