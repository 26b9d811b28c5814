"""Training runs of the real script, tiny ones, and every refusal.

The runs are expensive: each is made once per worker, and the tests that look at one share a group.
"""

import dataclasses
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import dataset_tool
import legacy
import train
from dnnlib import pretrained
from tests import golden
from torch_utils import distributed, training_stats
from torch_utils.distributed import Worker
from training import training_loop
from training.config import TrainConfig, TrainOptions, make_config

PROJECT = Path(train.__file__).parent
DATASETS = golden.DATA_DIR / "datasets"
RGB = DATASETS / "dataset_small_rgb.zip"  # 16x16, with labels
GRAY = DATASETS / "dataset_small_gray.zip"  # 8x8, without
ARTIFACTS = golden.load_json("run_artifacts.json")["runs"]

SHORT = (
    "--gpus=1",
    "--gamma=1",
    "--kimg=1",
    "--tick=1",
    "--snap=1",
    "--device=cpu",
    "--metrics=none",
)
SMALL = ("--cbase=64", "--cmax=4", "--map-depth=2", "--workers=0")
SMALL_GRAY = ("--cfg=stylegan2", "--data=gray8.zip", "--batch=250", "--aug=noaug", *SMALL)
RUNS = {
    # The command that run_artifacts.json describes.
    "stylegan2": (
        "--cfg=stylegan2",
        "--data=toy16.zip",
        "--batch=8",
        "--cond=1",
        "--cbase=256",
        "--cmax=8",
        "--workers=1",
    ),
    "stylegan3-r": (
        "--cfg=stylegan3-r",
        "--data=shapes8.zip",
        "--batch=128",
        "--aug=noaug",
        "--cbase=64",
        "--cmax=1",
        "--workers=0",
    ),
    "stylegan3-t": (
        "--cfg=stylegan3-t",
        "--data=gray8.zip",
        "--batch=128",
        "--batch-gpu=64",
        "--aug=fixed",
        "--mirror=1",
        "--cbase=64",
        "--cmax=1",
        "--workers=0",
    ),
    "gray": SMALL_GRAY,
    "gray-again": SMALL_GRAY,
}
CHANNELS = {"stylegan2": "RGB", "stylegan3-r": "RGB", "stylegan3-t": "L", "gray": "L"}
RESOLUTION = {"stylegan2": 16, "stylegan3-r": 8, "stylegan3-t": 8, "gray": 8}
FILES = [
    "events.out.tfevents",
    "fakes000000.png",
    "fakes000001.png",
    "fakes_init.png",
    "log.txt",
    "network-snapshot-000000.pkl",
    "network-snapshot-000001.pkl",
    "reals.png",
    "training-state-1.pt",
    "training-state-2.pt",
    "training_options.json",
    "training_stats.jsonl",
]
SHEETS = ("reals.png", "fakes_init.png", "fakes000000.png", "fakes000001.png")


def runs(*names: str):
    """Parametrize over runs; one worker gets all tests of a run."""
    params = [pytest.param(n, marks=pytest.mark.xdist_group(f"train-{n}"), id=n) for n in names]
    return pytest.mark.parametrize("name", params)


