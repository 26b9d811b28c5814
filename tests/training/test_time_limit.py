"""A run with a time limit stops early enough, gets on in every session, and loses nothing."""

import dataclasses
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.training.real_runs import COMMAND, PROJECT
from tests.training.test_continuation import assert_same_state, make_run, make_trainer
from tests.training.test_faults import finish
from torch_utils import distributed
from training import checkpoint, time_limit
from training.snapshot import METRICS, NETWORKS, SHEET
from training.time_limit import STATE, TimeLimit
from training.training_loop import Ending


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless a test sets it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: clock.now)
    return clock


def test_work_that_was_measured_must_fit_before_the_limit(clock):
    limit = TimeLimit(minutes=60, age_sec=100)
    with limit.measuring(STATE):
        clock.now += 20
    with limit.measuring("metrics"):
        clock.now += 600
    assert limit.durations == {STATE: 20, "metrics": 600}
    left = 3600 - 100 - 620
    needed = 1.5 * (600 + 20) + 10
    clock.now += left - needed
    assert limit.is_time_for("metrics")
    clock.now += 0.1
    assert not limit.is_time_for("metrics") and limit.is_time_for("of unknown duration")
    clock.now += 900
    assert not limit.is_time_for()


def test_time_for_the_last_uploads_is_left(clock):
    limit = TimeLimit(minutes=60, closing_sec=35)
    clock.now += 3600 - 10 - 35
    assert limit.is_time_for()
    clock.now += 0.1
    assert not limit.is_time_for()


def test_longest_of_the_recent_steps_counts_but_not_the_first(clock):
    limit = TimeLimit(minutes=10)
    for seconds in (300, 2, 20, 1):
        with limit.measuring_step():
            clock.now += seconds
    clock.now += 600 - 323 - 10 - 30 - 2
    assert limit.is_time_for_step(delay_sec=2)
    assert not limit.is_time_for_step(delay_sec=3)


def test_session_that_begins_with_the_work_has_more_time(clock):
    limit = TimeLimit(minutes=10, age_sec=60)
    limit.finish_setup()
    limit.durations["short"], limit.durations["long"] = 300, 400
    clock.now += 300
    assert not limit.is_time_for("short") and limit.fits_into_a_session("short")
    assert not limit.fits_into_a_session("long")


def test_restart_by_torchrun_costs_the_next_session_nothing(clock, monkeypatch):
    limit = TimeLimit(minutes=170, age_sec=100 * 60)
    limit.durations["metrics"] = 55 * 60
    limit.finish_setup()
    assert not limit.fits_into_a_session("metrics")
    monkeypatch.setattr(distributed, "is_torchrun", lambda: True)
    limit.finish_setup()  # this process has just begun, and its `torchrun` 100 minutes ago
    assert limit.fits_into_a_session("metrics")


def test_there_is_always_time_without_a_limit(clock):
    limit = TimeLimit(minutes=0, age_sec=1e9)
    limit.durations["long"] = 1e9
    assert not limit.is_set
    assert limit.is_time_for("long") and limit.is_time_for_step(0) and limit.fits_into_a_session()


def test_work_that_fails_is_not_measured(clock):
    limit = TimeLimit(minutes=1)
    with pytest.raises(OSError), limit.measuring(STATE):
        raise OSError
    assert limit.durations == {}


@pytest.mark.parametrize(("failed_sec", "expected"), [(0.1, 1200), (1500, 1500)])
def test_failure_within_the_work_never_shortens_its_duration(failed_sec, expected, clock):
    limit = TimeLimit(minutes=60)
    with limit.measuring("metrics"):
        clock.now += 1200
    with limit.measuring("metrics") as attempt:
        clock.now += failed_sec
        attempt.is_complete = False
    assert limit.durations["metrics"] == pytest.approx(expected)


