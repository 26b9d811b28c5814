"""Continued runs equal uninterrupted ones, bit for bit; stopping, dying and starting again."""

import dataclasses
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import PIL.Image
import psutil
import pytest
import torch
from tqdm import tqdm

from tests.training.real_runs import COMMAND, GRAY, PROJECT, read_until, wait_for
from torch_utils import collectives, distributed, training_stats
from torch_utils.distributed import Worker
from training import checkpoint, preflight, snapshot, training_loop
from training.config import TrainConfig, TrainOptions, make_config

RUNS = {
    "stylegan2": dict(cfg="stylegan2", aug="ada", map_depth=1),  # with path lengths
    "stylegan3-t": dict(cfg="stylegan3-t", aug="fixed", mirror=True),
    "stylegan3-r": dict(cfg="stylegan3-r", aug="noaug"),  # with a blur that fades
}


def make_run(run_dir: Path, name: str, num_processes: int = 1) -> TrainConfig:
    """A tiny run without snapshots."""
    run_dir.mkdir(parents=True)
    options = dict(batch=8, gamma=1, mbstd_group=2, cbase=64, cmax=2, workers=0, snap=1000)
    options = TrainOptions(gpus=num_processes, **{**options, **RUNS[name]})
    dataset = dict(path=str(GRAY), resolution=8, use_labels=False, xflip=options.mirror)
    dataset["class_name"] = "training.dataset.ImageFolderDataset"
    return dataclasses.replace(
        make_config(options, dataset), run_dir=str(run_dir), ada_kimg=1, ema_kimg=0.1
    )


def make_trainer(config: TrainConfig, worker: Worker | None = None, state=None):
    """A trainer that leaves out the first sheet of images, which takes longest of all."""
    with mock.patch.object(snapshot.SampleSheet, "save_fakes"):
        return training_loop.Trainer(worker or Worker(), config, state)


def train(worker: Worker, config: TrainConfig, state_path: Path | None, num_batches: int) -> None:
    """Train for some batches, and save the state. Processes call this by name."""
    training_stats._new_nums.clear()  # of other runs in this process
    training_stats._new_sums.clear()
    state = checkpoint.load(state_path) if worker.is_main and state_path is not None else None
    trainer = make_trainer(config, worker, collectives.broadcast(worker, state))
    for _ in range(num_batches):
        trainer._train_batch()
    trainer.maintenance_sec = 0
    trainer._save_state(must_succeed=True)
    if worker.is_main:
        trainer.log.close()
    training_stats.Collector().update()


