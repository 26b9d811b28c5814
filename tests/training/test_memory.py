"""Memory that runs out in the middle of a run: the run goes on, exactly, with smaller passes."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch

from dnnlib import errors
from tests.training.real_runs import COMMAND
from tests.training.test_continuation import assert_same_state, make_run, make_trainer
from tests.training.test_evaluation import make_run as make_run_with_metrics
from tests.training.test_evaluation import prepared as prepared
from tests.training.test_faults import finish, script_with
from torch_utils import collectives, distributed, training_stats
from torch_utils.distributed import Worker
from training import checkpoint, memory
from training.config import TrainConfig
from training.training_loop import training_loop as run_training

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")
SHORT, SMALLER = "short", "smaller"  # memory runs out in a phase; its passes are smaller at once
# Phase of the fault, and the batch.
PHASES = [("Gmain", 1), ("Greg", 0), ("Dmain", 1), ("Dreg", 0)]


def train(
    worker: Worker,
    config: TrainConfig,
    state_path: Path | None,
    num_batches: int,
    faults: dict[tuple[str, int], str],
    error: Exception = CUDA,
) -> None:
    """Train with faults in the last process, and save. Processes call this by name."""
    torch.set_num_threads(1)
    training_stats._new_nums.clear()  # of other runs in this process
    training_stats._new_sums.clear()
    state = checkpoint.load(state_path) if worker.is_main and state_path is not None else None
    trainer = make_trainer(config, worker, collectives.broadcast(worker, state))
    left = dict(faults)
    run_phase, run_pass = trainer._run_phase, trainer.loss.accumulate_gradients

    def begin_phase(phase, *batch):
        if left.get((phase.name, trainer.batch_idx)) == SMALLER:
            trainer.config = trainer.config.with_batch_gpu(trainer.config.smaller_batch_gpu)
            trainer.pass_sizes.append(trainer.config.batch_gpu)
        run_phase(phase, *batch)

    def fail_after_the_pass(**kwargs):
        run_pass(**kwargs)
        at = kwargs["phase"], trainer.batch_idx
        if left.get(at) == SHORT and worker.rank == worker.size - 1:
            del left[at]
            raise error

    trainer._run_phase, trainer.loss.accumulate_gradients = begin_phase, fail_after_the_pass
    for _ in range(num_batches):
        trainer._train_batch()
    trainer.maintenance_sec = 0
    trainer._save_state(must_succeed=True)
    trainer.close()
    training_stats.Collector().update()


def train_both(folder: Path, name: str, num_processes: int, at: tuple[str, int], error) -> str:
    """Train with a fault and without; the states must be equal. Returns the name of the states."""
    for kind in (SHORT, SMALLER):
        config = make_run(folder / kind, name, num_processes)
        distributed.launch(train, num_processes, "cpu", config, None, 3, {at: kind}, error)
    name = "training-state-000000024.pt"
    assert_same_state(folder / SHORT / name, folder / SMALLER / name)
    return name


@pytest.mark.parametrize(
    ("name", "at", "error"),
    [
        *(pytest.param("stylegan2", at, CUDA, id=at[0]) for at in PHASES),
        pytest.param("stylegan3-t", ("Gboth", 1), CPU, id="Gboth"),
        pytest.param("stylegan3-t", ("Dmain", 1), CPU, id="Dmain-magnitudes"),
    ],
)
def test_phase_that_lacks_memory_is_repeated_exactly(name, at, error, tmp_path, capsys):
    """All that its first pass changed is taken back, so that the rest of the run is the same."""
    state = checkpoint.load(
        tmp_path / SHORT / train_both(tmp_path, name, num_processes=1, at=at, error=error)
    )
    assert state["options"]["batch_gpu"] == 4 and state["pass_sizes"] == [8, 4]
    (note,) = re.findall("Note: the memory .*", capsys.readouterr().out)
    assert note == (
        f"Note: the memory was not enough for {at[0]}. --batch-gpu is lowered from 8 to 4, and "
        f"{at[0]} begins again; this is time 1 of at most 2."
    )


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("at", PHASES, ids=lambda at: at[0])
def test_processes_agree_when_one_lacks_memory(at, tmp_path, capfd):
    name = train_both(tmp_path, "stylegan2", num_processes=2, at=at, error=CUDA)
    assert checkpoint.load(tmp_path / SHORT / name)["pass_sizes"] == [4, 2]
    notes = re.findall("Note: the memory .*", capfd.readouterr().out)
    assert [f"the memory of process 1 was not enough for {at[0]}" in note for note in notes] == [1]


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, pytest.param(2, marks=pytest.mark.multiprocess)])
def test_run_continues_exactly_with_smaller_passes(num_processes, tmp_path, capfd):
    fault = {("Dmain", 1): SHORT}
    whole, parts = (make_run(tmp_path / x, "stylegan2", num_processes) for x in ("whole", "parts"))
    distributed.launch(train, num_processes, "cpu", whole, None, 5, fault)
    distributed.launch(train, num_processes, "cpu", parts, None, 3, fault)
    (path,) = checkpoint.states(tmp_path / "parts")
    lowered = parts.with_batch_gpu(checkpoint.load(path)["options"]["batch_gpu"])
    capfd.readouterr()
    distributed.launch(train, num_processes, "cpu", lowered, path, 2, {})
    name = "training-state-000000040.pt"
    assert_same_state(tmp_path / "parts" / name, tmp_path / "whole" / name)
    before, now = (8, 4) if num_processes == 1 else (4, 2)
    assert (
        f"Note: memory was short, and the run has lowered --batch-gpu from {before} to {now}; it "
        "goes on with this, unless --batch-gpu is given."
    ) in capfd.readouterr().out


def test_value_that_is_given_again_forgets_the_lowering(tmp_path, capsys):
    config = make_run(tmp_path / "run", "stylegan2")
    train(Worker(), config, None, 1, {("Gmain", 0): SHORT})
    (path,) = checkpoint.states(tmp_path / "run")
    capsys.readouterr()
    trainer = make_trainer(config.with_batch_gpu(8), state=checkpoint.load(path))
    trainer.close()
    assert trainer.pass_sizes == [8]
    assert "memory was short" not in capsys.readouterr().out


@pytest.mark.parametrize("num_processes", [1, pytest.param(2, marks=pytest.mark.multiprocess)])
def test_third_time_ends_the_run_with_a_state_from_which_it_continues(num_processes, tmp_path):
    """The state knows which phases of the batch have run."""
    limit = memory.MAX_LOWERINGS if num_processes == 1 else 1  # then passes are as small as can be
    whole, ended = (make_run(tmp_path / x, "stylegan2", num_processes) for x in ("whole", "ended"))
    error = rf"out of memory with --batch-gpu=2 \(lowered from {8 // num_processes}\): no smaller"
    with pytest.raises(Exception, match=error):
        distributed.launch(_train_until_it_ends, num_processes, "cpu", ended, limit)
    (path,) = checkpoint.states(tmp_path / "ended")
    state = checkpoint.load(path)
    assert [rank["begun"]["done"] for rank in state["ranks"]] == [["Gmain"]] * num_processes
    assert (state["cur_nimg"], state["batch_idx"]) == (8, 1)

    again = ended.with_batch_gpu(2)
    distributed.launch(train, num_processes, "cpu", again, path, 2, {})
    sizes = {("Gmain", 0): SMALLER, ("Greg", 0): SMALLER}
    sizes = dict(list(sizes.items())[:limit])
    distributed.launch(train, num_processes, "cpu", whole, None, 3, sizes)
    name = "training-state-000000024.pt"
    assert_same_state(tmp_path / "ended" / name, tmp_path / "whole" / name)


def _train_until_it_ends(worker: Worker, config: TrainConfig, limit: int) -> None:
    """Memory runs out in the first phases, and for ever from the second Dmain on."""
    torch.set_num_threads(1)
    trainer = make_trainer(config, worker)
    # As after a snapshot: a state of this moment exists, without the phases that run since.
    trainer._finish_tick = lambda is_done: trainer._save_state(must_succeed=True)
    faults = [("Gmain", 0), ("Greg", 0)][:limit]
    run_pass = trainer.loss.accumulate_gradients

    def fail(**kwargs):
        run_pass(**kwargs)
        at = kwargs["phase"], trainer.batch_idx
        if at in faults:
            faults.remove(at)
            raise CUDA
        if at == ("Dmain", 1):
            raise CUDA

    trainer.loss.accumulate_gradients = fail
    try:
        trainer.train()
    finally:
        trainer.close()


def test_batch_that_was_begun_by_other_processes_is_divided_anew():
    z, c = torch.randn(2, 8, 3), torch.randn(2, 8, 1)
    four = [
        dict(gen_z=a, gen_c=b, done=["Gmain"])
        for a, b in zip(z.split(2, dim=1), c.split(2, dim=1), strict=True)
    ]
    for rank in range(2):
        begun = memory.begun_batch(four, Worker(rank, 2))
        assert torch.equal(begun.gen_z, z[:, 4 * rank :][:, :4]) and begun.done == ["Gmain"]
        assert torch.equal(begun.gen_c, c[:, 4 * rank :][:, :4])


def test_error_of_another_kind_still_ends_the_run(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"):
        config = make_run(tmp_path / "run", "stylegan2")
        train(Worker(), config, None, 1, {("Gmain", 0): SHORT}, RuntimeError("shapes"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CUDA, True),
        (CPU, True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB, ...)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (KeyError("CUDA error: out of memory"), False),
    ],
    ids=str,
)
def test_lack_of_memory_is_recognised(error, expected):
    assert errors.is_out_of_memory(error) == expected


# Sheets, pickles and metrics.


def test_sheet_is_made_in_smaller_batches(tmp_path, capsys):
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    sheet, G = trainer.sheet, trainer.G_ema
    sheet.z, sheet.c = ([torch.cat(x)[:16]] for x in (sheet.z, sheet.c))
    sheet.grid_size = (4, 4)
    sheet.save_fakes(G, tmp_path / "whole.png")

    def short(z, c, **kwargs):
        if len(z) > 4:
            raise CUDA
        return G(z, c, **kwargs)

    sheet.save_fakes(short, tmp_path / "parts.png")
    assert (tmp_path / "parts.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    assert re.findall("now made (.) at a time", capsys.readouterr().out) == ["8", "4"]
    trainer.close()


def test_sheet_without_memory_for_one_image_is_left_out(tmp_path, monkeypatch, capsys):
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))

    def short(*_args, **_kwargs):
        raise CPU

    monkeypatch.setattr(trainer.G_ema, "forward", short)
    trainer.snapshots.missing = ["sheet"]
    trainer.snapshots.save(1000, is_last=False)
    out = capsys.readouterr().out
    assert "Warning: fakes000001.png was not saved, and training goes on: Cannot allocate" in out
    trainer.snapshots.missing = ["sheet"]
    with pytest.raises(OSError, match="Cannot allocate memory"):
        trainer.snapshots.save(1000, is_last=True)
    trainer.close()


@pytest.mark.parametrize("num_faults", [1, 2])
def test_pickle_is_written_at_the_second_try(num_faults, tmp_path, monkeypatch, capsys):
    trainer = make_trainer(make_run(tmp_path / "run", "stylegan2"))
    faults = [CUDA] * num_faults
    deepcopy = copy.deepcopy

    def short(*args):
        if faults:
            raise faults.pop()
        return deepcopy(*args)

    monkeypatch.setattr(copy, "deepcopy", short)
    trainer.snapshots.missing = ["networks"]
    trainer.snapshots.save(1000, is_last=False)
    out = capsys.readouterr().out
    assert "Note: memory ran out for network-snapshot-000001.pkl; trying again" in out
    assert ("was not saved" in out) == (num_faults == 2)
    assert (tmp_path / "run/network-snapshot-000001.pkl").exists() == (num_faults == 1)
    trainer.close()


def _train_with_short_metrics(worker: Worker, config: TrainConfig, folder: Path) -> None:
    """Run in each process: more than one generated image at a time are too many."""
    from metrics import metric_utils
    from tests.training import test_evaluation

    torch.set_num_threads(1)
    test_evaluation.set_up(folder)
    default = metric_utils._draw_latents

    def short(opts, first, stop, *args):
        if stop - first > 1:  # only the first process has images to make
            raise CPU
        return default(opts, first, stop, *args)

    metric_utils._draw_latents = short
    try:
        run_training(worker, config)
    finally:
        metric_utils._draw_latents = default


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, pytest.param(2, marks=pytest.mark.multiprocess)])
def test_metric_begins_again_with_smaller_batches(num_processes, prepared, capfd):
    names = ("fid50k_full", "is50k")
    batch_gpu = 250 // num_processes
    config = make_run_with_metrics(prepared, names, num_gpus=num_processes, batch_gpu=batch_gpu)
    distributed.launch(_train_with_short_metrics, num_processes, "cpu", config, prepared)
    out = capfd.readouterr().out
    # Once only: later metrics begin with small batches.
    assert out.count("Note: memory ran out; fid50k_full begins again with smaller batches.") == 1
    assert out.count("begins again") == 1 and "could not be computed" not in out
    for name in names:
        (line,) = (prepared / f"run/metric-{name}.jsonl").read_text().splitlines()
        assert json.loads(line)["snapshot_pkl"] == "network-snapshot-000001.pkl"


# The whole script.

FAULTS = """
import copy
from training import loss, memory, snapshot
calls = dict.fromkeys(("Gmain", "Dreg", "sheet", "pickle"), 0)