ALL_CONFIGS = runs("stylegan2", "stylegan3-r", "stylegan3-t")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    stdout: str

    @property
    def options(self) -> dict:
        return json.loads((self.folder / "training_options.json").read_text())

    @property
    def stats(self) -> list[dict]:
        lines = (self.folder / "training_stats.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    @property
    def snapshot(self) -> Path:
        return self.folder / "network-snapshot-000001.pkl"

    def load(self) -> dict:
        return pickle.loads(self.snapshot.read_bytes())

    def sheet(self, name: str) -> np.ndarray:
        with PIL.Image.open(self.folder / name) as png:
            return np.asarray(png)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """The folder in which the runs are started, with datasets."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copy(RGB, folder / "toy16.zip")
    shutil.copy(GRAY, folder / "gray8.zip")
    make = ["--source=synthetic", f"--dest={folder}/shapes8.zip", "--resolution=8x8"]
    result = CliRunner().invoke(dataset_tool.main, [*make, "--max-images=20"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def get_run(workspace) -> Callable[[str], Run]:
    """The run with a name of `RUNS`; made on first use."""
    return cache(lambda name: run_training(workspace, name, *RUNS[name]))


def run_training(workspace: Path, outdir: str, *options: str, launcher: tuple = ()) -> Run:
    command = [*launcher, PROJECT / "train.py", *SHORT, *options, f"--outdir={outdir}"]
    done = run_python(command, workspace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "" or launcher
    (folder,) = (workspace / outdir).iterdir()
    return Run(folder, done.stdout)


def run_python(arguments: list, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def file_names(folder: Path) -> list[str]:
    """Names of a run's files, states in order of their images."""
    names = sorted(path.name for path in folder.iterdir())
    states = [name for name in names if name.startswith("training-state-")]
    numbers = {name: f"training-state-{i}.pt" for i, name in enumerate(states, start=1)}
    return [numbers.get(name, name) for name in names]


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


# Contents of a run's folder.


@pytest.mark.slow
@ALL_CONFIGS
def test_run_leaves_exactly_its_files(name, get_run):
    run = get_run(name)
    names = file_names(run.folder)
    events = names.pop(0)
    assert re.fullmatch(r"events\.out\.tfevents\.\d+\.[\w.-]+\.\d+\.0", events)
    assert names == FILES[1:]
    dataset = RUNS[name][1].removeprefix("--data=").removesuffix(".zip")
    batch = RUNS[name][2].removeprefix("--")
    assert run.folder.name == f"00000-{name}-{dataset}-gpus1-{batch.replace('=', '')}-gamma1"


@pytest.mark.slow
@ALL_CONFIGS
def test_stored_options_are_those_printed(name, get_run):
    run = get_run(name)
    start = run.stdout.index("{\n")
    assert run.options == json.loads(run.stdout[start : run.stdout.index("\n}\n", start) + 2])
    assert (run.folder.parents[1] / run.options["run_dir"]) == run.folder
    if name in ARTIFACTS:
        assert set(ARTIFACTS[name]["training_options_keys"]) <= set(run.options)


@pytest.mark.slow
@ALL_CONFIGS
def test_sheets_are_pngs_of_the_right_kind(name, get_run):
    run = get_run(name)
    size = 32 * RESOLUTION[name]
    for sheet in SHEETS:
        with PIL.Image.open(run.folder / sheet) as png:
            png.load()
            assert (png.format, png.mode, png.size) == ("PNG", CHANNELS[name], (size, size))
    if name == "stylegan2":
        for sheet, (mode, shape) in ARTIFACTS[name]["png"].items():
            assert run.sheet(sheet).shape == (*shape, len(mode))
    sheets = [run.sheet(sheet) for sheet in SHEETS]
    for i in range(len(sheets) - 1):  # the generator learns
        assert not np.array_equal(sheets[i], sheets[i + 1])


@pytest.mark.slow
@ALL_CONFIGS
def test_log_repeats_the_console_and_has_one_line_per_tick(name, get_run):
    run = get_run(name)
    log = (run.folder / "log.txt").read_text()
    assert log in run.stdout
    assert log.startswith("Loading training set...")
    ticks = [line for line in log.splitlines() if line.startswith("tick ")]
    kimgs = ["0.0" if name == "stylegan2" else "0.1", "1.0"]
    for i, line in enumerate(ticks):
        assert re.fullmatch(
            rf"tick {i}     kimg {kimgs[i]}      time [\dms ]{{12}} sec/tick [\d. ]{{7}} "
            r"sec/kimg [\d. ]{7} maintenance [\d. ]{6} cpumem [\d. ]{6} gpumem 0\.00   "
            r"reserved 0\.00   augment \d\.\d{3}",
            re.sub(r"  (?=[a-z])", " ", line),
        ), line
    assert len(ticks) == 2
    assert ("--cond=1 uses them" in run.stdout) == (name == "stylegan3-r")


@pytest.mark.slow
@runs("stylegan2")
def test_log_has_the_layer_tables_of_the_reference(name, get_run):
    log = (get_run(name).folder / "log.txt").read_text()
    for title, rows in ARTIFACTS[name]["module_summary_table"].items():
        table = log[log.index(f"\n{title} ") :].strip().split("\n\n")[0].splitlines()
        cells = [re.split(r" {2,}", line) for line in table if not line.startswith("---")]
        assert cells[0] == [title, "Parameters", "Buffers", "Output shape", "Datatype"]
        assert cells[1:] == rows


def is_added(name: str) -> bool:
    """Whether a statistic is one of `training.watch`, which the reference lacks."""
    return name.startswith(("Progress/diversity", "Progress/label_diversity", "Warning/"))


@pytest.mark.slow
@runs("stylegan2", "stylegan3-r")
def test_statistics_have_the_names_and_counts_of_the_reference(name, get_run):
    expected = ARTIFACTS[name]
    stats = [
        {key: entry for key, entry in record.items() if not is_added(key)}
        for record in get_run(name).stats
    ]
    assert [list(record) for record in stats] == expected["stats_jsonl_key_order_per_line"]
    for i, record in enumerate(stats):
        assert isinstance(record.pop("timestamp"), float)
        for key, entry in record.items():
            assert list(entry) == expected["stats_entry_keys"]
            types = {field: type(value).__name__ for field, value in entry.items()}
            assert types == expected["stats_entry_json_types"]
            assert np.isfinite(list(entry.values())).all(), key
            num = expected["num_per_line"][key][i]
            if name == "stylegan2":
                assert entry["num"] == num, key
            elif i == 0:  # the batch is larger than the reference's
                assert entry["num"] == (num * 128 // 8 if key.startswith("Loss/") else num), key
    assert [record["Progress/tick"]["mean"] for record in stats] == [0, 1]
    assert stats[0]["Progress/kimg"]["mean"] == pytest.approx(
        get_run(name).options["batch_size"] / 1e3
    )


@pytest.mark.slow
@runs("stylegan3-t")
def test_fixed_augmentation_keeps_its_strength(name, get_run):
    run = get_run(name)
    assert [record["Progress/augment"]["mean"] for record in run.stats] == pytest.approx([0.2, 0.2])
    assert float(run.load()["augment_pipe"].p) == pytest.approx(0.2)


@pytest.mark.slow
@runs("stylegan2")
def test_adaptive_augmentation_moves(name, get_run):
    # 31 adjustments, each by 8 images * 4 batches of 500 kimg or by nothing.
    p = float(get_run(name).load()["augment_pipe"].p)
    assert 0 < p <= 31 * 8 * 4 / 500e3 + 1e-9
    assert p / (8 * 4 / 500e3) == pytest.approx(round(p / (8 * 4 / 500e3)), abs=1e-3)


@pytest.mark.slow
@runs("stylegan2", "stylegan3-r")
def test_tensorboard_reads_the_same_scalars(name, get_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = get_run(name)
    events = EventAccumulator(str(run.folder))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not is_added(tag)]
    assert sorted(tags) == sorted(ARTIFACTS[name]["tfevents_scalar_tags"])
    for tag in tags:
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == ARTIFACTS[name]["tfevents_steps"]
        means = [record[tag]["mean"] for record in run.stats]
        assert [scalar.value for scalar in scalars] == pytest.approx(means, rel=1e-6)


@pytest.mark.slow
@ALL_CONFIGS
def test_snapshot_has_the_contents_of_the_reference(name, get_run):
    run = get_run(name)
    expected = ARTIFACTS["stylegan3-r" if name == "stylegan3-t" else name]
    data = run.load()
    assert list(data) == [*expected["snapshot_keys_in_order"], "dataset_fingerprint"]
    types = dict(expected["snapshot_value_types"], dataset_fingerprint="dict")
    if name == "stylegan3-t":
        types["augment_pipe"] = "AugmentPipe"
    assert {key: type(value).__name__ for key, value in data.items()} == types
    assert type(data["training_set_kwargs"]) is dict
    assert data["training_set_kwargs"] == run.options["training_set_kwargs"]
    for module in data.values():
        if isinstance(module, torch.nn.Module):
            assert not any(part.training for part in module.modules())
            assert not any(param.requires_grad for param in module.parameters())
            for tensor in module.state_dict().values():
                assert tensor.device.type == "cpu"
                assert tensor.isfinite().all()
    if name == "stylegan2":
        expected_kwargs = dict(expected["snapshot_training_set_kwargs"])
        expected_kwargs["path"] = str(run.folder.parents[1] / expected_kwargs["path"])
        assert data["training_set_kwargs"] == expected_kwargs
        assert data["G"].init_kwargs == data["G_ema"].init_kwargs == expected["G_init_kwargs"]
        assert data["D"].init_kwargs == expected["D_init_kwargs"]
        assert data["augment_pipe"].init_kwargs == expected["augment_init_kwargs"]
    elif name == "stylegan3-r":
        assert list(data["G"].init_kwargs) == list(expected["G_init_kwargs"])
        assert list(data["D"].init_kwargs) == list(expected["D_init_kwargs"])


# Pickles outside of a run.

PLAIN_LOAD = """
import importlib.util, pickle, sys
import numpy, torch

assert importlib.util.find_spec("training") is None
with open(sys.argv[1], "rb") as file:
    G = pickle.load(file)["G_ema"]
assert not any(name.partition(".")[0] == "training" for name in sys.modules)
torch.set_num_threads(1)
z = torch.from_numpy(numpy.random.RandomState(1).randn(2, G.z_dim)).float()
c = torch.eye(2, G.c_dim)
with torch.no_grad():
    numpy.save(sys.argv[2], G(z, c, noise_mode="const").numpy())
"""


@pytest.mark.slow
@runs("stylegan2", "stylegan3-r")
def test_pickle_carries_its_own_source(name, get_run, tmp_path):
    for package in ("torch_utils", "dnnlib"):
        shutil.copytree(PROJECT / package, tmp_path / package)
    (tmp_path / "plain_load.py").write_text(PLAIN_LOAD)
    run = get_run(name)
    done = run_python(["plain_load.py", run.snapshot, "images.npy"], tmp_path)
    assert done.returncode == 0, done.stderr

    G = legacy.load_network(run.snapshot)["G_ema"]
    z = torch.from_numpy(np.random.RandomState(1).randn(2, G.z_dim)).float()
    with torch.no_grad():
        expected = G(z, torch.eye(2, G.c_dim), noise_mode="const").numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), expected)


