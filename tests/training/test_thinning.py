"""Old snapshots are deleted: the ages of those that stay grow by a constant factor."""

import errno
import itertools
from pathlib import Path

import pytest

from training import checkpoint
from training.run_dirs import network_path
from training.thinning import KeptSnapshots, surplus


def grow(keep: int, num: int, wanted=()) -> list[int]:
    """What is left of a run that has taken snapshots every kimg from 0 to `num`."""
    left: list[int] = []
    for kimg in range(num + 1):
        left.append(kimg)
        for old in surplus(left, keep, wanted):
            left.remove(old)
    return left


@pytest.mark.parametrize(
    ("keep", "num", "wanted", "left"),
    [
        (3, 2, [], [0, 1, 2]),
        (3, 3, [], [1, 2, 3]),  # the network without training goes first
        (1, 9, [], [9]),
        (1, 9, [4], [4, 9]),  # too many are wanted
        (2, 9, [4], [4, 9]),
        (3, 9, [0, 4, 5], [0, 4, 5, 9]),
        (5, 20, [], [8, 15, 18, 19, 20]),
        (8, 125, [], [64, 96, 112, 120, 122, 123, 124, 125]),
        (8, 125, [50], [50, 98, 113, 118, 121, 123, 124, 125]),
    ],
)
def test_old_snapshots_are_thinned_more_than_new_ones(keep, num, wanted, left):
    assert grow(keep, num, wanted) == left


def test_gaps_grow_with_age():
    left = grow(keep=10, num=1000)
    gaps = [after - before for before, after in itertools.pairwise(left)]
    assert len(left) == 10 and left[-1] == 1000
    assert all(older >= newer for older, newer in itertools.pairwise(gaps))
    assert gaps[-1] == 1 and gaps[0] > 100


def test_deletion_that_was_interrupted_goes_on_as_it_would_have():
    kimg = list(range(0, 300, 3))
    chosen = surplus(kimg, 6, [30])
    for num_done in range(len(chosen)):
        left = [number for number in kimg if number not in chosen[:num_done]]
        assert surplus(left, 6, [30]) == chosen[num_done:]


def make_snapshots(folder, kimg) -> None:
    for number in kimg:
        network_path(folder, number * 1000).write_text("")


def names(folder) -> list[int]:
    return sorted(int(path.stem[-6:]) for path in folder.glob("network-snapshot-??????.pkl"))


def test_files_that_the_run_did_not_write_stay(tmp_path, capsys):
    make_snapshots(tmp_path, [2, 4, 5, 6, 8, 10])
    others = ["network-best.pkl", "network-snapshot-000007-copy.pkl", "fakes000004.png"]
    for name in others:
        (tmp_path / name).write_text("")
    kept = KeptSnapshots(tmp_path, keep=2)
    kept.load([2, 3, 4, 6, 8])  # 5 is of the user, 3 was deleted before
    kept.add(10_000)
    kept.note_others()
    kept.delete_surplus(lambda oldest: [4000])
    assert kept.kimg == [4, 10]
    assert names(tmp_path) == [4, 5, 10]
    assert all((tmp_path / name).exists() for name in others)
    out = capsys.readouterr().out
    assert "Note: --keep-snapshots leaves alone 2 network snapshots in the folder" in out
    assert (
        f"Deleted {network_path(tmp_path, 2000).name}, " in out and "(--keep-snapshots=2)." in out
    )


def test_all_stay_without_the_option(tmp_path, capsys):
    make_snapshots(tmp_path, range(20))
    kept = KeptSnapshots(tmp_path, keep=0)
    kept.load(range(20))
    kept.note_others()
    kept.delete_surplus(lambda oldest: [])
    assert names(tmp_path) == list(range(20)) and capsys.readouterr().out == ""


def test_snapshots_that_older_states_need_stay(tmp_path):
    make_snapshots(tmp_path, range(6))
    for nimg in (3000, 4000):
        checkpoint.path_of(tmp_path, nimg).write_text("")
    kept = KeptSnapshots(tmp_path, keep=1)
    kept.load(range(6))
    asked = []
    kept.delete_surplus(lambda oldest: asked.append(oldest) or [1000, 2000])
    assert asked == [3000] and kept.kimg == [1, 2, 5]


def test_vanished_folder_is_said_and_raises_nothing(tmp_path, capsys):
    kept = KeptSnapshots(tmp_path / "gone", keep=1)
    kept.add(1000)
    kept.add(2000)
    kept.delete_surplus(lambda oldest: [])
    assert "Warning: no old snapshot was deleted: " in capsys.readouterr().out
    assert kept.kimg == [1, 2]


def test_snapshot_that_cannot_be_deleted_is_tried_again(tmp_path, capsys, monkeypatch):
    make_snapshots(tmp_path, range(3))
    kept = KeptSnapshots(tmp_path, keep=1)
    kept.load(range(3))

    def fail(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", "x.pkl")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fail)
        kept.delete_surplus(lambda oldest: [])
    assert "Warning: network-snapshot-000000.pkl was not deleted: " in capsys.readouterr().out
    kept.delete_surplus(lambda oldest: [])
    assert kept.kimg == [2] and names(tmp_path) == [2]
