"""Runs and networks know their data: continued, or measured, with other data they refuse.

The scripts themselves run, in folders with archives of the same name, number and size of images.
"""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import calc_metrics
import legacy
import train
from data.dataset import ImageFolderDataset
from tests.data.test_fingerprint import write_folder, write_zip
from tests.metrics import stand_ins
from torch_utils import distributed
from torch_utils.distributed import Worker
from training import checkpoint, evaluation, training_loop
from training.config import TrainOptions, make_config

PROJECT = Path(train.__file__).parent
COMMAND = [
    "--cfg=stylegan2",
    "--data=data.zip",
    "--outdir=../runs",
    "--gpus=1",
    "--batch=250",
    "--gamma=1",
    "--aug=noaug",
    "--cbase=64",
    "--cmax=4",
    "--map-depth=2",
    "--workers=0",
    "--kimg=1",
    "--tick=1",
    "--snap=1",
    "--metrics=none",
    "--device=cpu",
]
NUM_IMAGES = 20


def draw_files(seed: int, num_classes: int = 3, channels: int = 3) -> dict[str, bytes]:
    """Random images, whose files all have the same size, with labels."""
    rng = np.random.RandomState(seed)
    files = {}
    for i in range(NUM_IMAGES):
        pixels = rng.randint(0, 256, [8, 8, channels], dtype=np.uint8).squeeze()
        file = io.BytesIO()
        PIL.Image.fromarray(pixels).save(file, "png", compress_level=0)
        files[f"{i:02d}.png"] = file.getvalue()
    labels = [[name, i % num_classes] for i, name in enumerate(files)]
    return {**files, "dataset.json": json.dumps({"labels": labels}).encode()}


def run_script(name: str, folder: Path, *options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, PROJECT / f"{name}.py", *map(str, options)],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != ".training.lock"
    }


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> dict[str, Path]:
    """Two finished runs of the folder `a`, without labels and with, started with a relative path.

    In `b` lies another archive of the same name; in `c` the images of `a` in four classes.
    """
    root = tmp_path_factory.mktemp("identity")
    for name, seed, num_classes in (("a", 1, 3), ("b", 2, 3), ("c", 1, 4)):
        write_zip(root / name / "data.zip", draw_files(seed, num_classes))
    assert len({(root / name / "data.zip").stat().st_size for name in "ab"}) == 1
    for options in ((), ("--cond=1",)):
        done = run_script("train", root / "a", *COMMAND, *options)
        assert done.returncode == 0, done.stdout + done.stderr
    plain, conditional = sorted((root / "runs").iterdir())
    return {"root": root, "plain": plain, "conditional": conditional}


@pytest.fixture
def runs(started, tmp_path) -> Path:
    """Copies that a test may change: `a`, `b`, `c`, `runs/plain`, `runs/conditional`."""
    for name in "abc":
        shutil.copytree(started["root"] / name, tmp_path / name)
    for name in ("plain", "conditional"):
        shutil.copytree(started[name], tmp_path / "runs" / name)
        edit_state(tmp_path / "runs" / name, move_data(tmp_path))
    return tmp_path


def edit_state(run_dir: Path, edit) -> None:
    path, state = checkpoint.load_newest(run_dir)
    edit(state)
    del state["version"]
    checkpoint.save(run_dir, state, state["cur_nimg"], keep=1)
    assert checkpoint.states(run_dir) == [path]


def move_data(root: Path):
    """The copies take the place of what they are copies of."""

    def edit(state: dict) -> None:
        state["training_set_kwargs"]["path"] = str(root / "a" / "data.zip")

    return edit


def make_old(state: dict) -> None:
    """What versions without fingerprints wrote."""
    del state["dataset_fingerprint"], state["given"]
    state["training_set_kwargs"]["path"] = "data.zip"


def continue_run(folder: Path, *options, exit_code: int = 0, is_alone: bool = False) -> str:
    """Run train.py in a folder; what it prints, or its one line of an error, which may be alone."""
    os.chdir(folder)
    result = CliRunner().invoke(train.main, ["--device=cpu", *map(str, options)])
    assert result.exit_code == exit_code, result.output
    if exit_code == 0:
        return result.output
    assert isinstance(result.exception, SystemExit), result.exception
    (error,) = [line for line in result.output.splitlines() if line.startswith("Error:")]
    assert result.output.rstrip().endswith(error)
    assert not is_alone or result.output.rstrip() == error
    return error


