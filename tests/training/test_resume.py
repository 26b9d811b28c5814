"""Finding the run that `--resume` names, and its options when it is continued."""

import dataclasses
import os

import pytest

from tests.training.states import small_state
from training import checkpoint, resume
from training.config import TrainOptions

OPTIONS = TrainOptions(cfg="stylegan2", gpus=2, batch=8, gamma=1, metrics=("is50k",))
SAVED = {**dataclasses.asdict(OPTIONS), "metrics": ["is50k"]}


@pytest.fixture
def outdir(tmp_path):
    """Two runs with states, the first the newer one, and one without."""
    for i, name in enumerate(["00000-t-gpus1", "00001-r-gpus1", "00002-t-gpus1"]):
        (tmp_path / name).mkdir()
        if i < 2:
            path = checkpoint.save(
                tmp_path / name, small_state(options=SAVED, cur_nimg=i), 8, keep=2
            )
            os.utime(path, (1000 - i, 1000 - i))
    return tmp_path


def test_trust_comes_from_the_command_line_only():
    saved = {**SAVED, "allow_untrusted": True}
    assert not resume.combine(saved, {}).allow_untrusted
    assert resume.combine(saved, dict(allow_untrusted=True)).allow_untrusted


def test_latest_run_is_the_one_that_saved_last(outdir):
    assert resume.find("latest", outdir).run_dir.name == "00000-t-gpus1"
    assert resume.find_latest(outdir, "-r-gpus1").run_dir.name == "00001-r-gpus1"
    assert resume.find_latest(outdir, "-x") is None
    assert resume.find("latest", outdir / "nowhere") is None


def test_runs_and_states_are_found_by_their_paths(outdir):
    run = resume.find(str(outdir / "00001-r-gpus1"), outdir)
    assert (run.run_dir.name, run.state["cur_nimg"]) == ("00001-r-gpus1", 1)
    again = resume.find(str(run.state_path), outdir)
    assert (again.run_dir, again.state_path) == (run.run_dir, run.state_path)


def test_run_is_refreshed_and_stays_the_same_run(outdir):
    latest = resume.find("latest", outdir)
    assert resume.refresh(latest, "latest") is latest
    newer = checkpoint.save(latest.run_dir, small_state(options=SAVED, cur_nimg=5), 16, keep=2)
    checkpoint.save(
        outdir / "00001-r-gpus1", small_state(options=SAVED), 16, keep=2
    )  # now the latest
    for option in ("latest", str(latest.run_dir), None):
        again = resume.refresh(latest, option)
        assert (again.run_dir, again.state_path) == (latest.run_dir, newer)
        assert again.state["cur_nimg"] == 5
    assert resume.refresh(latest, str(latest.state_path)) is latest


def test_networks_are_no_runs(outdir):
    (outdir / "net.pkl").touch()
    for name in (str(outdir / "net.pkl"), "https://example.com/net.pkl", None):
        assert resume.find(name, outdir) is None


def test_folder_without_states_is_refused(outdir):
    with pytest.raises(ValueError, match="there is no training state"):
        resume.find(str(outdir / "00002-t-gpus1"), outdir)


def test_options_are_those_of_the_run_but_for_a_few():
    given = dict(gpus=4, kimg=7, gamma=2, metrics=(), resume="latest", data="x.zip", outdir="y")
    expected = dataclasses.replace(OPTIONS, gpus=4, kimg=7, gamma=2, metrics=())
    assert resume.combine(SAVED, given) == expected
    assert resume.combine(SAVED, dict(batch=8, cfg="stylegan2")) == OPTIONS  # say the same
    for name in resume.CHANGEABLE:
        assert hasattr(OPTIONS, name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(batch=16), "--batch=16: the run was started with --batch=8; leave the option out"),
        (dict(cfg="stylegan3-t"), "--cfg=stylegan3-t: the run was started with --cfg=stylegan2"),
        (dict(map_depth=3), "--map-depth=3: the run was started with --map-depth=None"),
        (dict(seed=1), "--seed=1"),
    ],
)
def test_options_that_make_another_run_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        resume.combine(SAVED, given)


def test_run_that_has_its_images_is_said_to_have_them():
    assert resume.nothing_to_train(5999, total_kimg=6) is None
    assert resume.nothing_to_train(6000, total_kimg=6) is not None
    line = resume.nothing_to_train(8040, total_kimg=6)
    assert "has seen 8.0 kimg already, and --kimg=6 asks for no more: nothing is trained" in line


def test_dataset_may_move_but_not_change():
    saved = dict(path="a.zip", max_size=5, resolution=8, use_labels=False, xflip=False)
    resume.check_training_set(saved, {**saved, "path": "b.zip"})
    for key, value in dict(max_size=6, resolution=16, use_labels=True, xflip=True).items():
        with pytest.raises(ValueError, match=f"--data: b.zip is not .*: its {key} is {value}"):
            resume.check_training_set(saved, {**saved, "path": "b.zip", key: value})
