"""The best snapshot: it is found, survives faults and continuations, and never is of the future."""

import errno
import json
import os
import shutil

import pytest
from click.testing import CliRunner

import train
from metrics import metric_main, ranking
from tests import golden
from tests.training.real_runs import COMMAND
from tests.training.test_faults import finish, script_with
from torch_utils.distributed import Worker
from training import checkpoint
from training.best_snapshot import BestSnapshot, choose
from training.run_dirs import network_path

FID, PR, IS = "fid50k_full", "pr50k3_full", "is50k"


@pytest.mark.parametrize(
    ("keep_best", "metrics", "expected"),
    [
        (None, [FID, PR], FID),
        (None, [PR, FID], FID),
        (None, [IS], "is50k_mean"),
        (None, [PR], None),
        (None, [], None),
        ("none", [FID], None),
        (FID, [PR, FID], FID),
        ("pr50k3_full_recall", [FID, PR], "pr50k3_full_recall"),
    ],
)
def test_value_is_chosen_by_the_option_or_is_the_first_single_one(keep_best, metrics, expected):
    assert choose(keep_best, metrics) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep-best=fid"], "--keep-best=fid is unknown; choose from fid50k_full, "),
        (["--keep-best=kid50k_full"], "--metrics=fid50k_full does not compute it; add it there"),
        (["--keep-best=fid50k_full", "--metrics=none"], "--metrics=none does not compute it"),
        (
            ["--keep-best=pr50k3", "--metrics=pr50k3"],
            "use --keep-best=pr50k3_precision or --keep-best=pr50k3_recall",
        ),
        (["--patience=3", "--metrics=none"], "--patience=3 needs a value to watch"),
        (["--patience=3", "--keep-best=none"], "--patience=3 needs a value to watch"),
        (["--patience=3", "--metrics=pr50k3"], "--patience=3 needs a value to watch"),
        (["--patience=1"], "--patience=1: a single value can be worse by chance; use 2 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(options, message, tmp_path):
    command = [*COMMAND, f"--outdir={tmp_path}", "--gpus=1", "-n", *options]
    result = CliRunner().invoke(train.main, command)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert message in line


def test_every_metric_knows_its_values_and_which_are_better():
    facts = golden.load_json("metrics_registry.json")["metrics"]
    for name in facts:
        values = {value.value_name for value in ranking.of_metric(name)}
        assert values <= set(facts[name]["result_keys"])
    names = metric_main.list_valid_metrics()
    higher = {name for name in names if name[:2] in ("pr", "is", "eq", "dc")}
    found = ranking.of_metrics(names).values()
    assert {value.metric for value in found if value.higher_is_better} == higher
    assert {value.metric for value in found} == set(names) - {"memo"}


def follow(folder, *values, metric=FID, name=None, start=1) -> BestSnapshot:
    """A run with these values at 1, 2, ... kimg."""
    best = BestSnapshot(Worker(), folder, name or metric, [metric])
    for kimg, value in enumerate(values, start):
        evaluate(best, folder, kimg, value)
    return best


def evaluate(best: BestSnapshot, folder, kimg: int, value: float | None) -> None:
    network_path(folder, kimg * 1000).write_text(f"{kimg}: {value}")
    best.update({} if value is None else {best.ranking.value_name: value}, kimg * 1000)


def content(folder) -> str:
    return (folder / "network-best.pkl").read_text()


def test_lowest_fid_is_kept(tmp_path, capsys):
    best = follow(tmp_path, 5.0, 3.0, 4.0, None, 3.0)
    assert content(tmp_path) == "2: 3.0"
    assert json.loads((tmp_path / "network-best.json").read_text()) == dict(
        metric=FID,
        value_name=FID,
        value=3.0,
        nimg=2000,
        snapshot_pkl="network-snapshot-000002.pkl",
    )
    assert best.standing.num_worse == 2  # 4 and 3, which is not better; a failure does not count
    assert best.wanted(oldest_state=2000) == [1000, 2000]
    assert best.wanted(oldest_state=2001) == [2000]
    out = capsys.readouterr().out
    assert "network-best.pkl will be the snapshot with the lowest fid50k_full." in out
    assert "Best so far: fid50k_full 3 at 2.0 kimg, this snapshot.\n" in out
    assert "Best so far: fid50k_full 3 at 2.0 kimg, 1 evaluation ago.\n" in out
    assert "Note: without fid50k_full this snapshot is not compared.\n" in out
    assert out.endswith("Best so far: fid50k_full 3 at 2.0 kimg, 2 evaluations ago.\n")


def test_highest_recall_is_kept(tmp_path):
    best = follow(tmp_path, 0.1, 0.3, 0.2, metric=PR, name="pr50k3_full_recall")
    assert content(tmp_path) == "2: 0.3" and best.standing.num_worse == 1


def test_without_its_metric_nothing_is_followed(tmp_path, capsys):
    best = BestSnapshot(Worker(), tmp_path, FID, [])
    best.update({FID: 1.0}, 1000)
    best.restore(1000)
    assert best.state_dict() is None and list(tmp_path.iterdir()) == []
    assert "Warning: without fid50k_full the best snapshot is unknown" in capsys.readouterr().out


def test_session_without_the_metric_hands_the_best_on(tmp_path, capsys):
    before = follow(tmp_path, 5.0, 3.0, 4.0)
    state = before.state_dict()
    without = BestSnapshot(Worker(), tmp_path, None, [])
    without.load_state_dict(state, is_other_data=False)
    without.restore(3000)
    without.update({}, 4000)
    assert without.standing.num_worse == 0  # --patience has no effect
    assert without.wanted(oldest_state=2000) == before.wanted(oldest_state=2000) == [1000, 2000]
    assert without.state_dict() == state
    after = BestSnapshot(Worker(), tmp_path, FID, [FID])
    after.load_state_dict(without.state_dict(), is_other_data=False)
    after.restore(4000)
    evaluate(after, tmp_path, 5, 3.5)
    assert content(tmp_path) == "2: 3.0"
    assert "from here on" not in capsys.readouterr().out
    without.load_state_dict(state, is_other_data=True)
    assert without.state_dict() is None and without.wanted(oldest_state=0) == []


def test_full_disk_leaves_the_previous_best(tmp_path, monkeypatch, capsys):
    best = follow(tmp_path, 5.0)
    full = OSError(errno.ENOSPC, "No space left on device", "network-best.pkl")

    def fail(*args):
        raise full

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", fail)
        patched.setattr(shutil, "copyfileobj", fail)
        evaluate(best, tmp_path, 2, 4.0)
    assert content(tmp_path) == "1: 5.0"
    assert not list(tmp_path.glob(".*"))
    assert "Warning: network-best.pkl was not written: No space left" in capsys.readouterr().out
    evaluate(best, tmp_path, 3, 6.0)  # the disk has room again
    assert content(tmp_path) == "2: 4.0" and best.standing.value == 4.0


def test_best_snapshot_is_copied_where_there_are_no_links(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    best = follow(tmp_path, 5.0, 4.0)
    assert content(tmp_path) == "2: 4.0"
    paths = [tmp_path / "network-best.pkl", network_path(tmp_path, 2000)]
    assert len({path.stat().st_mtime_ns for path in paths}) == 1
    assert len({path.stat().st_ino for path in paths}) == 2
    monkeypatch.setattr(best, "_write", fail)
    evaluate(best, tmp_path, 3, 5.0)  # which does not copy it again


def go_on(folder, state, cur_nimg: int, **changes) -> BestSnapshot:
    best = BestSnapshot(Worker(), folder, changes.pop("name", FID), [FID, "kid50k_full"])
    best.load_state_dict(state, changes.pop("is_other_data", False))
    best.restore(cur_nimg)
    return best


def test_continued_run_knows_its_best(tmp_path):
    first = follow(tmp_path, 0.1 + 0.2, 5.0)
    best = go_on(tmp_path, first.state_dict(), 2000)
    assert best.state_dict() == first.state_dict() and content(tmp_path).startswith("1:")
    evaluate(best, tmp_path, 3, 0.3)  # less in the last bit
    assert content(tmp_path).startswith("3:")


def test_run_that_goes_back_has_the_best_of_that_time(tmp_path):
    first = follow(tmp_path, 5.0, 4.0)
    state = first.state_dict()
    for kimg, value in ((3, 3.0), (4, 2.0)):
        evaluate(first, tmp_path, kimg, value)
    best = go_on(tmp_path, state, 2000)
    assert content(tmp_path) == "2: 4.0"
    evaluate(best, tmp_path, 3, 4.5)
    assert content(tmp_path) == "2: 4.0" and best.standing.num_worse == 1


def test_best_of_an_abandoned_future_is_renamed(tmp_path):
    before = BestSnapshot(Worker(), tmp_path, FID, [FID]).state_dict()
    follow(tmp_path, 3.0, start=2)
    best = go_on(tmp_path, before, 1000)
    assert best.standing.value is None
    assert not (tmp_path / "network-best.pkl").exists()
    assert (tmp_path / "network-best.pkl.abandoned").read_text() == "2: 3.0"


def test_best_whose_snapshot_was_deleted_is_kept_if_it_is_the_best_of_now(tmp_path, capsys):
    first = follow(tmp_path, 5.0)
    state = first.state_dict()
    network_path(tmp_path, 1000).unlink()
    assert go_on(tmp_path, state, 1000).standing.value == 5.0 and content(tmp_path) == "1: 5.0"
    evaluate(first, tmp_path, 2, 4.0)  # the file of 1 kimg is lost now
    best = go_on(tmp_path, state, 1000)
    assert "Note: network-snapshot-000001.pkl, the best so far, is gone" in capsys.readouterr().out
    assert best.standing.value is None and not (tmp_path / "network-best.pkl").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (dict(name="kid50k_full"), "until now the run looked for the best fid50k_full"),
        (dict(is_other_data=True), "values of other data cannot be compared"),
        (dict(), "the run has not looked for it until now"),
    ],
)
def test_values_that_cannot_be_compared_are_forgotten(changes, reason, tmp_path, capsys):
    state = follow(tmp_path, 1.0).state_dict() if changes else None
    best = go_on(tmp_path, state, 1000, **changes)
    assert best.standing.value is None
    assert f"best snapshot is looked for from here on: {reason}" in capsys.readouterr().out
    evaluate(best, tmp_path, 2, 2.0)
    assert content(tmp_path) == "2: 2.0"


