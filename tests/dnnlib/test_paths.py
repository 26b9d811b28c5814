"""Home folders in paths and in the environment, with unusual homes; names that are too long."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib import paths, util

ROOT = Path(__file__).parent.parent.parent
ME = pwd.getpwuid(os.getuid())
VARIABLES = ("DNNLIB_CACHE_DIR", "XDG_CACHE_HOME", "STYLEGAN3_KERNEL_CACHE_DIR")


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("~", "/home/ann"),
        ("~/", "/home/ann/"),
        ("~/runs/a b", "/home/ann/runs/a b"),
        (f"~{ME.pw_name}/x", f"{ME.pw_dir}/x"),
        ("./~", "./~"),
        ("./~/x", "./~/x"),
        ("runs/~/x", "runs/~/x"),
        ("runs~", "runs~"),
        ("", ""),
        ("latest", "latest"),
        ("https://example.com/~ann/net.pkl", "https://example.com/~ann/net.pkl"),
        ("file:///home/~ann/net.pkl", "file:///home/~ann/net.pkl"),
    ],
)
def test_a_leading_tilde_is_a_home_folder(monkeypatch, path, expanded):
    monkeypatch.setenv("HOME", "/home/ann")
    assert paths.expand_home(path) == expanded


@pytest.mark.parametrize("path", ["~nobody-of-this-name", "~nobody-of-this-name/x", "~x.pkl"])
def test_unknown_users_are_refused(path):
    with pytest.raises(paths.HomeError) as info:
        paths.expand_home(path)
    user = path[1:].partition("/")[0]
    assert str(info.value) == (
        f"{path}: there is no user {user!r} with a home folder; "
        f"write the whole path, or ./{path} for a name that starts with ~"
    )


# As in a container that runs with a user id of its own. An empty HOME would lead to the root.
@pytest.mark.parametrize("home", [None, "", "~", "relative"])
@pytest.mark.parametrize("path", ["~", "~/x"])
def test_without_a_home_folder_there_is_no_folder_named_tilde(monkeypatch, home, path):
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    else:
        monkeypatch.setenv("HOME", home)
    with pytest.raises(paths.HomeError, match="the home folder is unknown"):
        paths.expand_home(path)


def test_without_home_the_passwd_entry_counts(monkeypatch):
    monkeypatch.delenv("HOME")
    assert paths.expand_home("~/x") == os.path.join(ME.pw_dir, "x")


@pytest.mark.parametrize(
    ("value", "folder"),
    [("~/cache", "/home/ann/cache"), ("/cache", "/cache"), ("./~", "./~"), ("", None)],
)
def test_folders_in_the_environment(monkeypatch, value, folder):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("A_FOLDER", value)
    assert paths.folder_from_environment("A_FOLDER") == folder
    assert paths.folder_from_environment("NOT_THERE") is None


def test_a_variable_with_an_unknown_user_is_named(monkeypatch):
    monkeypatch.setenv("A_FOLDER", "~nobody-of-this-name/x")
    with pytest.raises(
        paths.HomeError, match=r"^A_FOLDER=~nobody-of-this-name/x: there is no user"
    ):
        paths.folder_from_environment("A_FOLDER")


@pytest.mark.parametrize(
    ("variable", "path"),
    [("DNNLIB_CACHE_DIR", "/home/ann/c/x"), ("XDG_CACHE_HOME", "/home/ann/c/stylegan3/x")],
)
def test_cache_folders_below_home(monkeypatch, variable, path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv(variable, "~/c")
    assert util.make_cache_dir_path("x") == path


def run_homeless(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run Python in a folder, without HOME and as somebody whom passwd does not know."""
    kept = {k: v for k, v in os.environ.items() if k not in (*VARIABLES, "HOME")}
    code = f"import pwd\npwd.getpwuid = lambda uid: {{}}[uid]\n{code}"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


def test_a_cache_without_home_is_temporary_and_said(tmp_path):
    code = """
import os, dnnlib
path = dnnlib.make_cache_dir_path("downloads")
assert path == dnnlib.make_cache_dir_path("downloads")
os.makedirs(path)
print(path)
"""
    result = run_homeless(code, tmp_path)
    assert result.returncode == 0, result.stderr
    path = Path(result.stdout.strip())
    assert path.is_absolute() and "~" not in str(path)
    assert not path.parent.exists()  # it went with the process
    assert result.stderr.count("DNNLIB_CACHE_DIR") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["DNNLIB_CACHE_DIR", "STYLEGAN3_KERNEL_CACHE_DIR"])
def test_kernels_say_which_variable_names_no_folder(tmp_path, variable):
    code = """
import torch
from torch_utils.ops import upfirdn2d
print(upfirdn2d.upsample2d(torch.ones(1, 1, 2, 2), torch.ones(2)).sum().item())
"""
    result = run_homeless(code, tmp_path, **{variable: "~/kernels"})
    assert float(result.stdout) == 64  # 4 pixels, 4 taps of 1, times 4
    assert f"CPU kernels: {variable}=~/kernels: the home folder is unknown" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "max_bytes", "shortened"),
    [
        ("photos", 6, "photos"),
        ("photos", 5, "photo"),
        ("数数数", 8, "数数"),
        ("😀x", 4, "😀"),
        ("a\udcff\udcff", 2, "a\udcff"),  # bytes that are no UTF-8
        ("photos", -1, ""),
    ],
)
def test_names_are_shortened_by_bytes_in_whole_characters(name, max_bytes, shortened):
    assert paths.shorten_name(name, max_bytes) == shortened


@pytest.mark.parametrize("name", ["n" * 255, "数" * 85, "😀" * 63])
def test_files_with_the_longest_names_are_written_atomically(tmp_path, name):
    with util.open_atomic(tmp_path / name) as file:
        file.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