@pytest.fixture(autouse=True)
def same_folder_afterwards(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "conditional"])
def test_paths_are_absolute_beside_what_was_given(name, started):
    run_dir, data = started[name], started["root"] / "a" / "data.zip"
    expected = ImageFolderDataset(data, use_labels=name == "conditional").fingerprint()
    options = json.loads((run_dir / "training_options.json").read_text())
    state = checkpoint.load_newest(run_dir)[1]
    networks = pickle.loads((run_dir / "network-snapshot-000001.pkl").read_bytes())
    assert Path(options["run_dir"]).is_absolute() and Path(options["run_dir"]).samefile(run_dir)
    for holder in (options, state, networks):
        assert holder["training_set_kwargs"]["path"] == str(data)
        assert holder["dataset_fingerprint"] == expected
    for holder in (options, state):
        assert holder["given"] == {
            "data": "data.zip",
            "outdir": "../runs",
            "preset": None,
            "resume": None,
        }
    assert "dataset_fingerprint" not in networks["training_set_kwargs"]


@pytest.mark.slow
def test_networks_keep_the_fingerprint_in_all_formats(started, tmp_path):
    snapshot = started["plain"] / "network-snapshot-000001.pkl"
    expected = pickle.loads(snapshot.read_bytes())["dataset_fingerprint"]
    for name in ("copy.pkl", "copy.safetensors"):
        legacy.save_networks(tmp_path / name, legacy.load_network(snapshot))
        assert legacy.load_network(tmp_path / name)["dataset_fingerprint"] == expected


# Continued runs.


@pytest.mark.slow
def test_run_continued_from_another_folder_keeps_its_data(runs):
    run_dir = runs / "runs/plain"
    sheet = (run_dir / "reals.png").read_bytes()
    done = run_script("train", runs / "b", f"--resume={run_dir}", "--kimg=2", "--device=cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Dataset path:        {runs / 'a' / 'data.zip'}" in done.stdout
    assert (run_dir / "reals.png").read_bytes() == sheet
    state = checkpoint.load_newest(run_dir)[1]
    assert state["cur_nimg"] == 2000
    assert state["training_set_kwargs"]["path"] == str(runs / "a" / "data.zip")
    assert state["given"] == {
        "data": "data.zip",
        "outdir": "../runs",
        "preset": None,
        "resume": None,
    }


@pytest.mark.slow
def test_script_refuses_other_data_in_one_line_and_leaves_the_run_alone(runs):
    run_dir = runs / "runs/plain"
    before = digests(run_dir)
    shutil.copy2(runs / "b/data.zip", runs / "a/data.zip")
    done = run_script("train", runs / "b", f"--resume={run_dir}", "--kimg=2", "--device=cpu")
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: --data: {runs}/a/data.zip is not what the run was trained on: it has other "
        "contents of images; --data=PATH names that dataset, and --data=PATH "
        "--allow-other-data=1 continues with another\n"
    )
    assert digests(run_dir) == before


def change_one_image(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "07.png": files["08.png"]}


def change_a_name(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace("07", "07b"): data for name, data in files.items()}


def leave_one_out(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != "07.png"}


def change_a_label(files: dict[str, bytes]) -> dict[str, bytes]:
    labels = json.loads(files["dataset.json"])
    labels["labels"][7][1] += 1
    return {**files, "dataset.json": json.dumps(labels).encode()}


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_zip, write_folder])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_one_image, "it has other contents of images;"),
        (change_a_name, "it has other names of images;"),
        (leave_one_out, "it has 19 images, not 20;"),
    ],
)
def test_changed_data_are_refused_and_named(change, named, write, runs):
    data = write(runs / "changed.zip", change(draw_files(1)))
    options = [f"--resume={runs}/runs/plain", "--dry-run"]
    error = continue_run(runs, *options, "--data=changed.zip", exit_code=1)
    assert error.startswith(f"Error: --data: {data} is not what the run was trained on: ")
    assert named in error and "--allow-other-data=1" in error
    output = continue_run(runs, *options, "--data=changed.zip", "--allow-other-data=1")
    assert f"Note: from here on the run has {named.removeprefix('it has ')[:-1]}." in output
    (runs / "a/data.zip").unlink()
    data.rename(runs / "a/data.zip")  # and where the run itself looks
    assert named in continue_run(runs, *options, exit_code=1)


