"""Warnings of a run: in its log and statistics, once, and without an effect on training."""

import dataclasses
import json
import shutil
from collections import namedtuple

import pytest
import torch

from tests.training.test_continuation import make_run, make_trainer
from torch_utils.training_stats import Collector
from training import checkpoint, diversity, metric_history, symptoms, watch
from training.symptoms import Finding

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def trainer(tmp_path):
    """A run without snapshots, at its second tick."""
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    trainer.tick = 1
    yield trainer
    trainer.close()


@pytest.fixture
def troubled(trainer, monkeypatch):
    """The same, with a finding in every tick."""
    finding = Finding("scores", "the scores are absurd. Try less.", 1.0)
    monkeypatch.setattr(symptoms, "in_history", lambda *_: [finding])
    return trainer


def run_ticks(trainer, num):
    for _ in range(num):
        trainer._train_batch()
        trainer._finish_tick(is_done=False)


def records(trainer):
    lines = (trainer.run_dir / "training_stats.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_warning_comes_once_but_stays_in_the_statistics(troubled, capsys):
    run_ticks(troubled, 3)
    assert capsys.readouterr().out.count("Warning: the scores are absurd. Try less.") == 1
    flags = [record["Warning/scores"] for record in records(troubled)]
    assert flags == [{"num": 1, "mean": 1.0, "std": 0.0}] * 3


def test_end_of_the_trouble_shows_in_the_statistics(troubled, monkeypatch):
    run_ticks(troubled, 1)
    monkeypatch.setattr(symptoms, "in_history", lambda *_: [])
    run_ticks(troubled, 1)
    assert [record["Warning/scores"]["mean"] for record in records(troubled)] == [1, 0]


def test_warning_is_a_text_in_tensorboard(troubled):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run_ticks(troubled, 1)
    troubled.close()
    events = accumulator.EventAccumulator(str(troubled.run_dir))
    events.Reload()
    (event,) = events.Tensors("Warning/scores/text_summary")
    assert event.tensor_proto.string_val == [b"the scores are absurd. Try less."]
    assert events.Scalars("Warning/scores")[0].value == 1


DUE = {
    "first": (1.0, 10, None, True),
    "the same": (1.0, 20, (1.0, 10), False),
    "a little worse": (1.4, 20, (1.0, 10), False),
    "much worse": (1.5, 20, (1.0, 10), True),
    "better": (0.1, 20, (1.0, 10), False),
    "long ago": (1.0, 260, (1.0, 10), True),
}


@pytest.mark.parametrize("key", DUE)
def test_warnings_are_repeated_only_for_a_reason(key):
    severity, kimg, before, expected = DUE[key]
    assert watch.is_due((severity, kimg), before, total_kimg=1000) == expected


def test_watching_leaves_training_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "DIVERSITY_NIMG", 0)
    measure, num_measured = diversity.measure, []
    monkeypatch.setattr(
        diversity, "measure", lambda *args: num_measured.append(1) or measure(*args)
    )
    states = []
    for name in ("watched", "unwatched"):
        torch.manual_seed(0)
        trainer = make_trainer(make_run(tmp_path / name, "stylegan2"))
        trainer.tick = 1
        if name == "unwatched":
            trainer.watch.finish_tick = lambda *_: None
            trainer.watch.stats = dict
        run_ticks(trainer, 3)
        states.append(trainer.state_dict())
        trainer.close()
    assert len(num_measured) == 3
    for name, weights in states[0]["networks"].items():
        assert all(torch.equal(x, states[1]["networks"][name][key]) for key, x in weights.items())
    torches = [state["ranks"][0]["random"]["torch"] for state in states]
    assert torch.equal(*torches)


def test_history_and_warnings_continue(troubled, monkeypatch, capsys):
    monkeypatch.setattr(watch, "DIVERSITY_NIMG", 0)
    run_ticks(troubled, 2)
    troubled._save_state(must_succeed=True)
    state = checkpoint.load_newest(troubled.run_dir)[1]
    assert "sec_per_kimg" not in state["watch"]["history"][0]
    troubled.close()
    continued = make_trainer(troubled.config, state=state)
    assert continued.watch.state_dict() == troubled.watch.state_dict() == state["watch"]
    run_ticks(continued, 1)
    assert capsys.readouterr().out.count("Warning: the scores") == 1
    assert len(continued.watch.history) == 3
    assert all("Progress/diversity" in record for record in records(continued))
    continued.close()


def test_state_of_an_older_version_has_nothing_to_continue(trainer):
    trainer._train_batch()
    state = trainer.state_dict()
    del state["watch"]
    trainer.load_state_dict(state)
    assert trainer.watch.history == []


def test_diversity_is_measured_rarely_enough(trainer, monkeypatch):
    monkeypatch.setattr(watch, "DIVERSITY_NIMG", 20)  # batches of 8
    run_ticks(trainer, 7)
    assert [tick.diversity is not None for tick in trainer.watch.history] == [
        *[False, False, True],
        *[False, False, True],
        False,
    ]