@pytest.mark.slow
@runs("stylegan2")
def test_gen_images_draws_from_the_pickle(name, get_run, tmp_path):
    script = [PROJECT / "gen_images.py", f"--network={get_run(name).snapshot}", "--seeds=0-1"]
    done = run_python([*script, "--outdir=out", "--class=2", "--device=cpu"], tmp_path)
    assert done.returncode == 0, done.stderr
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["seed0000.png", "seed0001.png"]
    for path in written:
        with PIL.Image.open(path) as png:
            png.load()
            assert (png.mode, png.size) == ("RGB", (16, 16))


# Repeating and resuming runs.


@pytest.mark.slow
@runs("gray")
def test_a_state_in_place_of_a_network_leads_to_the_network(name, get_run):
    folder = get_run(name).folder
    snapshots = {0: "network-snapshot-000000.pkl", 1: "network-snapshot-000001.pkl"}
    for state in folder.glob("training-state-*.pt"):
        kimg = int(state.stem.rpartition("-")[2]) // 1000
        with pytest.raises(ValueError) as info:
            legacy.load_network(state)
        assert str(info.value) == (
            f"{state}: this is the state of a training run, which train.py --resume continues; "
            f"the network is in {folder / snapshots[kimg]}"
        )


@pytest.mark.slow
@runs("gray")
def test_same_command_gives_the_same_weights(name, get_run):
    data, again = get_run(name).load(), get_run("gray-again").load()
    for key in ("G", "D", "G_ema"):
        assert_same(again[key].state_dict(), data[key].state_dict())
    np.testing.assert_array_equal(
        get_run("gray-again").sheet("fakes000001.png"), get_run(name).sheet("fakes000001.png")
    )