def test_parts_of_a_snapshot_that_fail_at_once_keep_their_durations(tmp_path, monkeypatch, capsys):
    limit = TimeLimit(minutes=600)
    _, trainer, _ = make_limited(tmp_path, limit, monkeypatch)

    def fail(*_args):
        raise OSError("No space left on device")

    def save(*parts):
        limit.durations.update(dict.fromkeys([SHEET, NETWORKS, "metrics fid50k_full"], 1000.0))
        trainer.snapshots.missing = list(parts)
        trainer.snapshots.save(8, is_last=False)

    trainer.snapshots.metrics.has_failed = True
    save(METRICS)
    assert limit.durations["metrics fid50k_full"] == 1000
    trainer.snapshots.metrics.has_failed = False
    save(METRICS)
    assert limit.durations["metrics fid50k_full"] < 1000
    monkeypatch.setattr(trainer.snapshots, "save_sheet", fail)
    monkeypatch.setattr(trainer.snapshots, "save_networks", fail)
    save(SHEET, NETWORKS)
    trainer.close()
    assert capsys.readouterr().out.count("was not saved, and training goes on") == 2
    assert limit.durations[SHEET] == limit.durations[NETWORKS] == 1000


def test_session_starts_with_this_process():
    code = "from training import time_limit; import time; print(time.time() - x)"
    code = code.replace("x", "time_limit.session_start()")
    started = time.time()
    process = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True)
    assert 0 < float(process.stdout) < time.time() - started + 1  # the kernel counts whole seconds


def make_limited(tmp_path, limit: TimeLimit, monkeypatch, state=None):
    """A trainer whose second snapshot is evaluated; what it evaluates, and with which limit."""
    config = dataclasses.replace(
        make_run(tmp_path / "run", "stylegan2") if state is None else state[0],
        max_minutes=limit.minutes,
        network_snapshot_ticks=1,
        image_snapshot_ticks=1,
        kimg_per_tick=0,
    )
    trainer = make_trainer(config, state=None if state is None else state[1])
    trainer.limit = trainer.snapshots.limit = limit
    evaluated = []
    trainer.snapshots.metrics.names = ["fid50k_full"]
    trainer.snapshots.metrics.evaluate = lambda G, path: evaluated.append(path) or {}
    monkeypatch.setattr(trainer.sheet, "save_fakes", lambda G, path: path.touch())
    return config, trainer, evaluated


@pytest.mark.parametrize(
    ("durations", "missing"),
    [
        ({NETWORKS: 2000.0}, [SHEET, NETWORKS, METRICS]),
        ({"metrics fid50k_full": 2000.0}, [METRICS]),
    ],
)
def test_snapshot_without_time_for_it_is_left_to_the_next_session(
    durations, missing, tmp_path, monkeypatch, capsys
):
    limit = TimeLimit(minutes=60, age_sec=0)
    config, trainer, evaluated = make_limited(tmp_path, limit, monkeypatch)
    trainer.tick = 1  # the first is not evaluated
    limit._started -= 1800  # after a short setup
    monkeypatch.setattr(limit, "finish_setup", lambda: None)
    limit.durations.update(durations)
    assert trainer.train() == Ending.TIME
    trainer.close()
    assert trainer.snapshots.missing == missing and evaluated == []
    out = capsys.readouterr().out
    assert "Stopped at 0.0 kimg by --max-minutes=60. Continue with: python train.py" in out
    (path,) = checkpoint.states(tmp_path / "run")
    state = checkpoint.load(path)
    assert state["missing"] == [SHEET, NETWORKS, METRICS]
    assert (NETWORKS in missing) != trainer.snapshots.network_path(8).exists()

    limit = TimeLimit(minutes=60)
    config, trainer, evaluated = make_limited(tmp_path, limit, monkeypatch, (config, state))
    limit.durations.update(durations)
    trainer.snapshots.catch_up(trainer.cur_nimg, is_last=False)
    trainer.close()
    assert trainer.snapshots.missing == [] and len(evaluated) == 1


def test_metrics_of_unknown_duration_are_left_to_the_next_session(tmp_path, monkeypatch):
    limit = TimeLimit(minutes=60)
    _, trainer, evaluated = make_limited(tmp_path, limit, monkeypatch)
    trainer.snapshots.missing = [METRICS]
    limit.durations[STATE] = 4000.0  # more than a session has
    trainer.snapshots._save(8, is_last=False)
    trainer.close()
    assert trainer.snapshots.missing == [METRICS] and evaluated == []