@pytest.mark.slow
def test_changed_labels_are_refused_where_they_matter(runs):
    write_zip(runs / "a/data.zip", change_a_label(draw_files(1)))
    error = continue_run(runs, f"--resume={runs}/runs/conditional", "--dry-run", exit_code=1)
    assert "it has other labels; " in error
    assert "Dry run" in continue_run(runs, f"--resume={runs}/runs/plain", "--dry-run")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "conditional"])
def test_the_same_data_are_taken_in_any_place_and_form(name, runs):
    (runs / "a/data.zip").rename(runs / "moved.zip")
    options = [f"--resume={runs}/runs/{name}", "--dry-run"]
    error = continue_run(runs / "b", *options, exit_code=1)
    assert f"trained on {runs}/a/data.zip, which no longer exists; --data=PATH names" in error
    write_zip(runs / "deflated.zip", draw_files(1), zipfile.ZIP_DEFLATED)
    write_folder(runs / "folder", draw_files(1))
    for data in ("moved.zip", "deflated.zip", "folder"):
        output = continue_run(runs, *options, f"--data={data}")
        assert f"Dataset path:        {runs / data}\n" in output
        assert "Note: from here on" not in output and "older version" not in output


@pytest.mark.slow
def test_run_goes_on_with_other_data_if_asked(runs):
    run_dir = runs / "runs/plain"
    sheet = (run_dir / "reals.png").read_bytes()
    options = [f"--resume={run_dir}", "--allow-other-data=1"]
    error = continue_run(runs / "b", *options, exit_code=2)
    assert "--allow-other-data=1 needs --data=PATH, which names the other data" in error
    output = continue_run(runs / "b", *options, "--data=data.zip", "--kimg=2")
    assert "Note: from here on the run has other contents of images." in output
    assert (run_dir / "reals.png").read_bytes() != sheet
    state = checkpoint.load_newest(run_dir)[1]
    other = ImageFolderDataset(runs / "b/data.zip").fingerprint()
    assert state["dataset_fingerprint"] == other
    assert state["given"] == {
        "data": "data.zip",
        "outdir": "../runs",
        "preset": None,
        "resume": None,
    }
    networks = legacy.load_network(run_dir / "network-snapshot-000002.pkl")
    assert networks["dataset_fingerprint"] == other
    assert str(runs / "b/data.zip") in continue_run(runs, f"--resume={run_dir}", "--dry-run")


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("edit", [None, make_old], ids=["state", "old-state"])
def test_other_number_of_classes_is_one_line_before_processes_start(edit, runs):
    run_dir = runs / "runs/conditional"
    if edit is not None:
        edit_state(run_dir, edit)
    options = [f"--resume={run_dir}", "--data=data.zip", "--allow-other-data=1", "--gpus=5"]
    done = run_script("train", runs / "c", *options, "--device=cpu")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: --data: its labels are 4 numbers, the networks of the run take 3; --data=PATH "
        "names another dataset, --resume=network-snapshot-*.pkl starts another run from these "
        "networks\n"
    )
    assert "Loading training set" not in done.stdout


@pytest.mark.slow
def test_other_colours_are_one_line(runs):
    write_zip(runs / "gray.zip", draw_files(1, channels=1))
    options = [f"--resume={runs}/runs/plain", "--data=gray.zip", "--allow-other-data=1"]
    error = continue_run(runs, *options, exit_code=1, is_alone=True)
    assert error.startswith("Error: --data: its images have 1 channel(s), which do not suit")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "given"), [("plain", 1), ("conditional", 0)])