@pytest.mark.slow
@runs("gray")
def test_resumed_run_continues_from_the_weights(name, get_run, workspace):
    run = get_run(name)
    resumed = run_training(workspace, "resumed", *RUNS[name], f"--resume={run.snapshot}")
    # The latents of the sheets depend on the seed only, so equal sheets mean an equal G_ema.
    np.testing.assert_array_equal(resumed.sheet("fakes_init.png"), run.sheet("fakes000001.png"))
    assert not np.array_equal(resumed.sheet("fakes000000.png"), resumed.sheet("fakes_init.png"))
    expected = dict(resume_pkl=str(run.snapshot), ada_kimg=100, ema_rampup=None)
    assert {key: resumed.options[key] for key in expected} == expected


@pytest.mark.slow
@runs("gray")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        pytest.param("--cbase=16", "--cbase", id="cbase"),
        pytest.param("--cfg=stylegan3-t", "--cfg", id="cfg"),
        pytest.param("--data=toy16.zip", "--data", id="data"),
    ],
)
def test_resume_refuses_weights_of_other_shapes(name, option, message, get_run, refuse):
    error = refuse(*RUNS[name], f"--resume={get_run(name).snapshot}", option)
    assert error.startswith("Error: --resume: ")
    assert message in error


# The training algorithm.


def small_config(run_dir: Path, **changes) -> TrainConfig:
    """A run whose gradients do not depend on how the batch is divided."""
    options = dict(batch=8, mbstd_group=1, cbase=64, cmax=4, map_depth=1, workers=0, aug="noaug")
    options["metrics"] = ()
    options = TrainOptions(cfg="stylegan2", gpus=1, gamma=1, **options)
    dataset = dict(path=str(GRAY), max_size=5, resolution=8, use_labels=False, xflip=False)
    dataset["class_name"] = "training.dataset.ImageFolderDataset"
    config = make_config(options, dataset)
    # Noise and style mixing would be drawn differently in each division.
    return dataclasses.replace(
        config,
        run_dir=str(run_dir),
        G_kwargs={**config.G_kwargs, "use_noise": False},
        loss_kwargs={**config.loss_kwargs, "style_mixing_prob": 0},
        **changes,
    )