def test_metrics_that_fit_into_no_session_are_left_out(tmp_path, monkeypatch, capsys):
    limit = TimeLimit(minutes=60)
    _, trainer, evaluated = make_limited(tmp_path, limit, monkeypatch)
    trainer.snapshots.missing = [NETWORKS, METRICS]
    limit.durations["metrics fid50k_full"] = 4000.0
    trainer.snapshots.save(8, is_last=False)
    trainer.close()
    assert trainer.snapshots.missing == [] and evaluated == []
    warning = "Warning: --max-minutes=60 leaves no time for the metrics, which took 1h 06m 40s; "
    assert warning in capsys.readouterr().out
    assert trainer.snapshots.network_path(8).exists()


def test_session_that_only_writes_the_last_snapshot_says_done(tmp_path, monkeypatch, capsys):
    _, trainer, evaluated = make_limited(tmp_path, TimeLimit(), monkeypatch)
    trainer.cur_nimg = trainer.config.total_kimg * 1000
    trainer.snapshots.missing = [SHEET, NETWORKS, METRICS]
    assert trainer.train() == Ending.COMPLETE
    trainer.close()
    out = capsys.readouterr().out
    assert len(evaluated) == 1 and "Done." in out and "nothing is trained" not in out


def sessions(start, outdir, *options: str, num: int, script=PROJECT / "train.py") -> list[str]:
    """Sessions that stop because of the time; what they print."""
    outputs = []
    for _ in range(num):
        process = start(outdir, *options, "--max-minutes=0.01", script=script)
        outputs.append(finish(process))
        assert process.returncode == 3, outputs[-1]
        options = ("--resume=latest",)
    return outputs


QUICK = [*COMMAND, "--metrics=none"]


@pytest.mark.slow
@pytest.mark.multiprocess
def test_run_in_four_sessions_equals_the_uninterrupted_one(start, tmp_path):
    outputs = sessions(start, tmp_path / "parts", *QUICK, "--gpus=1", num=3)
    (parts,) = (tmp_path / "parts").iterdir()
    last_lines = [output.strip().splitlines()[-1] for output in outputs]
    how = f"by --max-minutes=0.01. Continue with: python train.py --resume={parts}"
    # A step in each, at least; their times are over when training begins.
    kimg = ["0.0", "0.1", "0.1"]
    assert last_lines == [f"Stopped at {at} kimg {how}" for at in kimg]
    assert (parts / "network-snapshot-000000.pkl").exists()  # for which the first had no time
    process = start(tmp_path / "parts", "--resume=latest", "--max-minutes=0")
    output = finish(process)
    assert process.returncode == 0 and "Done. The last snapshot" in output, output
    process = start(tmp_path / "whole", *QUICK, "--gpus=1")
    assert finish(process) and process.returncode == 0
    (whole,) = (tmp_path / "whole").iterdir()
    assert_same_state(checkpoint.states(parts)[0], checkpoint.states(whole)[0])
    for pattern in ("network-*", "fakes0*", "reals.png"):
        names = [sorted(path.name for path in run.glob(pattern)) for run in (parts, whole)]
        assert names[0] == names[1] != []


@pytest.mark.slow
@pytest.mark.multiprocess
def test_several_processes_end_with_the_same_exit_code(start, tmp_path):
    (output,) = sessions(start, tmp_path, *QUICK, "--gpus=2", num=1)
    assert "Error" not in output and "Stopped at 0.0 kimg by --max-minutes=0.01." in output


@pytest.mark.slow
@pytest.mark.multiprocess
def test_torchrun_counts_the_stop_as_a_success(start, tmp_path):
    script = tmp_path / "torchrun.py"
    script.write_text(
        "import sys\nfrom torch.distributed.run import main\n"
        f"main(['--standalone', '--nproc-per-node=1', '--max-restarts=3', "
        f"{str(PROJECT / 'train.py')!r}, *sys.argv[1:]])\n"
    )
    process = start(tmp_path / "runs", *QUICK, "--max-minutes=0.01", script=script)
    output = finish(process)
    assert process.returncode == 0, output
    assert output.count("Stopped at 0.0 kimg by --max-minutes=0.01.") == 1
