"""Folders of runs: each run gets a number of its own, also beside other files and processes."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

import train
from tests import golden
from tests.training.states import small_state
from torch_utils import distributed
from training import checkpoint, preflight, resume, run_dirs

ROOT = Path(train.__file__).parent
GRAY = golden.DATA_DIR / "datasets" / "dataset_small_gray.zip"

# Waits for all others, and then makes folders as fast as it can.
MAKER = """
import sys, time
from pathlib import Path
from training import run_dirs
Path(sys.argv[2]).touch()
while not Path("go").exists():
    pass
for _ in range(int(sys.argv[3])):
    print(run_dirs.create_run_dir(Path("runs"), sys.argv[1]))
"""


def make_at_once(folder: Path, descriptions: list[str], num_each: int) -> list[str]:
    """Start a process for each description; returns the folders that they created."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, description, f"ready{i}", str(num_each)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for i, description in enumerate(descriptions)
    ]
    while len(list(folder.glob("ready*"))) < len(processes):
        assert all(process.poll() is None for process in processes)
    (folder / "go").touch()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    return [line for output in outputs for line in output.splitlines()]


@pytest.mark.parametrize(
    "descriptions", [["same"] * 8, [f"gamma{i}" for i in range(8)]], ids=["same", "different"]
)
def test_runs_that_start_at_once_get_numbers_of_their_own(tmp_path, descriptions):
    said = make_at_once(tmp_path, descriptions, num_each=6)
    made = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert sorted(said) == [f"runs/{name}" for name in made]
    assert [int(name[:5]) for name in made] == list(range(48))
    assert Counter(name[6:] for name in made) == Counter(descriptions * 6)


@pytest.mark.parametrize(
    ("folders", "files", "number"),
    [
        ([], [], "00000"),
        (["00000-a", "00007-b"], [], "00008"),  # gaps stay
        (["00002-a"], ["00003-run", "00004-notes.txt"], "00005"),
        (["00002-a"], ["00003"], "00004"),
        (["00002-a"], ["2024-notes.txt"], "00003"),  # no reason to go on from there
        (["99999-a"], [], "100000"),
        (["100000-a", "99999-b"], ["100001-c"], "100002"),
        (["20240131123456-a"], [], "20240131123457"),
        (["runs", "a-00005", "٣-a"], [], "00000"),
        (["00000-a", ".00001.new"], [], "00002"),  # of a process that was killed there
    ],
)
def test_the_next_free_number(tmp_path, folders, files, number):
    for name in folders:
        (tmp_path / name).mkdir()
    for name in files:
        (tmp_path / name).touch()
    before = set(tmp_path.iterdir())
    run_dir = run_dirs.create_run_dir(tmp_path, "x")
    assert run_dir == tmp_path / f"{number}-x" and run_dir.is_dir()
    assert set(tmp_path.iterdir()) - before == {run_dir}


def test_the_latest_run_is_none_that_is_being_made(tmp_path):
    checkpoint.save(run_dirs.create_run_dir(tmp_path, "x"), small_state(), 1, keep=1)
    (tmp_path / ".00001.new").mkdir()
    checkpoint.save(tmp_path / ".00001.new", small_state(), 2, keep=1)
    assert resume.find_latest(tmp_path).run_dir.name == "00000-x"


def test_links_that_lead_nowhere_take_their_number(tmp_path):
    (tmp_path / "00000-x").symlink_to("gone")
    assert run_dirs.create_run_dir(tmp_path, "x").name == "00001-x"


def test_folders_that_cannot_be_made_are_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^--outdir: cannot create .*file/00000-x: "):
        run_dirs.create_run_dir(tmp_path / "file", "x")
    with pytest.raises(OSError, match=r"File name too long; a shorter --outdir, --desc or name"):
        run_dirs.create_run_dir(tmp_path, "x" * 250)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Run `train.py` until it would start the processes of the run; returns its output."""
    monkeypatch.setattr(distributed, "launch", lambda *args: None)

    def start(*args: str) -> str:
        base = "--cfg=stylegan2 --gpus=1 --batch=4 --gamma=1 --cbase=64 --cmax=4 --device=cpu"
        args = [f"--outdir={tmp_path / 'runs'}", f"--data={GRAY}", *base.split(), *args]
        result = CliRunner().invoke(train.main, [*args, "--metrics=none"])
        return result.stdout + result.stderr

    return start


def said_folder(text: str) -> Path:
    (shown,) = re.findall(r"^Output directory: +(.*)$", text, re.MULTILINE)
    (listed,) = re.findall(r'"run_dir": "(.*)"', text)
    assert shown == listed
    return Path(shown)


def test_the_folder_that_is_said_is_the_one_that_was_made(start, tmp_path, monkeypatch):
    def take_number(config, training_set):  # as another run does while this one looks at its data
        (tmp_path / "runs" / "00000-other").mkdir(parents=True)

    monkeypatch.setattr(preflight, "check_networks", take_number)
    folder = said_folder(start())
    assert folder.name.startswith("00001-stylegan2-dataset_small_gray-")
    assert f'"run_dir": "{folder}"' in (folder / "training_options.json").read_text()
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_dry_run_says_the_folder_and_makes_none(start, tmp_path):
    assert said_folder(start("-n")).name.startswith("00000-")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dry", [["-n"], []], ids=["dry run", "run"])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--resume=nothing.pkl", "Error: --resume: No such file or directory: nothing.pkl"),
        ("--resume=runs/00003-misspelt", "Error: --resume: No such file or directory: runs/00003"),
        ("--resume=file:///nothing.pkl", "Error: --resume: No such file or directory: "),
        ("--outdir=file", "Error: --outdir=.*file: .*file is a file; choose a folder"),
        ("--outdir=file/deeper/runs", "Error: --outdir=.*runs: .*file is a file; choose a folder"),
    ],
)
def test_paths_are_looked_at_before_the_run(start, args, message, dry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert re.search(message, start(args, *dry))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_dry_run_does_not_open_the_network_and_says_so(start, tmp_path):
    (tmp_path / "net.pkl").touch()
    assert "Note: a dry run does not open --resume" in start("-n", f"--resume={tmp_path}/net.pkl")
    assert "Note: a dry run does not fetch --resume" in start("-n", "--resume=http://[::1]:9/a.pkl")


def test_without_outdir_an_address_is_not_taken_for_a_path():
    result = CliRunner().invoke(train.main, ["--resume=http://[::1]:9/a.pkl", "-n"])
    assert "Error: Missing option '--outdir'" in result.stderr


def test_a_refused_run_makes_no_folder(start, tmp_path):
    assert "Error: " in start("--cache=ram", "--resume=nothing.pkl")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_sweep_of_trainings_in_one_outdir(tmp_path):
    command = f"""train.py --outdir={tmp_path} --data={GRAY} --cfg=stylegan2 --gpus=1 --batch=500
        --gamma=1 --cbase=64 --cmax=4 --map-depth=2 --workers=0 --aug=noaug --kimg=1 --tick=1
        --device=cpu --metrics=none""".split()
    runs = [
        subprocess.Popen(
            [sys.executable, *command, f"--seed={seed}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed in range(3)
    ]
    texts = [run.communicate(timeout=500)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], texts
    folders = [said_folder(text) for text in texts]
    assert sorted(path.name[:6] for path in folders) == ["00000-", "00001-", "00002-"]
    for seed, folder in enumerate(folders):
        assert f'"random_seed": {seed}' in (folder / "training_options.json").read_text()
        assert list(folder.glob("network-snapshot-*.pkl"))