@pytest.fixture
def make_trainer(tmp_path):
    trainers = []

    def make_trainer(**changes) -> training_loop.Trainer:
        trainer = training_loop.Trainer(Worker(), small_config(tmp_path, **changes))
        trainers.append(trainer)
        return trainer

    yield make_trainer
    for trainer in trainers:
        trainer.log.close()
    training_stats.Collector().update()


def phase_gradients(trainer: training_loop.Trainer, part: slice) -> dict[str, Tensor]:
    """Gradients of the phases on a part of 8 samples, just before the step of the optimizer."""
    rng = np.random.RandomState(3)
    images = torch.from_numpy(rng.uniform(-1, 1, [8, 1, 8, 8])).float()[part]
    z = torch.from_numpy(rng.randn(8, trainer.G.z_dim)).float()[part]
    c = torch.zeros([len(z), 0])
    gradients = {}
    for phase in trainer.phases:
        if phase.name != "Greg":  # path lengths are measured on a random part of the batch
            grads = []
            phase.optimizer.step = lambda grads=grads, module=phase.module: grads.extend(
                p.grad.flatten() for p in module.parameters() if p.grad is not None
            )
            trainer._run_phase(phase, images, c, z, c)
            del phase.optimizer.step
            assert all(p.grad is None for p in phase.module.parameters())  # not kept
            gradients[phase.name] = torch.cat(grads)
    return gradients


def assert_same_gradients(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(got) == list(expected) == ["Gmain", "Dmain", "Dreg"]
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        assert golden.scaled_error(got[name], gradient.numpy()) < 1e-5, name


def test_accumulated_gradients_equal_those_of_the_whole_batch(make_trainer):
    trainer = make_trainer()
    whole = phase_gradients(trainer, slice(8))
    trainer.config = dataclasses.replace(trainer.config, batch_gpu=2)
    assert_same_gradients(phase_gradients(trainer, slice(8)), whole)


def test_gradients_that_are_not_finite_are_replaced(make_trainer):
    trainer = make_trainer()
    phase = trainer.phases[0]
    weight = trainer.G.synthesis.b4.const
    weight.grad = torch.zeros_like(weight)
    weight.grad.view(-1)[:4] = torch.tensor([np.nan, np.inf, -np.inf, 2.5])
    trainer._share(phase, trainer._join(phase))
    assert weight.grad.view(-1)[:5].tolist() == [0, 1e5, -1e5, 2.5, 0]


def test_generator_without_training_copy_starts_from_its_average(make_trainer, tmp_path, capsys):
    trainer = make_trainer()
    with torch.no_grad():
        for parameter in trainer.G_ema.parameters():
            parameter.fill_(3)
    with open(tmp_path / "net.pkl", "wb") as f:
        pickle.dump({"G_ema": trainer.G_ema}, f)
    other = make_trainer(resume_pkl=str(tmp_path / "net.pkl"))
    assert_same(state(other.G), state(trainer.G_ema))
    assert "there is no D in" in capsys.readouterr().out


def test_run_starts_from_a_small_file_in_the_box(make_trainer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "box")
    trained = make_trainer()
    networks = dict(G_ema=trained.G_ema, D=trained.D)
    legacy.save_networks(tmp_path / "box/tiny.safetensors", networks, "float16")
    resumed = make_trainer(resume_pkl="pretrained:tiny", random_seed=5)
    for name in ("G", "G_ema", "D"):
        expected = dict(networks["G_ema" if name == "G" else name].named_parameters())
        for key, param in getattr(resumed, name).named_parameters():
            assert param.dtype == torch.float32
            assert torch.equal(param, expected[key].half().float())
    said = capsys.readouterr().out
    assert "Resuming from pretrained:tiny" in said
    assert "Note: there is no G in the file; it starts with the weights of G_ema." in said


def test_networks_start_from_the_pickle(make_trainer, tmp_path):
    trained = make_trainer()
    for _ in range(2):
        trained._train_batch()
    networks = dict(G=trained.G, D=trained.D, G_ema=trained.G_ema)
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(networks))
    resumed = make_trainer(resume_pkl=str(tmp_path / "net.pkl"), random_seed=5)
    for name, network in networks.items():
        assert_same(getattr(resumed, name).state_dict(), network.state_dict())
    assert not torch.equal(trained.G.mapping.fc0.weight, trained.G_ema.mapping.fc0.weight)


