"""Faults injected into real runs: what docs/reliability.md promises, a test for each.

The first line of each docstring is the fault as the table there has it; `tests/test_docs.py` makes
sure of it.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import pty
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from data import file_states, fingerprint
from dnnlib import heartbeat
from tests.data.test_dataset import make_png, make_zip
from tests.training.real_runs import COMMAND, PROJECT, read_until, wait_for
from tests.training.test_continuation import make_run, make_trainer
from torch_utils import local_processes, watchdog
from torch_utils.distributed import Worker
from torch_utils.shared_texts import TextsInMemory
from torch_utils.watchdog import Report
from training import checkpoint, preflight, training_loop
from training.stop_request import StopRequest

pytestmark = [pytest.mark.slow, pytest.mark.multiprocess]
LONG = [*COMMAND, "--kimg=1000"]  # longer than any test


def script_with(tmp_path: Path, patch: str) -> Path:
    """`train.py` with a fault, in all its processes."""
    path = tmp_path / "train_with_fault.py"
    path.write_text(
        f"import os, sys, time, torch\n{patch}\n"
        "if __name__ == '__main__':\n    import train\n    train.main()\n"
    )
    return path


def finish(process: subprocess.Popen, limit_sec: float = 120) -> str:
    """What a process still prints until it ends, which it must do in time."""
    try:
        return process.communicate(timeout=limit_sec)[0]
    except subprocess.TimeoutExpired:
        tree = psutil.Process(process.pid).children(recursive=True)
        raise AssertionError(f"does not end; its processes: {tree}") from None


def errors(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("Error:")]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    """Images of which those are damaged that are not on the sheet, which is read first."""
    num = 1100
    order = list(range(num))
    np.random.RandomState(0).shuffle(order)  # the first 1024 are on the sheet
    pngs = [make_png(np.full([8, 8], i % 256, np.uint8)) for i in range(num)]
    for i in order[1024:]:
        checksum = pngs[i].index(b"IEND") - 8
        pngs[i] = pngs[i][:checksum] + bytes(4) + pngs[i][checksum + 4 :]
    path = tmp_path_factory.mktemp("data") / "damaged.zip"
    return make_zip(path, {f"{i:04d}.png": data for i, data in enumerate(pngs)})


@pytest.mark.parametrize(
    ("num_workers", "num_processes", "launcher"),
    [(1, 1, []), (3, 2, []), (2, 1, ["torchrun"])],
    ids=["one", "two", "torchrun"],
)
def test_damaged_image_ends_the_run(num_workers, num_processes, launcher, start, tmp_path, damaged):
    """a damaged image"""
    options = [*COMMAND, f"--data={damaged}", f"--workers={num_workers}", "--kimg=4"]
    script = PROJECT / "train.py"
    if launcher:
        script = tmp_path / "torchrun.py"
        script.write_text(
            "import sys\nfrom torch.distributed.run import main\n"
            f"main(['--standalone', '--nproc-per-node=1', {str(PROJECT / 'train.py')!r}, "
            "*sys.argv[1:]])\n"
        )
    process = start(tmp_path / "runs", *options, f"--gpus={num_processes}", script=script)
    output = finish(process)
    assert process.returncode == 1, output
    (error,) = errors(output)
    assert re.search(r"loading training images failed: .*png cannot be read .*damaged", error)
    assert launcher or "Traceback" not in output


@pytest.mark.parametrize("num_processes", [1, 2])
def test_error_inside_pytorch_ends_the_run(num_processes, start, tmp_path):
    """any other error"""
    script = script_with(
        tmp_path,
        "from training.training_loop import Trainer\n"
        "def _train_batch(self):\n    torch.zeros(2) @ torch.zeros(3)\n"
        "Trainer._train_batch = _train_batch",
    )
    process = start(tmp_path / "runs", *COMMAND, f"--gpus={num_processes}", script=script)
    output = finish(process)
    assert process.returncode == 1, output
    assert "RuntimeError: " in output and "_train_batch" in output
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert "_train_batch" in (run_dir / "log.txt").read_text()


def test_error_before_training_ends_the_loading_processes(tmp_path, monkeypatch):
    """any other error"""
    pids = []

    def fail(trainer, _state):
        pids.extend(trainer.batches._loader.worker_pids)
        raise ZeroDivisionError

    monkeypatch.setattr(training_loop.Trainer, "_set_up_files", fail)
    config = make_run(tmp_path / "run", "stylegan2")
    config.data_loader_kwargs.update(num_workers=1, prefetch_factor=2)
    with pytest.raises(ZeroDivisionError) as caught:  # which keeps the trainer, as notebooks do
        make_trainer(config)
    assert caught.traceback and pids and not any(psutil.pid_exists(pid) for pid in pids)


def test_closed_terminal_stops_the_run_with_a_state(start, tmp_path):
    """a closed terminal (SIGHUP)"""
    master, slave = pty.openpty()

    def take_terminal():
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where `nohup` runs the tests

    process = start(
        tmp_path,
        *LONG,
        "--gpus=1",
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=False,
        preexec_fn=take_terminal,
    )
    os.close(slave)
    output = b""
    while b"tick 0 " not in output:
        output += os.read(master, 10_000)
    os.close(master)  # the window is gone
    process.wait(timeout=120)
    assert process.returncode == 0
    (run_dir,) = tmp_path.iterdir()
    assert f"Continue with: python train.py --resume={run_dir}" in (run_dir / "log.txt").read_text()
    assert checkpoint.load_newest(run_dir)[1]["cur_nimg"] >= 40


def test_run_goes_on_when_nobody_reads_its_output(start, tmp_path):
    """the reader of its output has gone"""
    process = start(tmp_path, *COMMAND, "--gpus=1")
    read_until(process, "tick 0 ")
    process.stdout.close()
    process.stdout = None
    process.wait(timeout=120)
    assert process.returncode == 0
    (run_dir,) = tmp_path.iterdir()
    log = (run_dir / "log.txt").read_text()
    assert "Note: the console is gone (Broken pipe); the log goes on." in log
    assert "Done. The last snapshot is the trained network." in log and "Traceback" not in log


def test_clock_that_is_set_back_does_not_stop_the_saving(tmp_path, monkeypatch):
    """the clock is set"""
    hours = itertools.count(2_000_000, -1)
    monkeypatch.setattr(time, "time", lambda: next(hours) * 3600.0)
    config = dataclasses.replace(make_run(tmp_path / "run", "stylegan2"), state_minutes=1e-6)
    trainer = make_trainer(config)
    trainer.tick = 1  # the first ends with a snapshot
    saved = []

    def train_batch():
        Trainer._train_batch(trainer)
        saved.extend(path.name for path in checkpoint.states(tmp_path / "run"))
        request.is_set = trainer.batch_idx == 3

    Trainer, request = training_loop.Trainer, StopRequest(True)
    monkeypatch.setattr(trainer, "_train_batch", train_batch)
    trainer.train(request)
    trainer.close()
    assert "training-state-000000008.pt" in saved
    assert trainer.state_dict()["total_sec"] > 0


def test_unfinished_files_of_a_killed_process_are_removed(tmp_path, monkeypatch, capsys):
    """`kill -9` in the middle of saving"""
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    trainer._train_batch()
    trainer._save_state(must_succeed=True)
    (state,) = checkpoint.states(tmp_path / "run")
    pid = os.fork()
    if pid == 0:  # pragma: no cover

        def save(_state, f):
            f.write(bytes(1_000_000))
            f.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        torch.save = save
        trainer.cur_nimg += 8
        trainer._save_state(must_succeed=True)
        os._exit(0)
    os.waitpid(pid, 0)
    trainer.close()
    assert len(list(state.parent.glob(".training-state-*.tmp"))) == 1
    of_others = state.with_name(f".notes.txt.{'0' * 32}.tmp")
    of_others.touch()
    with preflight.sole_trainer(state.parent):
        assert list(state.parent.glob(".training-state-*")) == []
        assert of_others.exists() and state.exists()
    out = capsys.readouterr().out
    assert "Note: 1 unfinished file (1.0 MB) of a killed process removed." in out


def test_full_disk_at_a_snapshot_does_not_end_the_run(start, tmp_path):
    """the disk is full"""
    process = start(tmp_path, *LONG, "--gpus=1", "--state-minutes=0")
    read_until(process, "tick 0 ")
    wait_for(lambda: list(tmp_path.glob("*/network-snapshot-000000.pkl")), [process])
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, -1))  # of any file
    output = read_until(process, "Warning: network-snapshot-000001.pkl was not saved")
    assert "Warning: training_stats.jsonl lacks a line: " in output
    assert "Warning: the state was not saved: " in output
    assert "Warning: fakes000001.png was not saved, and training goes on: " in output
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (-1, -1))
    wait_for(lambda: list(tmp_path.glob("*/network-snapshot-00000[2-9].pkl")), [process])
    process.terminate()
    output = finish(process)
    assert process.returncode == 0 and "Continue with: " in output
    (run_dir,) = tmp_path.iterdir()
    lines = (run_dir / "training_stats.jsonl").read_text().splitlines()
    ticks = [json.loads(line)["Progress/tick"]["mean"] for line in lines]
    assert ticks[:2] == [0, 2]  # whole lines only
    assert checkpoint.load_newest(run_dir)[1]["stats_jsonl_bytes"] == sum(map(len, lines)) + len(
        lines
    )


def test_vanished_folder_does_not_end_the_run(start, tmp_path):
    """the disk with the run's folder is unmounted for a while"""
    options = ("--gpus=1", "--state-minutes=0", "--keep-snapshots=3")
    process = start(tmp_path / "runs", *LONG, *options)
    read_until(process, "tick 0 ")
    wait_for(lambda: list(tmp_path.glob("runs/*/network-snapshot-000000.pkl")), [process])
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    read_until(process, "Warning: network-snapshot-000001.pkl was not saved")
    (tmp_path / "elsewhere").rename(tmp_path / "runs")
    wait_for(lambda: list(tmp_path.glob("runs/*/network-snapshot-00000[2-9].pkl")), [process])
    process.terminate()
    output = finish(process)
    assert process.returncode == 0 and "Continue with: " in output