def test_other_use_of_labels_is_no_fault_of_the_data(name, given, runs):
    error = continue_run(runs, f"--resume={runs}/runs/{name}", f"--cond={given}", exit_code=1)
    assert error == (
        f"Error: --cond={bool(given)}: the run was started with --cond={not given}; leave the "
        "option out to continue it, or --resume to start another"
    )
    options = [f"--resume={runs}/runs/{name}", f"--cond={1 - given}", "--dry-run"]
    assert "Dry run" in continue_run(runs, *options)


@pytest.mark.slow
def test_names_of_continued_runs_and_their_data_are_printable(runs):
    shutil.move(runs / "runs/plain", runs / "run\x1b[31m")
    shutil.move(runs / "a/data.zip", runs / "data\x1b[31m.zip")
    output = continue_run(runs, "--resume=run\x1b[31m", "--data=data\x1b[31m.zip", "--dry-run")
    assert "\x1b" not in output
    for title in ("Output directory:    ", "Dataset path:        ", "Continuing from "):
        (line,) = [line for line in output.splitlines() if line.startswith(title)]
        assert r"\x1b[31m" in line


@pytest.mark.slow
def test_state_without_a_fingerprint_goes_on_with_a_note(runs):
    run_dir = runs / "runs/plain"
    edit_state(run_dir, make_old)
    sheet = (run_dir / "reals.png").read_bytes()
    output = continue_run(runs / "b", f"--resume={run_dir}", "--kimg=2")
    assert f"the run continues with what is now in {runs}/b/data.zip." in output
    assert (run_dir / "reals.png").read_bytes() == sheet
    options = json.loads((run_dir / "training_options.json").read_text())
    assert options["training_set_kwargs"]["path"] == str(runs / "b/data.zip")
    assert options["given"] == {"data": "data.zip"}
    assert "goes on with that" not in continue_run(runs, f"--resume={run_dir}", "--dry-run")


@pytest.mark.slow
def test_new_run_says_that_it_has_no_other_data(runs):
    output = continue_run(runs / "a", *COMMAND, "--allow-other-data=1", "--dry-run")
    assert "Note: --allow-other-data=1 has no effect: the run is a new one." in output


def make_run(root: Path, num_processes: int = 1, **changes):
    """A tiny run of the folder `a` that was not started."""
    options = dict(cfg="stylegan2", gpus=num_processes, batch=8, gamma=1, mbstd_group=2, cbase=64)
    options = TrainOptions(**options, cmax=2, workers=0, aug="noaug", **changes)
    path = root / "a" / "data.zip"
    kwargs = dict(class_name="training.dataset.ImageFolderDataset", path=str(path), resolution=8)
    config = make_config(options, kwargs)
    (root / "run").mkdir()
    return train.dataclasses.replace(
        config,
        run_dir=str(root / "run"),
        dataset_fingerprint=ImageFolderDataset(path).fingerprint(),
    )


def start_with_other_data(worker: Worker, config, other: Path) -> None:
    """As a second machine that has another archive at the same path."""
    if not worker.is_main:
        kwargs = {**config.training_set_kwargs, "path": str(other)}
        config = train.dataclasses.replace(config, training_set_kwargs=kwargs)
    training_loop.Trainer(worker, config)


@pytest.mark.slow
@pytest.mark.multiprocess
def test_other_data_on_another_machine_end_all_processes_in_one_line(runs):
    config = make_run(runs, num_processes=2)
    with pytest.raises(RuntimeError) as info:
        distributed.launch(start_with_other_data, 2, "cpu", config, runs / "b" / "data.zip")
    message = str(info.value)
    assert "is not the same on all machines: for process 1 it has other contents" in message
    assert "\n" not in message
    assert not list((runs / "run").iterdir())