def differences(got, expected, path: str = "") -> list[str]:
    """Where two states differ."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), path
        return [
            d for key in expected for d in differences(got[key], expected[key], f"{path}/{key}")
        ]
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected), path
        return [
            d
            for i, (a, b) in enumerate(zip(got, expected, strict=True))
            for d in differences(a, b, f"{path}/{i}")
        ]
    is_same = torch.equal(got, expected) if isinstance(expected, torch.Tensor) else got == expected
    return [] if is_same or got != got else [path]


def assert_same_state(got: Path, expected: Path) -> None:
    states = [checkpoint.load(path) for path in (got, expected)]
    for state in states:
        del state["total_sec"], state["tick_sec"], state["options"]["gpus"], state["missing"]
        del state["durations"], state["options"]["max_minutes"]
        state["given"].pop("outdir", None)  # each run has its own
    timing = ("/Timing/", "/Resources/", "/launch_id", "/stats_jsonl_bytes")
    assert [path for path in differences(*states) if not any(t in path for t in timing)] == []
    assert states[0]["cur_nimg"] == states[0]["batch_idx"] * states[0]["options"]["batch"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, pytest.param(2, marks=pytest.mark.multiprocess)])
@pytest.mark.parametrize("name", RUNS)
def test_continued_run_equals_the_uninterrupted_one(name, num_processes, tmp_path):
    whole = make_run(tmp_path / "whole", name, num_processes)
    parts = make_run(tmp_path / "parts", name, num_processes)
    distributed.launch(train, num_processes, "cpu", whole, None, 7)
    distributed.launch(train, num_processes, "cpu", parts, None, 3)
    (state_path,) = checkpoint.states(tmp_path / "parts")
    distributed.launch(train, num_processes, "cpu", parts, state_path, 4)
    assert_same_state(
        tmp_path / "parts/training-state-000000056.pt",
        tmp_path / "whole/training-state-000000056.pt",
    )


@pytest.mark.slow
@pytest.mark.multiprocess
def test_number_of_processes_may_change(tmp_path, capfd):
    parts = make_run(tmp_path / "parts", "stylegan2", 2)
    distributed.launch(train, 2, "cpu", parts, None, 2)
    (state_path,) = checkpoint.states(tmp_path / "parts")
    distributed.launch(
        train, 1, "cpu", dataclasses.replace(parts, num_gpus=1, batch_gpu=8), state_path, 2
    )
    assert "Note: saved by 2 processes, continued by 1" in capfd.readouterr().out
    state = checkpoint.load(tmp_path / "parts/training-state-000000032.pt")
    assert len(state["ranks"]) == 1


def test_learning_rate_may_change(tmp_path):
    config = make_run(tmp_path / "run", "stylegan2")
    train(Worker(), config, None, 1)
    (state_path,) = checkpoint.states(tmp_path / "run")
    faster = dataclasses.replace(config, G_opt_kwargs={**config.G_opt_kwargs, "lr": 0.5})
    trainer = make_trainer(faster, state=checkpoint.load(state_path))
    optimizer = trainer.phases[0].optimizer
    assert optimizer.param_groups[0]["lr"] == 0.5 * 4 / 5  # of lazy regularisation
    assert optimizer.state_dict()["state"]
    trainer.log.close()


def test_deterministic_runs_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    for name in ("a", "b"):
        config = make_run(tmp_path / name, "stylegan2")
        train(Worker(), dataclasses.replace(config, deterministic=True), None, 2)
    torch.use_deterministic_algorithms(False)
    assert_same_state(*(tmp_path / name / "training-state-000000016.pt" for name in ("a", "b")))


def test_dying_run_does_not_overwrite_good_states(tmp_path):
    config = make_run(tmp_path / "run", "stylegan2")
    config = dataclasses.replace(config, max_nan_steps=5)
    trainer = make_trainer(config)
    trainer.tick = 1  # the first ends with a snapshot
    trainer._train_batch()
    trainer._save_state(must_succeed=False)
    good = checkpoint.states(tmp_path / "run")
    with torch.no_grad():
        trainer.D.b4.out.weight.fill_(float("nan"))
    trainer._train_batch()
    trainer._save_state(must_succeed=False)
    assert checkpoint.states(tmp_path / "run") == good
    with pytest.raises(RuntimeError, match=r"Gmain.* not been finite .*; the weights of D are not"):
        trainer.train()
    assert checkpoint.states(tmp_path / "run") == good


def test_full_disk_is_reported_and_training_goes_on(tmp_path, monkeypatch, capsys):
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    trainer._train_batch()

    def save(*args):
        raise OSError(28, "No space left on device", "training-state.pt")

    monkeypatch.setattr(checkpoint, "save", save)
    trainer._save_state(must_succeed=False)
    assert "Warning: the state was not saved: No space left on device" in capsys.readouterr().out
    with pytest.raises(OSError, match="No space left"):
        trainer._save_state(must_succeed=True)
    trainer.log.close()


def save_on_a_full_disk(worker: Worker, config: TrainConfig) -> None:
    """Twice at the same place, as when a run is asked to stop just then."""
    trainer = make_trainer(config, worker)
    trainer._train_batch()
    error = OSError(28, "No space left on device", "training-state.pt")
    with mock.patch.object(checkpoint, "save", side_effect=error) as save:
        trainer._save_state(must_succeed=False)
        trainer._save_state(must_succeed=False)
    assert trainer.state_nimg is None
    assert save.call_count == (2 if worker.is_main else 0)


@pytest.mark.slow
@pytest.mark.multiprocess
def test_full_disk_of_one_process_leaves_all_in_step(tmp_path):
    distributed.launch(save_on_a_full_disk, 2, "cpu", make_run(tmp_path / "run", "stylegan2", 2))


@pytest.mark.parametrize(
    ("batch_gpu", "advice"),
    [(8, "use --batch-gpu=4"), (4, "use --batch-gpu=2"), (2, "no smaller --batch-gpu is possible")],
)
def test_full_memory_names_the_next_smaller_batch(batch_gpu, advice, tmp_path, monkeypatch):
    config = make_run(tmp_path / "run", "stylegan2")
    trainer = make_trainer(dataclasses.replace(config, batch_gpu=batch_gpu))

    def run_out():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(trainer, "_train_batch", run_out)
    with pytest.raises(RuntimeError, match=f"out of memory with --batch-gpu={batch_gpu}: {advice}"):
        trainer.train()
    trainer.log.close()


def test_run_that_has_its_images_already_says_that_nothing_was_trained(tmp_path, capsys):
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    trainer.cur_nimg = trainer.config.total_kimg * 1000 + 2000
    trainer.train()
    trainer.close()
    out = capsys.readouterr().out
    assert "nothing is trained" in out and "Done" not in out and "Training for" not in out


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("signum", "num_processes"),
    [pytest.param(signal.SIGTERM, 1, id="SIGTERM"), pytest.param(signal.SIGINT, 2, id="SIGINT")],
)
def test_run_that_is_asked_to_stop_saves_and_continues(signum, num_processes, start, tmp_path):
    process = start(tmp_path, *COMMAND, f"--gpus={num_processes}")
    read_until(process, "tick 0 ")
    if signum == signal.SIGINT:
        os.killpg(process.pid, signum)  # as a terminal does it
    else:
        process.send_signal(signum)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "Stopping: finishing the step and saving the state." in output
    assert "Traceback" not in output
    (run_dir,) = tmp_path.iterdir()
    assert f"Continue with: python train.py --resume={run_dir}" in output
    stopped_at = checkpoint.load_newest(run_dir)[1]["cur_nimg"]
    assert 0 < stopped_at < 1000

    process = start(tmp_path, "--resume=latest")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    assert f"Continuing at {stopped_at / 1000:.1f} kimg" in output
    assert list(tmp_path.iterdir()) == [run_dir]
    assert sorted(path.name for path in run_dir.glob("network*")) == [
        "network-snapshot-000000.pkl",
        "network-snapshot-000001.pkl",
    ]
    lines = (run_dir / "training_stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["Progress/tick"]["mean"] for line in lines] == [0, 1]


@pytest.mark.slow
@pytest.mark.multiprocess
def test_second_process_waits_for_the_first_and_continues_its_last_state(start, tmp_path):
    first = start(tmp_path, *COMMAND, "--gpus=1", "--kimg=1000")
    read_until(first, "tick 0 ")
    wait_for(lambda: list(tmp_path.glob("*/training-state-*.pt")), [first])
    second = start(tmp_path, "--resume=latest")
    read_until(second, "Another process is training")
    first.terminate()
    output = first.communicate(timeout=120)[0]
    assert first.returncode == 0, output
    stopped_at = re.search(r"Stopped at ([\d.]+ kimg)", output)[1]
    read_until(second, f"Continuing at {stopped_at}")
    second.terminate()
    output = second.communicate(timeout=120)[0]
    assert second.returncode == 0, output
    (run_dir,) = tmp_path.iterdir()
    assert not (run_dir / preflight.LOCK_NAME).exists()


def test_second_process_that_would_train_the_same_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "PATIENCE_SEC", 0)
    with (
        preflight.sole_trainer(tmp_path),
        pytest.raises(RuntimeError, match="is being trained by another process: stop that first"),
        preflight.sole_trainer(tmp_path),
    ):
        raise AssertionError
    with preflight.sole_trainer(tmp_path):
        pass


def check_files(run_dir: Path) -> None:
    """Whatever has its final name is complete."""
    for path in run_dir.glob("*.pkl"):
        pickle.loads(path.read_bytes())
    for path in run_dir.glob("*.png"):
        with PIL.Image.open(path) as png:
            png.load()
    for path in checkpoint.states(run_dir):
        checkpoint.load(path)


NUM_KILLS = int(os.environ.get("STYLEGAN3_TEST_KILLS", "4"))  # 20 by hand


def start_loop(config: TrainConfig, state_path: Path | None) -> int:
    """Train in a process of its own, which is quickly started; its number."""
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        try:
            # The usual lock is shared with this process, and stays locked if its holder dies.
            tqdm.set_lock(threading.RLock())
            training_loop.training_loop(Worker(), config, state_path)
            os._exit(0)
        finally:
            os._exit(1)
    return pid


@pytest.mark.slow
@pytest.mark.multiprocess
def test_run_that_is_killed_at_random_continues(tmp_path):
    """Bit for bit: in the end it equals a run that nobody has killed."""
    rng = random.Random(0)
    changes = dict(state_minutes=0, network_snapshot_ticks=1, kimg_per_tick=0)
    config = dataclasses.replace(make_run(tmp_path / "run", "stylegan2"), **changes)
    seen, snapshots = 0, set()
    for _ in range(NUM_KILLS):
        paths = checkpoint.states(tmp_path / "run")
        pid = start_loop(config, paths[0] if paths else None)
        wait_for(lambda: checkpoint.states(tmp_path / "run"), [])
        time.sleep(rng.uniform(0.5, 3))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        check_files(tmp_path / "run")
        cur_nimg = checkpoint.load_newest(tmp_path / "run")[1]["cur_nimg"]
        assert cur_nimg >= seen > -1
        assert snapshots <= set((tmp_path / "run").glob("*.pkl"))
        seen, snapshots = cur_nimg, set((tmp_path / "run").glob("*.pkl"))
    assert seen > 0
    whole = dataclasses.replace(make_run(tmp_path / "whole", "stylegan2"), **changes)
    pid = start_loop(dataclasses.replace(whole, total_kimg=seen / 1000), None)
    assert os.waitpid(pid, 0)[1] == 0
    assert_same_state(*(checkpoint.states(tmp_path / name)[0] for name in ("run", "whole")))


@pytest.mark.slow
@pytest.mark.multiprocess
def test_torchrun_restarts_from_the_newest_state(tmp_path):
    """Two "machines", each an agent with a process of its own; one process is killed."""
    finals = {}
    for name in ("undisturbed", "disturbed"):
        outdir = tmp_path / name
        # The agents meet here; a port of the system's choice collides with no other test.
        store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        logs = [tmp_path / f"{name}-{i}.log" for i in range(2)]
        agents = [start_agent(outdir, log, store.port) for log in logs]
        if name == "disturbed":
            wait_for(lambda: list(tmp_path.glob("disturbed/*/training-state-*80.pt")), agents)
            (victim,) = (
                child
                for child in psutil.Process(agents[1].pid).children()
                if any(Path(part).name == "train.py" for part in child.cmdline())
            )
            victim.kill()
        for agent in agents:
            assert agent.wait(timeout=280) == 0, (tmp_path / f"{name}-0.log").read_text()
        (run_dir,) = outdir.iterdir()
        finals[name] = checkpoint.states(run_dir)[0]
    assert "Continuing at" in (tmp_path / "disturbed-0.log").read_text()
    assert_same_state(finals["disturbed"], finals["undisturbed"])


def start_agent(outdir: Path, log_path: Path, port: int) -> subprocess.Popen:
    """Start torchrun for one of two machines; `port` is that of a store on this one."""
    command = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--max-restarts=2"]
    command += [f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-conf=is_host=0", "--rdzv-id=test"]
    command += ["--local-addr=127.0.0.1"]
    options = [f"--outdir={outdir}", "--device=cpu", *COMMAND, "--workers=0", "--state-minutes=0"]
    with log_path.open("w") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                *command,
                PROJECT / "train.py",
                *options,
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
