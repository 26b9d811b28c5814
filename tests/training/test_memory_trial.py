"""`--batch-gpu=auto`: the largest pass that fits, and nothing of its trial in the run."""

import dataclasses
import json
import weakref
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import train
from data import image_cache
from dnnlib.errors import MachineError
from tests.training.real_runs import GRAY
from tests.training.test_continuation import assert_same_state, make_run, make_trainer
from torch_utils import distributed, training_stats
from torch_utils.distributed import Worker
from training import checkpoint, memory_trial, minibatch_groups, random_state, resume
from training.config import TrainConfig, TrainOptions

GB = 10**9


def make_auto(folder: Path, name: str = "stylegan2", num_processes: int = 1) -> TrainConfig:
    """A tiny run that may choose among 8, 4 and 2 samples per process and pass."""
    config = make_run(folder, name, num_processes)
    options = dataclasses.replace(config.options, batch_gpu="auto")
    return dataclasses.replace(config, options=options)


def choose(config: TrainConfig, worker: Worker | None = None) -> tuple[int, list[str]]:
    """The chosen size, and the lines that were printed."""
    images = dict(c_dim=0, img_resolution=8, img_channels=1)
    lines: list[str] = []
    chosen = memory_trial.choose(worker or Worker(), config, images, lines.append)
    assert chosen.options.batch_gpu == chosen.batch_gpu
    return chosen.batch_gpu, lines


@pytest.fixture
def half_a_gb_per_sample(monkeypatch):
    """Passes of 2 and 4 samples take 2 and 3 GB, so 8 take 5 GB."""
    monkeypatch.setattr(memory_trial._Rehearsal, "run", lambda self, num: None)
    peaks = iter([2 * GB, 3 * GB])
    monkeypatch.setattr(memory_trial._PeakMemory, "peak", lambda self: next(peaks))


@pytest.mark.parametrize(
    ("free_gb", "expected"), [(6.26, 8), (6.24, 4), (3.76, 4), (3.74, 2), (2.51, 2), (2.49, None)]
)
def test_estimate_takes_four_fifths_of_the_free_memory(
    free_gb, expected, half_a_gb_per_sample, tmp_path, monkeypatch
):
    monkeypatch.setattr(image_cache, "free_bytes", lambda: int(free_gb * GB))
    if expected is None:
        with pytest.raises(MachineError, match=r"not even 2 samples .*--batch-gpu=2 tries never"):
            choose(make_auto(tmp_path / "run"))
        return
    chosen, lines = choose(make_auto(tmp_path / "run"))
    assert chosen == expected
    assert lines[1:3] == ["  2 samples: 2.00 GB", "  4 samples: 3.00 GB"]
    estimate = {8: 5.0, 4: 3.0, 2: 2.0}[expected]
    assert lines[3].startswith(f"  {expected} samples: {estimate:.2f} GB by estimate, of ")
    assert f"{expected} samples per process and pass, in {8 // expected} pass(es)" in lines[4]


def test_processes_of_a_machine_share_its_memory(half_a_gb_per_sample, tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache, "free_bytes", lambda: int(8 * GB))
    monkeypatch.setattr(distributed, "num_local_processes", lambda worker: 2)
    assert choose(make_auto(tmp_path / "run"))[0] == 4


@pytest.mark.parametrize("largest", [8, 4, 2, 0])
def test_sizes_are_tried_from_the_largest_and_leave_nothing_behind(largest, tmp_path, monkeypatch):
    tried, alive = [], []

    def run(rehearsal, num):
        tried.append(num)
        alive.append(weakref.ref(rehearsal))
        assert [one() for one in alive[:-1]] == [None] * (len(alive) - 1)
        if num > largest:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(memory_trial._Rehearsal, "run", run)
    config, lines = make_auto(tmp_path / "run"), []
    images = dict(c_dim=0, img_resolution=8, img_channels=1)
    found = memory_trial._largest_by_trying(Worker(), config, images, [8, 4, 2], lines.append)
    assert found == largest
    assert tried == [num for num in (8, 4, 2) if num >= largest]
    assert lines == [f"  {n} samples: {'fit' if n == largest else 'out of memory'}" for n in tried]