def test_phases_run_at_their_intervals(make_trainer, monkeypatch):
    trainer = make_trainer()
    seen = []
    monkeypatch.setattr(trainer, "_run_phase", lambda phase, *args: seen.append(phase.name))
    for _ in range(17):
        trainer._train_batch()
    assert seen[:4] == ["Gmain", "Greg", "Dmain", "Dreg"]
    assert seen[4:6] == ["Gmain", "Dmain"]
    counts = {name: seen.count(name) for name in seen}
    assert counts == {"Gmain": 17, "Greg": 5, "Dmain": 17, "Dreg": 2}
    assert (trainer.cur_nimg, trainer.batch_idx) == (17 * 8, 17)


# Several processes.


def train_and_save(worker: Worker, config: TrainConfig, folder: Path) -> None:
    """Run in each of the two processes of the test below."""
    torch.set_num_threads(1)
    trainer = training_loop.Trainer(worker, config)
    half = 8 // worker.size
    gradients = phase_gradients(trainer, slice(worker.rank * half, (worker.rank + 1) * half))
    images = trainer.batches.load()[0].clone()
    for _ in range(5):
        trainer._train_batch()
    result = dict(
        gradients=gradients,
        images=images,
        networks={name: state(getattr(trainer, name)) for name in ("G", "D", "G_ema")},
        optimizers=[phase.optimizer.state_dict()["state"] for phase in trainer.phases],
        p=trainer.augment_pipe.p,
        drawn=torch.randn(3),
    )
    torch.save(result, folder / f"rank{worker.rank}.pt")


@pytest.mark.slow
@pytest.mark.multiprocess
def test_processes_stay_equal_and_their_gradients_are_those_of_one(make_trainer, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    # Augmentation of strength zero: adapted, yet without effect on the gradients.
    augment = dict(class_name="training.augment.AugmentPipe", xflip=1, brightness=1)
    config = small_config(run_dir, augment_kwargs=augment, ada_target=-2.0, ada_kimg=1)
    config = dataclasses.replace(config, num_gpus=2, batch_gpu=4)
    distributed.launch(train_and_save, 2, "cpu", config, tmp_path)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for part in ("networks", "optimizers", "p"):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)
    assert float(first["p"]) == pytest.approx(4 * 8 / 1000)
    for part in ("images", "drawn"):  # each process has samples of its own
        assert not torch.equal(first[part], second[part])

    single = make_trainer()
    expected = phase_gradients(single, slice(8))
    for result in (first, second):
        assert_same_gradients(result["gradients"], expected)


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param((), id="spawned"),
        pytest.param(
            ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"), id="torchrun"
        ),
    ],
)
def test_two_processes_make_one_run(launcher, workspace, request):
    outdir = f"two-{request.node.callspec.id}"
    # 125 samples per pass have no groups of 4.
    options = (*RUNS["gray"], "--gpus=2", "--aug=ada", "--mbstd-group=5")
    run = run_training(workspace, outdir, *options, launcher=launcher)
    assert "-gpus2-" in run.folder.name
    assert file_names(run.folder)[1:] == FILES[1:]
    assert len([line for line in run.stdout.splitlines() if line.startswith("tick ")]) == 2
    assert run.stdout.count("Training options:") == 1
    # Both processes report: 250 samples in each Dmain and Gmain.
    assert run.stats[0]["Loss/scores/fake"]["num"] == 500
    data = run.load()
    assert all(value.isfinite().all() for value in data["G_ema"].state_dict().values())


@pytest.mark.slow
@pytest.mark.multiprocess
def test_failure_in_one_of_two_processes_is_one_line(tmp_path):
    with zipfile.ZipFile(GRAY) as source, zipfile.ZipFile(tmp_path / "cut.zip", "w") as copy:
        for name in source.namelist():
            data = source.read(name)
            copy.writestr(name, data[:-25] if name == "g/2.png" else data)
    script = [PROJECT / "train.py", *SHORT, *RUNS["gray"], "--gpus=2", "--mbstd-group=5"]
    script += ["--data=cut.zip"]
    done = run_python([*script, "--outdir=runs"], tmp_path)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert "g/2.png" in error
    assert done.stderr.endswith(f"{error}\n")
    assert "Traceback" not in done.stderr


# Refusals.


@pytest.fixture
def refuse(workspace, tmp_path, monkeypatch):
    """Run the command, check that it refuses in one line and leaves no trace; returns the line."""

    def refuse(*options: str, exit_code: int = 1, folder: Path = workspace) -> str:
        monkeypatch.chdir(folder)
        before = sorted(folder.rglob("*"))
        arguments = [*SHORT, *options]
        if not any(option.startswith("--outdir=") for option in options):
            arguments.append("--outdir=refused")
        result = CliRunner().invoke(train.main, arguments)
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == exit_code, result.output
        (error,) = [line for line in result.output.splitlines() if line.startswith("Error:")]
        assert result.output.rstrip().endswith(error)
        assert "Traceback" not in result.output
        assert sorted(folder.rglob("*")) == before
        return error

    return refuse


