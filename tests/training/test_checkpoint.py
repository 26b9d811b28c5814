"""Files with states of runs: whole or not at all, found again, few kept."""

import pickle
import random
import resource
import signal

import numpy as np
import pytest
import torch

from tests.training.states import small_state
from training import checkpoint, random_state

STATE = small_state(
    a=torch.arange(5000.0), b={"c": [1, 2.5, None, "text"], "d": (True, torch.zeros(2))}
)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_state_comes_back(tmp_path):
    path = checkpoint.save(tmp_path, STATE, cur_nimg=1234, keep=2)
    assert path.name == "training-state-000001234.pt"
    state = checkpoint.load(path)
    assert torch.equal(state["a"], STATE["a"])
    assert state["b"]["c"] == STATE["b"]["c"]
    assert torch.equal(state["b"]["d"][1], STATE["b"]["d"][1])


def test_only_the_newest_are_kept(tmp_path):
    (tmp_path / "log.txt").touch()
    for cur_nimg in (8, 16, 24, 999_999_999, 1_000_000_000):
        checkpoint.save(tmp_path, STATE, cur_nimg, keep=3)
    assert [path.name for path in checkpoint.states(tmp_path)] == [
        "training-state-1000000000.pt",
        "training-state-999999999.pt",
        "training-state-000000024.pt",
    ]
    assert (tmp_path / "log.txt").exists()


def test_state_that_was_just_saved_is_never_deleted(tmp_path):
    # A run that was continued from an older state has newer ones in its folder.
    for cur_nimg in (24, 32, 8):
        path = checkpoint.save(tmp_path, STATE, cur_nimg, keep=2)
    assert path.exists()


def test_states_of_an_abandoned_branch_are_kept_under_other_names(tmp_path):
    for cur_nimg in (8, 16, 24):
        checkpoint.save(tmp_path, small_state(branch=0), cur_nimg, keep=3)
    for cur_nimg in (12, 14):  # continued from 8
        checkpoint.save(tmp_path, small_state(branch=1), cur_nimg, keep=2)
    assert checkpoint.load_newest(tmp_path)[1]["branch"] == 1
    assert names(tmp_path) == [
        "training-state-000000012.pt",
        "training-state-000000014.pt",
        "training-state-000000016.pt.abandoned",
        "training-state-000000024.pt.abandoned",
    ]


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def empty(data: bytearray) -> None:
    data.clear()


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_damaged_state_falls_back_to_the_one_before(damage, tmp_path):
    older = checkpoint.save(tmp_path, STATE, 8, keep=2)
    newer = checkpoint.save(tmp_path, STATE, 16, keep=2)
    data = bytearray(newer.read_bytes())
    damage(data)
    newer.write_bytes(data)
    with pytest.warns(UserWarning, match="000000016.pt: .* damaged.*; trying the one before"):
        path, state = checkpoint.load_newest(tmp_path)
    assert path == older
    assert torch.equal(state["a"], STATE["a"])
    older.write_bytes(b"x")
    with (
        pytest.raises(ValueError, match="none of its 2 training states can be read"),
        pytest.warns(UserWarning),
    ):
        checkpoint.load_newest(tmp_path)


def test_folder_without_states_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no training state"):
        checkpoint.load_newest(tmp_path)


def test_state_cannot_carry_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = tmp_path / "training-state-000000001.pt"
    torch.save({"version": 1, "a": Hostile()}, path)
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path)
    assert not (tmp_path / "executed").exists()


def test_other_version_is_refused(tmp_path):
    path = tmp_path / "training-state-000000001.pt"
    torch.save({"version": 99}, path)
    with pytest.raises(ValueError, match="version 99 of the training state is not supported"):
        checkpoint.load(path)


@pytest.fixture
def small_files():
    """Keep files of this process from growing beyond 16 KB, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_leaves_the_old_states(tmp_path, request):
    checkpoint.save(tmp_path, small_state(a=1), 8, keep=1)
    request.getfixturevalue("small_files")
    with pytest.raises(OSError):
        checkpoint.save(tmp_path, STATE, 16, keep=1)
    assert names(tmp_path) == ["training-state-000000008.pt"]
    assert checkpoint.load_newest(tmp_path)[1]["a"] == 1


def test_random_generators_continue():
    random_state.seed_all(5)
    np.random.randn()  # has a second value in store
    state = random_state.capture(torch.device("cpu"))

    def draw():
        return random.random(), np.random.randn(), torch.randn(3).tolist()

    expected = draw()
    draw()
    random_state.restore(state, torch.device("cpu"))
    assert draw() == expected
