"""Folders in the place of networks, and what the window offers before there is a network."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from viz import browse
from viz.settings import Settings


@pytest.fixture
def runs(folder, tmp_path):
    """Two folders with runs; the newest snapshot of the newest run is `cond`."""
    names = ["a/00000-old", "a/00001-new", "b/00000-older"]
    for time_sec, name in enumerate(["b/00000-older", "a/00000-old", "a/00001-new"], 1_000_000):
        run = tmp_path / name
        run.mkdir(parents=True)
        for snapshot, source in enumerate(["gray", "cond" if name == names[1] else "t"]):
            path = run / f"network-snapshot-00000{snapshot}.pkl"
            shutil.copy(folder / f"{source}.pkl", path)
            os.utime(path, (time_sec * 10 + snapshot,) * 2)
        (run / "training_options.json").write_text("{}")
        os.utime(run, (time_sec * 10,) * 2)
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_folders_stand_for_their_newest_network(runs):
    newest = runs / "a/00001-new/network-snapshot-000001.pkl"
    assert browse.newest_network(runs / "a/00001-new") == newest
    assert browse.newest_network(runs / "a") == newest
    assert browse.newest_network(runs / "empty") is None
    found = browse.newest_of_runs([runs / "a", runs / "b", runs / "missing"], 8)
    assert [path.parent.name for path in found] == ["00001-new", "00000-old", "00000-older"]
    assert found[0] == newest
    assert len(browse.newest_of_runs([runs / "a", runs / "b"], 2)) == 2


def test_usual_folders_are_those_that_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert browse.usual_folders() == browse.USUAL_FOLDERS
    for name in ("training-runs", "demo/runs"):
        (tmp_path / name).mkdir(parents=True)
    assert browse.usual_folders() == (Path("demo/runs"), Path("training-runs"))


@pytest.mark.slow
def test_run_is_typed_and_dropped(open_window, runs, monkeypatch):
    monkeypatch.setenv("HOME", str(runs))
    person = open_window()
    person.enter("##network", str(runs / "a/00001-new"))
    person.check(network=str(runs / "a/00001-new/network-snapshot-000001.pkl"))
    person.window.on_drop([str(runs / "b/00000-older")])
    person.check(network=str(runs / "b/00000-older/network-snapshot-000001.pkl"))
    person.enter("##network", "~/a")
    person.check(network=str(runs / "a/00001-new/network-snapshot-000001.pkl"))


@pytest.mark.slow
def test_folder_without_networks_is_said_in_one_line(open_window, runs, capfd):
    person = open_window()
    for name in ("empty", "no-such-folder"):
        person.enter("##network", str(runs / name))
        error = person.application.result.error
        assert str(runs / name) in error and "\n" not in error
        assert capfd.readouterr().err == f"Error: {error}\n"
    assert person.application.settings.recent == []
    person.application.load(str(runs / "b"))
    person.check()


@pytest.mark.slow
def test_first_network_is_clicked(open_window, runs, folder, tmp_path):
    missing, recent = str(tmp_path / "missing.pkl"), str(folder / "t.pkl")
    settings = Settings(recent=[missing, recent], folded=[])
    person = open_window(settings=settings, browse_dirs=[runs / "a", runs / "b"])
    newest = [
        str(runs / f"{run}/network-snapshot-000001.pkl")
        for run in ("a/00001-new", "a/00000-old", "b/00000-older")
    ]
    offered = [name for name in person.items if name.endswith(".pkl")]
    assert len(offered) == 4  # the missing one is not among them
    for name, network in zip(offered, [recent, *newest], strict=True):
        assert name.endswith(network)
    person.click(next(name for name in person.items if name.endswith(newest[0])))
    person.check(network=newest[0])
    assert settings.recent[0] == newest[0]


@pytest.mark.slow
def test_recent_network_is_clicked(open_window, folder):
    network = str(folder / "t.pkl")
    person = open_window(settings=Settings(recent=[network], folded=[]))
    person.click(next(name for name in person.items if name.endswith(f"Recent{network}")))
    person.check(network=network)


@pytest.mark.slow
def test_usual_folders_are_offered(open_window, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in browse.USUAL_FOLDERS:
        run = place / "00000-run"
        run.mkdir(parents=True)
        shutil.copy(folder / "t.pkl", run / f"{place.name}.pkl")
    person = open_window(browse_dirs=())
    for place in browse.USUAL_FOLDERS:
        assert any(name.endswith(f"00000-run/{place.name}.pkl") for name in person.items)
    person.click("Browse")
    person.click("00000-run##demo/runs/00000-run")
    person.click("runs.pkl##demo/runs/00000-run/runs.pkl")
    person.check(network="demo/runs/00000-run/runs.pkl")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_names_that_are_no_unicode_are_shown_with_escapes(open_window, folder, tmp_path, capsys):
    run = Path(os.fsdecode(os.fsencode(tmp_path) + b"/runs/00000-caf\xe9"))
    run.mkdir(parents=True)
    network = run / os.fsdecode(b"net\xff.pkl")
    shutil.copy(folder / "t.pkl", network)
    person = open_window(capture_dir=run / "saved", settings=Settings(folded=[]))
    person.click(next(name for name in person.items if name.endswith("net\\udcff.pkl")))
    person.check(network=str(network))
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    person.click("Browse")
    person.click(next(name for name in person.items if name.startswith("00000-caf\\udce9##")))
    person.click(next(name for name in person.items if name.startswith("net\\udcff.pkl##")))
    person.check(network=str(network))
    person.click("Recent")
    person.do("key", "Escape")
    person.click("Copy as command")
    assert "net\\udcff.pkl" in capsys.readouterr().out
    person.click("Save image")
    assert (run / "saved" / "image0000.png").is_file()
    person.application.load(f"{network}x")
    person.settle()
    assert "No such file" in person.application.result.error