def png_folder(folder: Path, *shapes: tuple[int, ...]) -> str:
    folder.mkdir(parents=True)
    for i, shape in enumerate(shapes):
        PIL.Image.fromarray(np.full(shape, 128, dtype=np.uint8)).save(folder / f"{i}.png")
    return f"--data={folder}"


GRAY_RUN = RUNS["gray"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("missing.zip", "missing.zip", id="missing"),
        pytest.param(DATASETS / "dataset_small_noimages.zip", "image", id="no-images"),
        pytest.param(DATASETS / "dataset_small_nonsquare.zip", "square", id="non-square"),
        pytest.param(DATASETS / "dataset_small_mixedsize.zip", "1.png", id="mixed-size"),
        pytest.param(PROJECT / "train.py", "train.py", id="other-file"),
    ],
)
def test_unusable_dataset_is_refused(source, message, refuse):
    error = refuse(*GRAY_RUN, f"--data={source}")
    assert error.startswith("Error: --data: ")
    assert message in error


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        pytest.param([], "image", id="empty-folder"),
        pytest.param(
            [(15, 15)], "power-of-two size from 8 on; .* --resolution=16x16", id="odd-size"
        ),
        pytest.param([(4, 4, 3)], "from 8 on; .* --resolution=8x8 resizes", id="too-small"),
        pytest.param([(60, 80, 3)], "--transform=center-crop --resolution=64x64", id="wide"),
    ],
)
def test_unusable_folder_of_images_is_refused(shapes, message, refuse, tmp_path):
    error = refuse(*GRAY_RUN, png_folder(tmp_path / "images", *shapes))
    assert error.startswith("Error: --data: ")
    assert re.search(message, error)


def test_damaged_archive_is_refused(refuse, tmp_path):
    (tmp_path / "cut.zip").write_bytes(RGB.read_bytes()[:500])
    error = refuse(*GRAY_RUN, f"--data={tmp_path}/cut.zip")
    assert error.startswith("Error: --data: ")
    assert "cut.zip" in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"hello", "not a network pickle", id="text"),
        pytest.param(pickle.dumps({"G": 1}), "has no generator", id="no-generator"),
        pytest.param(pickle.dumps(list(range(999)))[:500], "truncated", id="truncated"),
    ],
)
def test_unreadable_pickle_is_refused(content, message, refuse, tmp_path):
    path = tmp_path / "net.pkl"
    if content is not None:
        path.write_bytes(content)
    error = refuse(*GRAY_RUN, f"--resume={path}")
    assert "net.pkl" in error
    assert message in error

    script = [PROJECT / "gen_images.py", f"--network={path}", "--seeds=0", "--outdir=out"]
    if content != b"hello":
        return  # the rest takes seconds; once is enough
    done = run_python([*script, "--device=cpu"], tmp_path)
    assert done.returncode == 1
    assert done.stderr == error.replace("--resume", "--network") + "\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "named"),
    [
        pytest.param("--seed=4294967296", "--seed=4294967296 is too large", id="seed"),
        pytest.param("--cbase=1", "leaves no channels", id="capacity"),
        pytest.param("--desc=a/b", "--desc='a/b'", id="desc"),
        pytest.param("--desc=..\\\\b", "--desc=", id="desc-windows"),
    ],
)
def test_impossible_value_is_refused(option, named, refuse):
    for cfg in ("stylegan2", "stylegan3-r"):
        assert named in refuse(*GRAY_RUN, f"--cfg={cfg}", option)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param(["--batch=5", "--gpus=2"], ["--batch=5", "--gpus=2"], id="gpus"),
        pytest.param(["--batch=8", "--batch-gpu=5"], ["--batch=8", "--batch-gpu=5"], id="passes"),
        pytest.param(["--batch=2"], ["--mbstd-group=4"], id="group"),
        pytest.param(["--batch=8", "--batch-gpu=2"], ["--mbstd-group=4"], id="group-of-pass"),
    ],
)
def test_batch_that_does_not_divide_is_refused(options, named, refuse):
    error = refuse(*GRAY_RUN, *options)
    assert all(name in error for name in named)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        pytest.param("--metrics=fid9k", "--metrics", id="metric"),
        pytest.param("--cfg=stylegan1", "--cfg", id="cfg"),
        pytest.param("--batch=0", "--batch", id="batch"),
        pytest.param("--gamma=x", "--gamma", id="gamma"),
        pytest.param("--gamma=nan", "--gamma", id="gamma-nan"),
        pytest.param("--glr=inf", "--glr", id="glr-inf"),
        pytest.param("--workers=-1", "--workers", id="workers"),
    ],
)
def test_invalid_value_is_a_usage_error(option, named, refuse):
    assert named in refuse(*GRAY_RUN, option, exit_code=2)


