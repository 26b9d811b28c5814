"""Names of classes: read where they are at hand, silently absent everywhere else."""

import json
import os
import sys
import zipfile

import pytest

from viz import class_names
from viz.class_names import find_class_names

NAMES = ["cat", "dog", "eel"]
LABELS = [["a.png", 0], ["b.png", 1], ["c.png", 2]]


def write(folder, content, is_zip=False):
    """Make a dataset with a text or a JSON value as its metadata; returns a network's arguments."""
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    if not is_zip:
        data = text.encode() if isinstance(text, str) else text
        (folder / "dataset.json").write_bytes(data)
        return {"path": str(folder)}
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("dataset.json", text)
    return {"path": str(path)}


@pytest.mark.parametrize("is_zip", [False, True], ids=["folder", "zip"])
def test_names_are_those_of_the_dataset(tmp_path, is_zip):
    kwargs = write(tmp_path, {"labels": LABELS, "class_names": NAMES}, is_zip)
    assert find_class_names(kwargs, 3) == ("cat", "dog", "eel")
    for c_dim in (0, 2, 4, 2**40):
        assert find_class_names(kwargs, c_dim) == ()


@pytest.mark.parametrize("is_zip", [False, True], ids=["folder", "zip"])
def test_visitors_see_names_of_the_allowed_folders_only(tmp_path, is_zip):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        kwargs = write(folder, {"labels": LABELS, "class_names": NAMES}, is_zip)
        expected = tuple(NAMES) if folder is inside else ()
        assert find_class_names(kwargs, 3, [inside]) == expected
        assert find_class_names(kwargs, 3, []) == ()
    (inside / "link.zip").symlink_to(kwargs["path"])
    hostile = {"path": str(inside / "link.zip")}
    assert find_class_names(hostile, 3, [inside]) == ()
    assert find_class_names({"path": f"{inside}/../outside"}, 3, [inside]) == ()


@pytest.mark.parametrize("is_zip", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    "content",
    [
        {"labels": LABELS},
        {"labels": LABELS, "class_names": None},
        {"class_names": {"0": "cat", "1": "dog", "2": "eel"}},
        {"class_names": ["cat", "dog", 3]},
        {"class_names": "cat"},
        ["class_names"],
        '{"class_names": ["cat", "dog"',
        '{"class_names": ' + "[" * 100_000,
        b'{"class_names": ["\xff", "b", "c"]}',
        "",
    ],
    ids=lambda content: str(content)[:40],
)
def test_anything_else_gives_no_names(tmp_path, content, is_zip):
    assert find_class_names(write(tmp_path, content, is_zip), 3) == ()


@pytest.mark.parametrize(
    "path",
    [None, 3, ["a"], "", "missing", "missing.zip", "http://localhost/data.zip", "a\0b", "a" * 9999],
    ids=lambda path: str(path)[:30],
)
def test_datasets_that_are_not_there_give_no_names(path):
    assert find_class_names({"path": path}, 3) == ()


def test_networks_without_a_dataset_have_no_names():
    assert find_class_names(None, 3) == find_class_names({}, 3) == ()


def test_files_that_are_no_datasets_give_no_names(tmp_path):
    path = tmp_path / "data.zip"
    path.write_bytes(b"no ZIP")
    assert find_class_names({"path": str(path)}, 3) == ()
    assert find_class_names({"path": os.devnull}, 3) == ()


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes among its files")
def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "dataset.json")
    os.mkfifo(tmp_path / "data.zip")
    for path in (tmp_path, tmp_path / "data.zip"):
        assert find_class_names({"path": str(path)}, 3) == ()


@pytest.mark.parametrize("start", ["//", "\\\\"])
def test_other_computers_are_not_asked(start, tmp_path, monkeypatch):
    """A path of Windows names them so, and asking one would tell it who the user is."""
    monkeypatch.setattr(
        class_names.Path, "is_dir", lambda path: pytest.fail(f"{path} was looked at")
    )
    assert find_class_names({"path": f"{start}server/share"}, 3) == ()


@pytest.mark.parametrize("is_zip", [False, True], ids=["folder", "zip"])
def test_large_files_are_not_read(tmp_path, monkeypatch, is_zip):
    kwargs = write(tmp_path, {"class_names": NAMES, "more": "x" * 1000}, is_zip)
    assert len(find_class_names(kwargs, 3)) == 3
    monkeypatch.setattr(class_names, "MAX_JSON_BYTES", 1000)
    assert find_class_names(kwargs, 3) == ()


def test_names_are_short_and_of_one_line(tmp_path):
    kwargs = write(tmp_path, {"class_names": ["a\nb\x1b[2J", "x" * 1000, "Ä"]})
    first, second, third = find_class_names(kwargs, 3)
    assert (first, third) == ("a\\nb\\x1b[2J", "Ä")
    assert len(second) < 70


@pytest.mark.parametrize("name", ["training", "data"])
def test_modules_of_other_programs_are_not_run(name, tmp_path, monkeypatch):
    (tmp_path / f"{name}.py").write_text("raise SystemExit('this is a program')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    assert find_class_names(write(tmp_path, {"class_names": NAMES}), 3) == ()
