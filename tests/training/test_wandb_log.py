"""`train.py --wandb`: what is copied, where a continued run goes on, failures that end no run."""

import importlib.util
import subprocess
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import click
import PIL.Image
import pytest
from click.testing import CliRunner

import train
from tests.training.real_runs import COMMAND
from training import wandb_log
from training.wandb_log import WandbLog

OPTIONS = [*COMMAND, "--gpus=1", "--metrics=none", "--workers=0", "--device=cpu", "--batch=250"]


class StandIn(ModuleType):
    """Stands in for the package, and keeps what it is given."""

    Settings = SimpleNamespace
    Image = staticmethod(lambda image: ("image", image.size))

    def __init__(self) -> None:
        super().__init__("wandb")
        self.entries: list[dict] = []
        self.started: list[dict] = []
        self.is_finished = False

    def setup(self, settings: SimpleNamespace) -> None:
        assert settings.silent  # or it would ask for a login

    def init(self, **options) -> "StandIn":
        self.started.append(options)
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name, step_metric) == ("*", "kimg")

    def log(self, entry: dict) -> None:
        self.entries.append(entry)

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture
def package(monkeypatch) -> StandIn:
    """The stand-in, in place of the package."""
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    return stand_in


def run(*options: str) -> str:
    result = CliRunner().invoke(train.main, options)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_continued_run_goes_on_under_its_id(package, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_log, "check_package", lambda: None)
    run(*OPTIONS, f"--outdir={tmp_path}", "--wandb=team/faces")
    (run_dir,) = tmp_path.glob("0*")
    run(f"--resume={run_dir}", "--kimg=2", "--device=cpu")
    first, second = package.started
    assert first["id"] == second["id"] == (run_dir / "wandb-id.txt").read_text().strip()
    assert (first["entity"], first["project"], first["resume"]) == ("team", "faces", "allow")
    assert (first["name"], first["dir"]) == (run_dir.name, str(run_dir))
    assert first["config"]["batch_size"] == 250 and second["config"]["total_kimg"] == 2
    sheets = [
        (name, entry["kimg"], value)
        for entry in package.entries
        for name, value in entry.items()
        if name.startswith("Sheets/")
    ]
    assert sheets == [
        ("Sheets/reals", 0, ("image", (256, 256))),
        *[("Sheets/fakes", kimg, ("image", (256, 256))) for kimg in (0.25, 1, 2)],
    ]
    losses = [entry["kimg"] for entry in package.entries if "Loss/G/loss" in entry]
    assert losses == [0.25, 1, 2]
    assert package.is_finished
    run(f"--resume={run_dir}", "--kimg=3", "--wandb=none", "--device=cpu")
    assert len(package.started) == 2


def test_failure_gives_one_warning_and_ends_the_copying(package, tmp_path, capsys):
    def fail(entry: dict) -> None:
        raise OSError("no network")

    package.log = fail
    log = WandbLog("faces", tmp_path, {})
    for kimg in range(5):
        log.write({"x": 1.0}, kimg * 1000)
    log._thread.join(60)
    log.close()
    log.close()
    assert capsys.readouterr().out == (
        "Warning: training goes on, but nothing more is copied to Weights & Biases: no network\n"
    )


def test_failure_at_the_end_does_not_say_that_training_goes_on(package, tmp_path, capsys):
    def fail() -> None:
        raise OSError("no network")

    package.finish = fail
    log = WandbLog("faces", tmp_path, {})
    log.close()
    assert capsys.readouterr().out == (
        "Warning: the last entries were not copied to Weights & Biases: no network\n"
    )


def test_service_that_does_not_answer_delays_nothing(package, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(wandb_log, "MAX_ENDING_SEC", 0.1)
    monkeypatch.setattr(wandb_log, "MAX_WAITING", 3)
    answer = threading.Event()
    package.init = lambda **options: answer.wait(60)
    logs = [WandbLog("faces", tmp_path, {}) for _ in range(2)]
    for kimg in range(9):
        logs[0].write({"x": 1.0}, kimg)
    for log in logs:
        log.close()
    first, second = capsys.readouterr().out.splitlines()
    assert "3 entries are waiting" in first and "no answer within" in second
    answer.set()


def test_missing_package_is_said_before_training_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(train.main, [*OPTIONS, f"--outdir={tmp_path}", "--wandb=faces"])
    assert result.exit_code == 1
    assert result.stderr == "Error: --wandb takes another package: pip install wandb\n"
    assert list(tmp_path.iterdir()) == []


def test_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()  # as the package itself leaves behind
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(RuntimeError, match="pip install wandb"):
        wandb_log.check_package()


@pytest.mark.parametrize("text", ["", " ", "a/b/c", "a#b", "x" * 129, "a:b"])
def test_names_of_no_project_are_refused(text):
    with pytest.raises(click.BadParameter, match="is not the name of a project"):
        wandb_log.Project().convert(text, None, None)


def test_names_of_projects_are_taken():
    convert = wandb_log.Project().convert
    for text in ("faces", "my-team.1/two faces"):
        assert convert(text, None, None) == text
    assert convert("none", None, None) is None


def test_unreadable_id_begins_anew_and_says_so(tmp_path, capsys):
    (tmp_path / wandb_log.ID_FILE).write_text("../x")
    new = wandb_log._run_id(tmp_path)
    assert "holds no id" in capsys.readouterr().out
    assert wandb_log._run_id(tmp_path) == new


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
def test_real_package_takes_entries_without_a_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = WandbLog("faces", tmp_path, {"batch_size": 8})
    log.write({"Loss/G/loss": 0.75}, 4000)
    log.write({"Sheets/fakes": PIL.Image.new("RGB", (64, 32))}, 4000)
    log.close()
    assert capsys.readouterr().out == ""
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (data,) = folder.glob("run-*.wandb")
    assert data.stem == f"run-{(tmp_path / wandb_log.ID_FILE).read_text().strip()}"
    deadline = time.monotonic() + 30
    while b"Loss/G/loss" not in data.read_bytes():  # another process writes it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (sheet,) = folder.rglob("Sheets/*.png")
    with PIL.Image.open(sheet) as image:
        assert image.size == (64, 32)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
def test_run_without_a_login_goes_on(start, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    process = start(tmp_path / "runs", *OPTIONS, "--wandb=faces", stdin=subprocess.DEVNULL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert output.count(" copied to Weights & Biases: ") == 1
    assert "Done. The last snapshot is the trained network." in output