def test_latest_run_where_there_is_none_asks_for_the_folder(tmp_path):
    result = CliRunner().invoke(train.main, ["--resume=latest", f"--outdir={tmp_path}"])
    assert result.exit_code == 2
    message = f"Error: --resume=latest: no run in {tmp_path} has saved a state yet; "
    assert result.output.splitlines()[-1].startswith(message)
    assert "starts afresh" not in result.output


def test_labels_that_are_missing_are_asked_for(refuse):
    assert "--cond" in refuse(*GRAY_RUN, "--cond=1")


def test_outdir_that_cannot_be_created_is_refused(refuse, tmp_path):
    (tmp_path / "file").touch()
    for outdir in (tmp_path / "file" / "runs", tmp_path / "file"):
        error = refuse(*GRAY_RUN, f"--data={GRAY}", f"--outdir={outdir}", folder=tmp_path)
        assert error.startswith("Error: --outdir")
        assert str(outdir) in error


def test_more_processes_than_gpus_are_refused(refuse):
    error = refuse(*GRAY_RUN, "--device=cuda", "--gpus=50")
    assert "--gpus" in error


def test_other_number_of_processes_than_torchrun_started_is_refused(refuse, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert "--gpus=1" in refuse(*GRAY_RUN)


def test_senseless_environment_of_torchrun_is_refused(refuse, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "abc")
    assert "RANK='abc'" in refuse(*GRAY_RUN)


@pytest.mark.parametrize(("cond", "is_noted"), [(0, True), (1, False)])
def test_unused_labels_are_noted(cond, is_noted, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    arguments = [*SHORT, *RUNS["stylegan2"], f"--cond={cond}", "--outdir=none", "--dry-run"]
    result = CliRunner().invoke(train.main, arguments)
    assert result.exit_code == 0
    notes = [line for line in result.stdout.splitlines() if line.startswith("Note: ")]
    assert any("labels" in note and "--cond=1" in note for note in notes) == is_noted
    assert not (workspace / "none").exists()


def labelled_folder(folder: Path, labels: dict, metadata: str = "dataset.json") -> str:
    option = png_folder(folder / "x", (8, 8, 3), (8, 8, 3))
    (folder / metadata).write_text(json.dumps({"labels": list(labels.items())}))
    return option.removesuffix("/x")


def test_labels_in_another_spelling_are_noted(tmp_path):
    data = labelled_folder(tmp_path / "d", {".\\x\\0.png": 1, ".\\x\\1.png": 0, "ghost.png": 7})
    arguments = [*SHORT, *RUNS["stylegan2"], data, "--outdir=none", "--dry-run"]
    result = CliRunner().invoke(train.main, arguments)
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stdout.splitlines() if line.startswith("Note: ")]
    assert any(r"2 names matched after turning \ into /" in note for note in notes)
    assert any("1 of its labels name no image, such as ghost.png" in note for note in notes)
    assert '"use_labels": true' in result.stdout


@pytest.mark.parametrize(
    ("labels", "metadata", "message"),
    [
        ({"x/0.png": 0}, "dataset.json", "no label for x/1.png (1 of 2 images have none)"),
        ({"x/0.png": 0, "x/1.png": 2 * 10**9}, "dataset.json", "label of x/1.png is 2000000000"),
        ({"x/0.png": 0, "x/1.png": 10**30}, "dataset.json", f"label of x/1.png is {10**30}"),
        ({"0.png": 0, "1.png": 1}, "x/dataset.json", "at the top, which x/dataset.json is not"),
    ],
    ids=["some", "2e9", "1e30", "below"],
)
def test_labels_that_cannot_be_used_are_refused(labels, metadata, message, tmp_path, refuse):
    data = labelled_folder(tmp_path / "d", labels, metadata)
    assert message in refuse(*GRAY_RUN, data, "--cond=1")


@pytest.mark.slow
def test_the_script_itself_refuses_on_stderr_without_a_traceback(tmp_path):
    data = f"--data={DATASETS}/dataset_small_mixedsize.zip"
    options = [*SHORT, *GRAY_RUN, data, "--outdir=runs"]
    done = run_python([PROJECT / "train.py", *options], tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: --data: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