@pytest.mark.slow
def test_data_replaced_during_training_costs_the_metric_not_the_run(
    runs, tmp_path, monkeypatch, capsys
):
    files = stand_ins.save_detectors(tmp_path / "detectors")
    (tmp_path / "detectors/inception-2015-12-05.pt").write_bytes(files["inception"].read_bytes())
    monkeypatch.setenv("STYLEGAN3_DETECTOR_DIR", str(tmp_path / "detectors"))
    config = make_run(runs, metrics=("fid50k_full",))
    config = dataclasses.replace(config, allow_untrusted=True)  # TorchScript
    metrics = evaluation.SnapshotMetrics(Worker(), config)
    shutil.copy2(runs / "b/data.zip", runs / "a/data.zip")
    G = stand_ins.build_generator(resolution=8)
    assert metrics.evaluate(G, runs / "run" / "network-snapshot-000001.pkl") == {}
    output = capsys.readouterr().out
    assert "Warning: fid50k_full could not be computed: " in output
    assert f"dataset {runs}/a/data.zip has changed since the start: it has other" in output


# Measured networks.


@pytest.fixture
def measure(runs, tmp_path, monkeypatch):
    """Run calc_metrics.py on the snapshot of a run, in a folder."""
    inception = stand_ins.save_detectors(tmp_path / "detectors")["inception"]

    def measure(folder: str, *options, network: Path | None = None, exit_code: int = 0):
        monkeypatch.chdir(runs / folder)
        if network is None:
            network = runs / "runs/plain/network-snapshot-000001.pkl"
            data = pickle.loads(network.read_bytes())
            data["training_set_kwargs"]["path"] = str(runs / "a" / "data.zip")
            network.write_bytes(pickle.dumps(data))
        arguments = [f"--network={network}", f"--detector=inception={inception}", "--num=100"]
        arguments += [
            "--allow-untrusted",
            "--metrics=fid50k_full",
            "--device=cpu",
            "--verbose=0",
            *options,
        ]
        result = CliRunner().invoke(calc_metrics.main, arguments)
        assert result.exit_code == exit_code, result.output
        if exit_code != 0:
            assert isinstance(result.exception, SystemExit) and result.stdout == ""
            return None, result.stderr
        value, *_ = json.loads(result.stdout)["results"].values()
        return value, result.stderr

    return measure


@pytest.mark.slow
def test_network_is_measured_with_its_own_data_in_every_folder(measure, runs):
    fid, notes = measure("a")
    assert measure("b") == (fid, notes) == (fid, "")
    other_fid, notes = measure("b", "--data=data.zip")
    assert other_fid != fid
    assert notes == (
        "Note: data.zip is not what the network was trained with: it has other contents of "
        "images.\n"
    )
    write_folder(runs / "folder", draw_files(1))
    assert measure("a", f"--data={runs / 'folder'}") == (fid, "")


@pytest.mark.slow
def test_network_whose_data_were_replaced_is_not_measured(measure, runs):
    measure("a")
    records = runs / "runs/plain/metric-fid50k_full.jsonl"
    before = records.read_bytes()
    shutil.copy2(runs / "b/data.zip", runs / "a/data.zip")
    _, error = measure("a", exit_code=1)
    assert error == (
        f"Error: --data: {runs}/a/data.zip is not what the network was trained with any more: it "
        "has other contents of images; --data=PATH names the real images to compare with\n"
    )
    assert records.read_bytes() == before
    fid, note = measure("a", "--data=data.zip")
    assert note.startswith("Note: data.zip is not what the network was trained with: ")
    assert fid == measure("b", "--data=data.zip")[0]


@pytest.mark.slow
def test_network_without_a_fingerprint_is_measured_with_a_note(measure, runs):
    network = stand_ins.save_network(
        runs / "old.pkl", Path("data.zip"), has_fingerprint=False, resolution=8
    )
    fids = {}
    for folder in ("a", "b"):
        fids[folder], note = measure(folder, network=network)
        assert note == (
            f"Note: the real images are what is now in {runs / folder}/data.zip; the network does "
            "not tell whether it was trained with them, --data=PATH names others.\n"
        )
        assert measure(folder, "--data=data.zip", network=network) == (fids[folder], "")
    assert fids["a"] != fids["b"]


@pytest.mark.slow
def test_metrics_without_real_images_need_no_data(measure, runs):
    (runs / "a/data.zip").unlink()
    network = runs / "runs/plain/network-snapshot-000001.pkl"
    value, notes = measure("a", "--metrics=is50k", network=network)
    assert value > 1 and notes == ""
