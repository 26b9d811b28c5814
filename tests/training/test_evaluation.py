"""Metrics during training: values are reported, and a run survives all failures."""

import dataclasses
import json
import os
import threading
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import calc_metrics
import legacy
import train
from metrics import detectors, metric_main, servers
from tests import golden
from tests.metrics import stand_ins
from torch_utils import distributed, training_stats
from torch_utils.distributed import Worker
from training import evaluation, training_loop
from training.config import TrainConfig, TrainOptions, make_config
from training.training_loop import training_loop as run_training

GRAY = golden.DATA_DIR / "datasets" / "dataset_small_gray.zip"  # 8x8


def set_up(folder: Path) -> None:
    """Few samples, small feature networks, metrics that fail; for this process."""
    os.environ["DNNLIB_CACHE_DIR"] = str(folder / "cache")
    os.environ[detectors.FOLDER_VARIABLE] = str(folder / "detectors")
    metric_main.NUM_SAMPLES = 16
    for name, url in detectors.URLS.items():
        detectors.URLS[name] = f"http://127.0.0.1:9/{url.rpartition('/')[2]}"

    @metric_main.register_metric
    def no_memory(opts):
        if opts.rank == opts.num_gpus - 1:
            raise MemoryError("tried to allocate a lot")
        return dict(no_memory=1.0)

    @metric_main.register_metric
    def no_data(opts):
        opts.dataset_kwargs.path = str(folder / "gone.zip")
        return metric_main.get_metric("is50k").function(opts) | metric_main.get_metric(
            "fid50k"
        ).function(opts)

    @metric_main.register_metric
    def buggy(opts):
        return dict(buggy={}["x"])


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder with feature networks; without vgg16."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", "")
    monkeypatch.setenv(detectors.FOLDER_VARIABLE, "")
    monkeypatch.setattr(metric_main, "NUM_SAMPLES", 0)
    monkeypatch.setattr(metric_main, "_metrics", dict(metric_main._metrics))
    monkeypatch.setattr(detectors, "_loaded", {})
    for name, url in detectors.URLS.items():
        monkeypatch.setitem(detectors.URLS, name, url)
    files = stand_ins.save_detectors(tmp_path / "detectors")
    files["inception"].rename(tmp_path / "detectors" / "inception-2015-12-05.pt")
    files["vgg16"].rename(tmp_path / "vgg16.pt")
    set_up(tmp_path)
    return tmp_path


def make_run(folder: Path, metrics: tuple[str, ...], **changes) -> TrainConfig:
    """A run of 1 kimg with two snapshots after the first tick."""
    options = dict(batch=250, mbstd_group=1, cbase=64, cmax=4, map_depth=1, workers=0, aug="noaug")
    options = TrainOptions(
        cfg="stylegan2", gpus=1, gamma=1, kimg=1, tick=1, snap=1, metrics=metrics, **options
    )
    dataset = dict(path=str(GRAY), max_size=5, resolution=8, use_labels=False, xflip=False)
    dataset["class_name"] = "training.dataset.ImageFolderDataset"
    config = make_config(options, dataset)
    run_dir = folder / "run"
    run_dir.mkdir()
    (run_dir / "training_options.json").write_text("{}")
    # The small feature networks are TorchScript.
    changes = dict(run_dir=str(run_dir), allow_untrusted=True) | changes
    return dataclasses.replace(config, **changes)


ALL = ("fid50k_full", "ppl2_wend", "no_memory", "no_data", "buggy", "is50k")


def check_run(folder: Path, out: str) -> None:
    """Files and output of a run with the metrics `ALL`."""
    run_dir = folder / "run"
    written = sorted(path.name for path in run_dir.glob("metric-*"))
    assert written == ["metric-fid50k_full.jsonl", "metric-is50k.jsonl"]
    for path in run_dir.glob("metric-*"):
        (line,) = path.read_text().splitlines()  # nothing at kimg 0
        assert json.loads(line)["snapshot_pkl"] == "network-snapshot-000001.pkl"
    before, _, _ = out.partition("Constructing networks...")
    assert "Warning: ppl2_wend will be missing from this run: " in before
    assert "vgg16.pkl is not in the cache" in before
    assert detectors.FOLDER_VARIABLE in before
    assert out.count("ppl2_wend") == 1  # it is not tried
    for warning in (
        "Warning: no_memory could not be computed: ",
        "out of memory; a smaller batch may help. tried to allocate a lot",
        "Warning: no_data could not be computed: ",
        "gone.zip",
        "Warning: buggy could not be computed: KeyError: 'x'",
        "--metrics=buggy tries again.",
    ):
        assert warning in out
    assert "Done." in out
    log = (run_dir / "log.txt").read_text()
    assert all(line in log for line in out.splitlines())