def test_continued_run_finishes_its_snapshot(start, tmp_path):
    """the run dies between a state and its snapshot"""
    script = script_with(
        tmp_path,
        "from training.snapshot import Snapshots\n"
        "def save_sheet(self, path):\n"
        "    if path.name == 'fakes000001.png': os._exit(9)\n    save(self, path)\n"
        "save, Snapshots.save_sheet = Snapshots.save_sheet, save_sheet",
    )
    process = start(tmp_path / "runs", *COMMAND, "--gpus=1", "--kimg=2", script=script)
    output = finish(process)
    assert process.returncode == 9, output
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert checkpoint.load_newest(run_dir)[1]["missing"] == ["sheet", "networks", "metrics"]
    assert sorted(run_dir.glob("network-snapshot-*")) == [run_dir / "network-snapshot-000000.pkl"]
    before = (run_dir / "network-snapshot-000000.pkl").stat().st_mtime_ns
    process = start(tmp_path / "runs", "--resume=latest")
    output = finish(process)
    assert process.returncode == 0, output
    names = sorted(path.name for path in run_dir.glob("*-snapshot-*"))
    assert names == [f"network-snapshot-{kimg:06d}.pkl" for kimg in range(3)]
    assert (run_dir / "fakes000001.png").exists()
    assert (run_dir / "network-snapshot-000000.pkl").stat().st_mtime_ns == before