def fails(name):
    calls[name] += 1
    if calls[name] == 1:
        raise torch.OutOfMemoryError("CUDA out of memory.")

run_pass = loss.StyleGAN2Loss.accumulate_gradients
def accumulate_gradients(self, phase, *args, **kwargs):
    run_pass(self, phase, *args, **kwargs)
    if phase in calls:
        fails(phase)
loss.StyleGAN2Loss.accumulate_gradients = accumulate_gradients

generate = snapshot.SampleSheet._generate
def in_sheet(self, G_ema, name):
    def short(*args, **kwargs):
        if name != "fakes_init.png":
            fails("sheet")
        return G_ema(*args, **kwargs)
    return generate(self, short, name)
snapshot.SampleSheet._generate = in_sheet

class Copy:
    @staticmethod
    def deepcopy(module):
        fails("pickle")
        return copy.deepcopy(module)
snapshot.copy = Copy
"""


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("num_processes", [1, 2])
def test_run_in_which_memory_runs_out_everywhere_ends_with_its_images(
    num_processes, start, tmp_path
):
    """out of memory"""
    script = script_with(tmp_path, FAULTS)
    options = [*COMMAND, "--metrics=none", "--mbstd-group=2", f"--gpus={num_processes}"]
    process = start(tmp_path / "runs", *options, script=script)
    output = finish(process, 240)
    assert process.returncode == 0, output
    (run_dir,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in run_dir.iterdir()}
    assert {"fakes000001.png", "network-snapshot-000001.pkl"} <= names
    sizes = [40, 20, 10] if num_processes == 1 else [20, 10, 4]
    log = (run_dir / "log.txt").read_text()
    assert "Note: the memory" in log and "not enough for Gmain" in log
    assert "the images of sheets are now made" in log
    assert "memory ran out for network-snapshot-000000.pkl; trying again" in log
    assert "Done. The last snapshot is the trained network." in log
    assert "Traceback" not in output and "Warning" not in output
    state = checkpoint.load_newest(run_dir)[1]
    assert state["pass_sizes"] == sizes
    record = json.loads((run_dir / "training_stats.jsonl").read_text().splitlines()[-1])
    assert record["Progress/batch_gpu_lowered"]["mean"] == len(sizes) - 1

    process = start(tmp_path / "runs", "--resume=latest", "--kimg=2")
    output = finish(process, 240)
    assert process.returncode == 0, output
    assert f"the run has lowered --batch-gpu from {sizes[0]} to {sizes[-1]}" in output
    assert json.loads((run_dir / "training_options.json").read_text())["batch_gpu"] == sizes[-1]