def test_diversity_is_left_out_without_memory(trainer, monkeypatch, capsys):
    def run_out(*_args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(watch, "DIVERSITY_NIMG", 0)
    monkeypatch.setattr(diversity, "measure", run_out)
    run_ticks(trainer, 2)
    assert capsys.readouterr().out.count("Note: there is no memory to measure the diversity") == 1


def test_long_histories_lose_every_second_of_the_older_ticks(trainer, monkeypatch):
    monkeypatch.setattr(watch, "MAX_TICKS", 8)
    run_ticks(trainer, 9)
    kimgs = [tick.kimg for tick in trainer.watch.history]
    assert kimgs == [8 * i / 1000 for i in (2, 4, 5, 6, 7, 8, 9)]


def test_observation_leaves_out_what_is_not_finite():
    means = {"Loss/scores/real": float("nan"), "Loss/scores/fake": -1.0, "Progress/augment": 0.5}
    tick = watch.observation({**means, "Timing/Gmain": 2.0, "Timing/Dmain": 3.0}, 4000)
    assert tick == symptoms.Observation(4.0, augment_p=0.5, fake_score=-1.0, phases_ms=5.0)
    assert watch.observation(dict(Collector("x").as_dict()), 0).phases_ms is None


def test_small_disk_is_noticed_at_the_first_snapshot(trainer, monkeypatch, capsys):
    for name in ("training-state-000000008.pt", "network-snapshot-000000.pkl", "fakes000000.png"):
        (trainer.run_dir / name).write_bytes(bytes(10**6))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 10**7))
    run_ticks(trainer, 2)  # of 25,000 kimg with snapshots after every 1000 ticks of 4 kimg
    text = "the disk of the run has 0.01 GB left, and the files to come need 0.016 GB: 7 network"
    assert capsys.readouterr().out.count(f"Warning: {text}") == 1
    assert trainer.watch.state_dict()["said"] == {}  # another machine may have room
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 10**9))
    run_ticks(trainer, 2)
    assert [record.get("Warning/disk", {}).get("mean") for record in records(trainer)] == [
        *[None, 1, 1, 0],
    ]


@pytest.mark.parametrize("call", [(checkpoint, "states"), (metric_history, "read")])
def test_vanished_folder_is_no_trouble_of_the_watch(call, trainer, monkeypatch, capsys):
    def vanish(*_args):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(*call, vanish)
    trainer.watch.finish_snapshot(1000)
    assert "Warning" not in capsys.readouterr().out


def write_metric(run_dir, values, **more):
    with (run_dir / "metric-fid50k_full.jsonl").open("a") as f:
        for kimg, value in values.items():
            record = dict(results={"fid50k_full": value}, metric="fid50k_full", **more)
            record["snapshot_pkl"] = f"network-snapshot-{kimg:06d}.pkl"
            f.write(json.dumps(record) + "\n")


def test_snapshots_that_will_be_deleted_need_no_room(trainer, monkeypatch, capsys):
    names = ("training-state-000000008.pt", "network-snapshot-000000.pkl", "fakes000000.png")
    for name in (*names, "network-snapshot-000000-copy.pkl"):
        (trainer.run_dir / name).write_bytes(bytes(10**6))
    trainer.watch.config = dataclasses.replace(trainer.config, keep_snapshots=1)
    free = [11 * 10**6]  # for two states, two pickles, and all seven sheets
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, free[0]))
    run_ticks(trainer, 1)
    assert "the disk of the run" not in capsys.readouterr().out
    free[0] -= 10**6
    run_ticks(trainer, 2)
    text = "need 0.011 GB: 2 network pickles of 0.001 GB, 7 sheets of 0.001 GB"
    assert capsys.readouterr().out.count(text) == 1
    trainer.snapshots.kept.add(8)  # one of the two
    run_ticks(trainer, 1)
    assert records(trainer)[-1]["Warning/disk"]["mean"] == 1  # what was found before
    run_ticks(trainer, 1)
    assert records(trainer)[-1]["Warning/disk"]["mean"] == 0


def test_metrics_that_get_worse_are_noticed(trainer, capsys):
    trainer.watch.metrics = ["fid50k_full"]
    trainer.cur_nimg = 5000
    write_metric(trainer.run_dir, {1: 10, 2: 11, 3: 12, 4: 13})
    run_ticks(trainer, 2)
    text = "fid50k_full has become worse in 3 evaluations in a row: it was 10 at 1 kimg"
    assert capsys.readouterr().out.count(f"Warning: {text}") == 1
    assert records(trainer)[1]["Warning/metric_fid50k_full"]["mean"] == 1


def test_metric_that_is_still_worse_after_a_continuation_stays_in_the_statistics(trainer, capsys):
    trainer.watch.metrics = ["fid50k_full"]
    trainer.cur_nimg = 5000
    write_metric(trainer.run_dir, {1: 10, 2: 11, 3: 12, 4: 13})
    run_ticks(trainer, 1)
    state = trainer.state_dict()
    trainer.close()
    continued = make_trainer(trainer.config, state=state)
    continued.watch.metrics = ["fid50k_full"]
    run_ticks(continued, 1)
    assert records(continued)[-1]["Warning/metric_fid50k_full"]["mean"] == 1
    continued.watch.metrics = []
    run_ticks(continued, 2)
    assert records(continued)[-1]["Warning/metric_fid50k_full"]["mean"] == 0
    continued.close()
    assert capsys.readouterr().out.count("Warning: fid50k_full has become worse") == 1


def test_records_of_metrics_are_those_of_this_run(tmp_path):
    write_metric(tmp_path, {4: 6, 2: 7, 1: 9})
    write_metric(tmp_path, {2: 6, 30: 1})  # evaluated again; of an abandoned future
    write_metric(tmp_path, {3: 100}, num=10)  # with other settings
    with (tmp_path / "metric-fid50k_full.jsonl").open("a") as f:
        f.write('{"results": {"fid50\n[]\n{"results": 3, "snapshot_pkl": "x"}\n')
    write_metric(tmp_path, {5: 1}, dataset="other")
    write_metric(tmp_path, {4: 5}, dataset="same")
    found = metric_history.read(tmp_path, ["fid50k_full", "kid50k_full"], 5000, "same")
    assert found == {"fid50k_full": {1: 9, 2: 6, 4: 5}}
    assert list(found["fid50k_full"]) == [1, 2, 4]