@pytest.mark.slow
def test_run_with_metrics_some_of_which_fail(prepared, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = make_run(prepared, ALL)
    run_training(Worker(), config)
    check_run(prepared, capsys.readouterr().out)

    run_dir = prepared / "run"
    events = EventAccumulator(str(run_dir))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("Metrics/")]
    assert tags == ["Metrics/fid50k_full", "Metrics/is50k_mean", "Metrics/is50k_std"]
    (scalar,) = events.Scalars("Metrics/fid50k_full")
    record = json.loads((run_dir / "metric-fid50k_full.jsonl").read_text())
    assert scalar.step == 1
    assert scalar.value == pytest.approx(record["results"]["fid50k_full"], rel=1e-6)
    assert "Metrics/" not in (run_dir / "training_stats.jsonl").read_text()

    # The command gives the same value for the snapshot.
    snapshot = run_dir / "network-snapshot-000001.pkl"
    result = CliRunner().invoke(
        calc_metrics.main, [f"--network={snapshot}", "--device=cpu", "--allow-untrusted"]
    )
    assert result.exit_code == 0, result.output
    lines = (run_dir / "metric-fid50k_full.jsonl").read_text().splitlines()
    assert [json.loads(line)["results"] for line in lines] == [record["results"]] * 2

    # Evaluating has changed nothing.
    weights = legacy.load_network(snapshot)["G"].state_dict()
    (prepared / "other").mkdir()
    run_training(Worker(), make_run(prepared / "other", ()))
    plain = prepared / "other" / "run" / snapshot.name
    expected = legacy.load_network(plain)["G"].state_dict()
    torch.testing.assert_close(weights, expected, rtol=0, atol=0)


def train_with_metrics(worker: Worker, folder: Path, config: TrainConfig) -> None:
    """Run in each of the two processes of the test below."""
    torch.set_num_threads(1)
    set_up(folder)
    training_stats.init_multiprocessing(worker.rank, worker.device)
    run_training(worker, config)


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_processes_fail_together(prepared, capfd):
    config = make_run(prepared, ALL, num_gpus=2, batch_gpu=125)
    distributed.launch(train_with_metrics, 2, "cpu", prepared, config)
    out = capfd.readouterr().out
    check_run(prepared, out)
    assert "no_memory could not be computed: process 1: out of memory" in out


def test_metrics_are_looked_for_first_and_never_at_kimg_0(prepared, monkeypatch, capsys):
    evaluated = []
    monkeypatch.setattr(
        evaluation.SnapshotMetrics, "evaluate", lambda self, G, path: evaluated.append(path) or {}
    )
    config = make_run(prepared, ("fid50k_full",))
    trainer = training_loop.Trainer(Worker(), config)
    assert trainer.metrics.names == ["fid50k_full"]
    trainer.tick_start_nimg, trainer.tick_start_time, trainer.maintenance_sec = 0, 0.0, 0.0
    for _ in range(3):
        trainer._train_batch()
        trainer._finish_tick(is_done=False)
    trainer.log.close()
    assert [path.name for path in evaluated] == ["network-snapshot-000000.pkl"] * 2


def test_machine_without_a_network_trains_at_once(tmp_path, monkeypatch, capsys):
    """With the default metric, and even if no server ever answers."""
    monkeypatch.setattr(servers, "PROBE_SEC", 0.2)
    release = threading.Event()

    def wait(*args, **kwargs):
        release.wait(10)
        raise servers.requests.exceptions.ConnectionError

    monkeypatch.setattr(servers.requests, "head", wait)
    monkeypatch.delenv(detectors.FOLDER_VARIABLE, raising=False)
    config = make_run(tmp_path, ("fid50k_full", "kid50k"))
    metrics = evaluation.SnapshotMetrics(Worker(), config)
    release.set()
    assert metrics.names == []
    out = capsys.readouterr().out
    assert "Warning: fid50k_full, kid50k will be missing from this run: " in out
    assert out.count("Warning:") == 1
    assert detectors.URLS["inception"] in out