@pytest.mark.parametrize(("name", "phases"), [("stylegan2", 4), ("stylegan3-t", 3)])
def test_trial_runs_all_phases_as_the_run_does(name, phases, tmp_path):
    """Two passes where the run has several, with optimizers, augmentation and a sheet."""
    config = make_auto(tmp_path / "run", name)
    images = dict(c_dim=0, img_resolution=8, img_channels=1)
    rehearsal = memory_trial._Rehearsal(config, images, torch.device("cpu"))
    passes, sheet = [], []
    run_pass = rehearsal.loss.accumulate_gradients

    def note(**kwargs):
        passes.append((kwargs["phase"], len(kwargs["real_img"])))
        run_pass(**kwargs)

    rehearsal.loss.accumulate_gradients = note
    rehearsal.G_ema.register_forward_hook(lambda G, args, out: sheet.append(len(out)))
    with training_stats.held() as reports:
        rehearsal.run(8)
        assert passes == [(phase.name, 8) for phase in rehearsal.phases]
        passes.clear()
        rehearsal.run(2)
        reports.clear()
    assert passes == [(phase.name, 2) for phase in rehearsal.phases for _ in range(2)]
    assert len(rehearsal.phases) == phases and sheet == [8, 2]
    for phase in rehearsal.phases:
        assert phase.optimizer.state_dict()["state"]
        assert all(param.grad is None for param in phase.module.parameters())
    assert rehearsal.loss.augment_pipe.p == (1 if name == "stylegan2" else config.augment_p)


@pytest.mark.parametrize("name", ["stylegan2", "stylegan3-t"])
def test_run_equals_that_with_the_number_given(name, tmp_path, monkeypatch, capsys):
    """The trial changes no weights, moving averages, statistics or random numbers."""
    monkeypatch.setattr(memory_trial, "CPU_SHARE", 1e9)  # the largest always fits
    for kind in ("auto", "given"):
        training_stats._new_nums.clear()  # of other runs in this process
        training_stats._new_sums.clear()
        auto = make_auto(tmp_path / kind, name)
        trainer = make_trainer(auto if kind == "auto" else auto.with_batch_gpu(8))
        for _ in range(2):
            trainer._train_batch()
        trainer.maintenance_sec = 0
        trainer._save_state(must_succeed=True)
        trainer.close()
        training_stats.Collector().update()
        written = json.loads((tmp_path / "auto/training_options.json").read_text())
        assert written["batch_gpu"] == 8
    state = "training-state-000000016.pt"
    assert_same_state(tmp_path / "auto" / state, tmp_path / "given" / state)
    out = capsys.readouterr().out
    assert out.count("--batch-gpu=auto: 8 samples per process and pass, in 1 pass(es)") == 1


def test_generators_and_reports_are_as_before_even_after_an_error(tmp_path, monkeypatch):
    config = make_auto(tmp_path / "run")
    device = torch.device("cpu")
    before, names = random_state.capture(device), dict(training_stats._new_nums)
    choose(config)
    after = random_state.capture(device)
    assert torch.equal(before["torch"], after["torch"])
    assert torch.equal(before["numpy"][1], after["numpy"][1])
    assert training_stats._new_nums == names
    with pytest.raises(ZeroDivisionError), training_stats.held():
        training_stats.report("x", 1 / 0)
    assert training_stats._held is None