def children_of(process: subprocess.Popen) -> list[psutil.Process]:
    """The processes of a run with `--gpus`, by rank."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_death_of_one_local_process_ends_all_in_one_line(start, tmp_path):
    """a process of several dies, started with `--gpus`"""
    process = start(tmp_path, *LONG, "--gpus=2", "--state-minutes=0")
    read_until(process, "tick 0 ")
    wait_for(lambda: list(tmp_path.glob("*/training-state-*.pt")), [process])
    ranks = children_of(process)
    ranks[1].kill()
    output = finish(process)
    assert process.returncode == 1
    (run_dir,) = tmp_path.iterdir()
    (error,) = errors(output)
    assert error.startswith("Error: process 1 of 2 was killed (SIGKILL; ")
    assert error.endswith(f"continue with: python train.py --resume={run_dir}")
    assert "Traceback" not in output
    assert not ranks[0].is_running()


def test_death_of_the_first_process_ends_the_others(start, tmp_path):
    """the process that started the others dies"""
    process = start(tmp_path, *LONG, "--gpus=2")
    read_until(process, "tick 0 ")
    ranks = children_of(process)
    assert len(ranks) == 2
    process.kill()
    _, alive = psutil.wait_procs(ranks, timeout=30)
    assert alive == []


@pytest.mark.parametrize("fault", ["stopped", "stuck"])
def test_process_that_hangs_ends_the_run_and_is_named(fault, start, tmp_path):
    """a process of several hangs"""
    script = PROJECT / "train.py"
    if fault == "stuck":
        script = script_with(
            tmp_path,
            "from training.training_loop import Trainer\n"
            "def _train_batch(self):\n"
            "    if self.worker.rank == 1 and self.batch_idx == 3: time.sleep(1000)\n"
            "    train_batch(self)\n"
            "train_batch, Trainer._train_batch = Trainer._train_batch, _train_batch",
        )
    process = start(tmp_path / "runs", *LONG, "--gpus=2", "--watchdog-minutes=0.25", script=script)
    read_until(process, "tick 0 ")
    pid = children_of(process)[1].pid
    if fault == "stopped":
        os.kill(pid, signal.SIGSTOP)
    output = finish(process)
    assert process.returncode == 1
    error = errors(output)[-1]
    assert error.startswith("Error: process 1 of 2 (") and f"process id {pid}) hangs: " in error
    assert "--watchdog-minutes" in error and "Traceback (" not in output
    if fault == "stuck":
        assert "Process 1 hangs here:" in output and "_train_batch" in output
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert "process 1 of 2" in (run_dir / "log.txt").read_text()


def report(collectives: int, is_waiting: bool = False) -> Report:
    return Report(1, 1, collectives, is_waiting, "here")


def test_watchdog_blames_those_who_keep_the_others_waiting():
    """a process of several hangs"""
    assert watchdog.stuck({0: report(5, True), 1: report(4), 2: report(5, True)}, []) == [1]
    assert watchdog.stuck({0: report(4), 1: report(4), 2: report(5, True)}, []) == [0, 1]
    assert watchdog.stuck({0: report(5, True), 1: report(5, True)}, [1]) == [1]  # does not report
    assert watchdog.stuck({0: report(5, True), 1: report(5, True)}, []) == []  # the network's fault
    assert watchdog.stuck({0: report(5), 1: report(5)}, []) is None  # both compute
    text = watchdog.describe({0: report(5, True), 1: report(5, True)}, [], 2, 600)
    assert text.startswith("the 2 processes have waited for one another for 10m 00s")
    text = watchdog.describe({0: report(5), 1: report(5)}, [0, 1], 2, 3600)
    assert text.startswith("none of the 2 processes has got anything done for 1h 00m 00s")
    one = Report(7, 8, 9, True, "a b c")
    assert Report.decode(one.encode()) == one


@contextlib.contextmanager
def watched_as(rank: int, reports: TextsInMemory, limit_sec: float):
    with watchdog.watch(Worker(rank, 2, reports=reports), limit_sec):
        yield


def test_watchdog_leaves_slow_processes_alone(monkeypatch):
    """a process of several hangs"""
    monkeypatch.setattr(local_processes, "fail", lambda message: pytest.fail(message))
    ended = []
    monkeypatch.setattr(watchdog, "_end", lambda *args: ended.append(args))
    reports = TextsInMemory(2, 100)
    reports.write(1, Report(1, 1, heartbeat.progress.collectives + 1, True, "x").encode())
    with watched_as(0, reports, 1):
        for i in range(30):
            time.sleep(0.05)
            heartbeat.beat()
            reports.write(1, Report(i, 1, 1 << 20, True, "x").encode())
    assert ended == []
    with watched_as(0, reports, 0.2):
        wait_for(lambda: ended, [])
    assert ended[0][2] in ([0], [1])


def test_reading_the_state_of_many_files_is_progress(tmp_path):
    """a process of several hangs"""
    names = [f"{i}.png" for i in range(5)]
    for name in names:
        (tmp_path / name).touch()
    for look in (fingerprint.of_folder, file_states.describe):
        before = heartbeat.progress.beats
        look(tmp_path, names)
        assert heartbeat.progress.beats >= before + len(names)


STUCK = (
    "from training.training_loop import Trainer\n"
    "def _train_batch(self):\n    print('stuck', flush=True)\n    torch.ones(1).sum()\n"
    "    import threading\n    threading.Lock().acquire()\n    lock.acquire()\n"
    "import threading\nlock = threading.Lock()\nlock.acquire()\n"
    "Trainer._train_batch = _train_batch"
)


def test_second_signal_ends_a_run_at_once(start, tmp_path):
    """SIGTERM, Ctrl-C"""
    process = start(tmp_path / "runs", *LONG, "--gpus=1", script=script_with(tmp_path, STUCK))
    read_until(process, "stuck")
    process.send_signal(signal.SIGINT)
    read_until(process, "Stopping: finishing the step and saving the state.")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output = finish(process)  # the first signal alone would never end it
    assert process.returncode == 128 + signal.SIGINT
    assert "Exiting at once: what came after the last state is lost." in output


def test_ignored_signals_stay_ignored(start, tmp_path):
    """a closed terminal (SIGHUP)"""
    process = start(
        tmp_path,
        *COMMAND,
        "--gpus=1",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup does
    )
    read_until(process, "tick 0 ")
    process.send_signal(signal.SIGHUP)
    output = finish(process)
    assert process.returncode == 0 and "Done." in output and "Stopping" not in output