# A metric with planned values: the first evaluation has the first value, and so on.
PLANNED = """
from pathlib import Path
from metrics import metric_main
@metric_main.register_metric
def planned(opts):
    path, = [Path(arg[9:]) for arg in sys.argv if arg.startswith("--outdir=")] or [Path("{outdir}")]
    lines = "".join(p.read_text() for p in path.glob("*/metric-planned.jsonl")).count(chr(10))
    return dict(planned=[5.0, 3.0, 4.0, 3.0, 6.0][lines])
"""


QUICK = [*COMMAND, "--batch=200"]  # five batches in a kimg


def planned(tmp_path, patch: str = ""):
    """The script with the planned metric."""
    return script_with(tmp_path, PLANNED.format(outdir=tmp_path / "runs") + patch)


@pytest.mark.slow
@pytest.mark.multiprocess
def test_run_that_dies_before_its_best_is_written_writes_it_when_continued(start, tmp_path):
    patch = (
        "from training import best_snapshot\n"
        "def link(source, path):\n"
        "    if source.name == 'network-snapshot-000002.pkl': os._exit(9)\n"
        "    link_atomic(source, path)\n"
        "link_atomic, best_snapshot.link_atomic = best_snapshot.link_atomic, link\n"
    )
    options = [*QUICK, "--gpus=1", "--kimg=3", "--metrics=planned", "--keep-snapshots=1"]
    process = start(tmp_path / "runs", *options, script=planned(tmp_path, patch))
    output = finish(process)
    assert process.returncode == 9, output
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert checkpoint.load_newest(run_dir)[1]["best"]["value"] == 5.0
    process = start(tmp_path / "runs", "--resume=latest", script=planned(tmp_path))
    output = finish(process)
    assert process.returncode == 0, output
    assert output.count("Evaluating planned") == 1  # that of 2 kimg was recorded
    record = json.loads((run_dir / "network-best.json").read_text())
    assert (record["value"], record["snapshot_pkl"]) == (3.0, "network-snapshot-000002.pkl")
    assert (run_dir / "network-best.pkl").samefile(run_dir / "network-snapshot-000002.pkl")
    # The best and the last, and that from which an older state would go on.
    names = sorted(path.name[-7:-4] for path in run_dir.glob("network-snapshot-*"))
    assert names == ["001", "002", "003"]
    assert "Deleted network-snapshot-000000.pkl" in (run_dir / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_processes_end_together_when_their_patience_is_used_up(start, tmp_path):
    """The main process alone writes values; here it fails once."""
    patch = (
        "def report(result, **kwargs):\n"
        "    report_metric(result, **kwargs)\n"
        "    if result.results.planned == 5: raise OSError(28, 'No space left on device')\n"
        "report_metric, metric_main.report_metric = metric_main.report_metric, report\n"
    )
    options = [*QUICK, "--gpus=2", "--kimg=9", "--metrics=planned", "--patience=2"]
    process = start(tmp_path / "runs", *options, script=planned(tmp_path, patch))
    output = finish(process)
    assert process.returncode == 0, output
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert "Warning: planned could not be computed: [Errno 28] No space left on device" in output
    last = output.strip().splitlines()[-1]
    best = "Best so far: planned 3 at 2.2 kimg, 2 evaluations ago: network-best.pkl"
    assert last.startswith(f"Ended at 4.2 kimg by --patience=2. {best}. The state is saved")
    assert last.endswith(f"go on with: python train.py --resume={run_dir} --patience=0")
    again = start(tmp_path / "runs", "--resume=latest", "--gpus=1", script=planned(tmp_path))
    output = finish(again)
    assert again.returncode == 0 and last in output and "Training for" not in output