def _agree(worker: Worker, config: TrainConfig, sizes: list[int]) -> None:
    """Run in each process, which finds a size of its own."""
    memory_trial._largest_by_estimate = lambda *_args: sizes[worker.rank]
    if 0 in sizes:
        with pytest.raises(MachineError, match="not even 2 samples"):
            choose(config, worker)
    else:
        assert choose(config, worker)[0] == min(sizes)


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("sizes", [[4, 2], [2, 4], [4, 0]])
def test_all_processes_take_the_smallest_size(sizes, tmp_path):
    distributed.launch(_agree, 2, "cpu", make_auto(tmp_path / "run", num_processes=2), sizes)


def test_only_choice_needs_no_trial(tmp_path):
    config = make_auto(tmp_path / "run", num_processes=4)
    assert choose(config) == (
        2,
        ["--batch-gpu=auto: 2 samples per process and pass are the only choice.\n"],
    )


@pytest.mark.parametrize(
    ("per_process", "wanted", "expected"),
    [
        (32, 4, [32, 16, 8, 4]),
        (24, 4, [24, 12, 8, 4]),
        (12, 4, [12, 4]),  # the groups of 6 samples are smaller
        (18, 4, [18, 9, 6]),  # groups of 3
        (20, 4, [20, 4]),
        (8, 1, [8, 4, 2, 1]),
        (5, 4, []),  # is refused
    ],
)
def test_sizes_keep_the_groups_as_large_as_they_can_be(per_process, wanted, expected):
    assert minibatch_groups.pass_sizes(per_process, wanted) == expected


@pytest.mark.parametrize(
    ("given", "saved", "expected"),
    [
        (dict(gpus=4), 8, 4),  # 4 per process
        (dict(gpus=4), 4, 4),
        (dict(gpus=1), 8, 8),
        (dict(gpus=4), None, None),
        (dict(gpus=4, batch_gpu=8), 8, 8),  # is refused
        (dict(kimg=9), 8, 8),
        (dict(gpus=3), 8, 8),  # is refused
    ],
)
def test_saved_size_is_adapted_to_other_processes(given, saved, expected):
    options = TrainOptions(
        cfg="stylegan2", gpus=2, batch=16, gamma=1, batch_gpu=saved, mbstd_group=2
    )
    options = dataclasses.replace(options, **given)
    fitting, note = resume.fit_batch_gpu(options, given)
    assert fitting.batch_gpu == expected
    assert (note is None) == (expected == saved)
    if note:
        assert "--batch-gpu=8 of the run does not suit --gpus=4: from here on it is 4." in note


def test_command_line_takes_the_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["--outdir=runs", f"--data={GRAY}", "--cfg=stylegan2", "--gpus=1", "--batch=24"]
    command += ["--gamma=1", "--metrics=none", "--dry-run"]
    result = CliRunner().invoke(train.main, [*command, "--batch-gpu=auto"])
    assert result.exit_code == 0, result.output
    assert "tries, before training starts, whether 24 samples per process and pass" in result.output
    assert '"batch_gpu": 24,' in result.output
    result = CliRunner().invoke(train.main, [*command, "--batch-gpu=automatic"])
    assert result.exit_code == 2
    assert "'automatic' is not a whole number" in result.output and "auto" in result.output


@pytest.mark.slow
def test_whole_run_chooses_and_continues_with_its_choice(start, tmp_path):
    options = ["--cfg=stylegan2", f"--data={GRAY}", "--batch=40", "--gamma=1", "--cbase=64"]
    options += ["--cmax=4", "--map-depth=1", "--workers=0", "--kimg=1", "--metrics=none"]
    process = start(tmp_path, *options, "--gpus=1", "--batch-gpu=auto")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    assert "--batch-gpu=auto: 40 samples per process and pass, in 1 pass(es); found in" in output
    (run_dir,) = tmp_path.iterdir()
    assert checkpoint.load_newest(run_dir)[1]["options"]["batch_gpu"] == 40
    process = start(tmp_path, "--resume=latest", "--kimg=2", "--dry-run")
    output = process.communicate(timeout=240)[0]
    assert '"batch_gpu": 40,' in output and "auto" not in output