def test_detector_that_writes_files_is_left_out_before_training(tmp_path, monkeypatch, capsys):
    victim, folder = tmp_path / "victim", tmp_path / "detectors"
    victim.write_text(stand_ins.ALIVE)
    folder.mkdir()
    attack = stand_ins.save_overwriting_detector(folder / "inception-2015-12-05.pt", victim)
    monkeypatch.setenv(detectors.FOLDER_VARIABLE, str(folder))
    config = make_run(tmp_path, ("fid50k_full",), allow_untrusted=False)
    assert evaluation.SnapshotMetrics(Worker(), config).names == []
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if "Warning" in line]
    assert "fid50k_full will be missing from this run" in warning
    assert f"{attack} is a TorchScript file, which can run code" in warning
    assert "--allow-untrusted" in warning
    assert victim.read_text() == stand_ins.ALIVE
    config = dataclasses.replace(config, allow_untrusted=True)
    assert evaluation.SnapshotMetrics(Worker(), config).names == ["fid50k_full"]


def test_untrusted_detectors_are_allowed_by_the_option_of_training(tmp_path):
    config = make_run(tmp_path, (), allow_untrusted=False)
    options = TrainOptions(cfg="stylegan2", gpus=1, batch=4, gamma=1, allow_untrusted=True)
    assert make_config(options, {}).allow_untrusted
    assert not config.allow_untrusted


def test_training_without_a_gpu_is_told_of_the_cost(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "launch", lambda *args: None)
    command = [f"--data={GRAY}", "--cfg=stylegan2", "--gpus=1", "--batch=4", "--gamma=1"]
    small = ["--cbase=64", "--cmax=4", "--device=cpu", "--aug=noaug"]
    for metrics, is_noted in (("fid50k_full", True), ("none", False)):
        arguments = [*command, *small, f"--metrics={metrics}", f"--outdir={tmp_path}"]
        result = CliRunner().invoke(train.main, arguments)
        assert result.exit_code == 0, result.output
        assert ("can take hours" in result.output) == is_noted


def test_values_that_a_snapshot_has_are_found(tmp_path):
    """A continued run evaluates an interrupted snapshot, and none twice."""
    metrics = evaluation.SnapshotMetrics(Worker(), make_run(tmp_path, ()))
    metrics.names = ["fid50k_full", "is50k"]
    snapshot = tmp_path / "run" / "network-snapshot-000001.pkl"
    snapshot.touch()
    written_at = snapshot.stat().st_mtime

    def record(name: str, value: float, **more) -> str:
        fields = dict(metric=name, snapshot_pkl=snapshot.name, timestamp=written_at + 1)
        return json.dumps({**fields, "results": {name: value}, **more}) + "\n"

    for name, value in (("fid50k_full", 12.5), ("is50k", 0.1 + 0.2)):
        assert metrics.recorded(snapshot) is None
        with (tmp_path / "run" / f"metric-{name}.jsonl").open("w") as f:
            f.write(record(name, 1, timestamp=written_at - 1))  # of a file that was overwritten
            f.write(record(name, 2, snapshot_pkl="network-snapshot-000002.pkl"))
            f.write(record(name, 3, num=10))  # by calc_metrics.py --num
            f.write(record(name, 4, dataset="other"))
            f.write(record(name, value))
            f.write(record(name, 5)[:30])  # the disk was full
    assert metrics.recorded(snapshot) == {"fid50k_full": 12.5, "is50k": 0.1 + 0.2}


def test_evaluation_tells_whether_a_metric_has_failed(tmp_path, monkeypatch):
    metrics = evaluation.SnapshotMetrics(Worker(), make_run(tmp_path, ()))
    metrics.names = ["works", "fails"]
    values = dict(works=dict(works=1.0), fails={})
    monkeypatch.setattr(metrics, "_with_batches", lambda options, names: options)
    monkeypatch.setattr(metrics, "_try", lambda name, *_args, **_kwargs: values[name])
    assert metrics.evaluate(torch.nn.Identity(), tmp_path) == dict(works=1.0)
    assert metrics.has_failed
    values["fails"] = dict(fails=2.0)
    assert metrics.evaluate(torch.nn.Identity(), tmp_path) == dict(works=1.0, fails=2.0)
    assert not metrics.has_failed
