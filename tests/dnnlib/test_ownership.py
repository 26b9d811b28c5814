"""Whose files are run: owners, modes and links on the whole way to a file."""

import contextlib
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnnlib import ownership

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no owners and modes")
STRANGER = 54321
is_own_group = ownership._is_own_group


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of ours in a folder of ours; our group has others in it."""
    monkeypatch.setattr(ownership, "_is_own_group", lambda _: False)
    path = tmp_path / "cache" / "kernels"
    ownership.make_private(path)
    return path


@pytest.fixture
def give_away(monkeypatch):
    """Lets files and links seem to belong to another user, as only root could make them."""
    owners = {}
    original = Path.lstat

    def lstat(path):
        status = original(path)
        if path not in owners:
            return status
        return os.stat_result([*status[:4], owners[path], *status[5:]])

    monkeypatch.setattr(Path, "lstat", lstat)
    return lambda path, uid=STRANGER: owners.update({path: uid})


def write(path: Path, mode: int = 0o644) -> Path:
    path.write_text("code")
    path.chmod(mode)
    return path


@contextlib.contextmanager
def umask(mask: int):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_folders_that_we_make_are_private_whatever_the_umask(tmp_path):
    with umask(0):
        ownership.make_private(tmp_path / "a" / "b")
        ownership.make_private(tmp_path / "a" / "b")
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_folders_that_exist_stay_as_they_are(tmp_path):
    tmp_path.chmod(0o755)
    ownership.make_private(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        ownership.make_private(tmp_path / "file" / "x")


@pytest.mark.parametrize("name", ["x.so", "missing", "missing/x.so", "x.so/y", ""])
def test_what_is_ours_or_does_not_exist_is_safe(folder, name):
    write(folder / "x.so")
    assert ownership.find_fault(folder / name) is None


def test_relative_paths_are_judged_from_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    write(folder / "x.so", 0o666)
    assert str(folder / "x.so") in ownership.find_fault(Path("x.so"))
    assert str(folder / "x.so") in ownership.find_fault(Path("../kernels/x.so"))


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o702])
def test_folder_that_others_may_write_to_is_named_with_the_remedy(folder, mode):
    folder.chmod(mode)
    expected = f"other users may write to {folder} (mode {mode:04o}; chmod go-w {folder})"
    assert ownership.find_fault(folder) == expected
    folder.chmod(mode & ~0o022)
    assert ownership.find_fault(folder) is None


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o602])
def test_file_that_others_may_write_to_is_named(folder, mode):
    path = write(folder / "x.so", mode)
    expected = f"other users may write to {path} (mode {mode:04o}; remove it)"
    assert ownership.find_fault(path) == expected


@pytest.mark.parametrize("name", ["", "x.so", "missing"])
def test_folder_above_counts_unless_its_sticky_bit_keeps_files(folder, name):
    folder.parent.chmod(0o777)
    assert f"write to {folder.parent} (mode 0777" in ownership.find_fault(folder / name)
    folder.parent.chmod(0o1777)
    assert ownership.find_fault(folder / name) is None


def test_owners(folder, give_away):
    path = write(folder / "x.so")
    give_away(path)
    assert ownership.find_fault(path) == (
        f"{path} belongs to another user (uid {STRANGER}; remove it)"
    )
    assert ownership.find_fault(folder) is None
    give_away(folder)
    expected = f"{folder} belongs to another user (uid {STRANGER})"
    assert ownership.find_fault(path) == ownership.find_fault(folder) == expected
    assert ownership.find_fault(folder / "missing") == expected


def test_files_of_root_are_safe(folder, give_away):
    path = write(folder / "x.so")
    for entry in (path, folder, folder.parent):
        give_away(entry, 0)
    assert ownership.find_fault(path) is None


def test_root_may_have_another_number_but_not_for_what_is_run(folder, give_away, monkeypatch):
    """As in containers of users without rights, where all strangers have that number, too."""
    monkeypatch.setattr(ownership, "_root_uid", lambda: STRANGER)
    path = write(folder / "x.so")
    give_away(folder.parent)
    assert ownership.find_fault(path) is None
    give_away(path)
    assert f"{path} belongs to another user" in ownership.find_fault(path)


@pytest.mark.parametrize("is_relative", [False, True])
def test_links_are_judged_and_what_they_lead_to(folder, give_away, is_relative):
    target, link = folder / "x.so", folder.parent / "link"
    write(target)
    link.symlink_to("kernels" if is_relative else folder)
    assert ownership.find_fault(link / "x.so") is None
    target.chmod(0o666)
    assert f"write to {target} (mode 0666" in ownership.find_fault(link / "x.so")
    target.chmod(0o600)
    folder.chmod(0o777)  # a folder that only the link leads to
    assert f"write to {folder} (mode 0777" in ownership.find_fault(link / "x.so")
    folder.chmod(0o700)
    give_away(link)
    assert f"{link} belongs to another user" in ownership.find_fault(link / "x.so")


def test_place_of_a_link_counts(tmp_path, folder):
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    (open_folder / "link").symlink_to(folder)
    assert f"write to {open_folder}" in ownership.find_fault(open_folder / "link" / "x.so")


def test_links_that_go_round_are_a_fault(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "cannot be examined" in ownership.find_fault(tmp_path / "a")


@pytest.mark.parametrize(
    ("gid", "group", "members", "is_own"),
    [
        (77, "ann", [], True),
        (77, "ann", ["ann"], True),
        (77, "ann", ["ann", "bob"], False),
        (77, "staff", [], False),
        (0, "ann", [], False),
    ],
)
def test_own_group_is_that_of_one_user(gid, group, members, is_own, monkeypatch):
    grp, pwd = pytest.importorskip("grp"), pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ann"))
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=group, gr_mem=members))
    assert is_own_group(gid) == is_own


def test_own_group_may_write(folder, monkeypatch):
    """What `umask 002` makes, the default of many systems."""
    monkeypatch.setattr(ownership, "_is_own_group", lambda _: True)
    path = write(folder / "x.so", 0o664)
    folder.chmod(0o775)
    assert ownership.find_fault(path) is None
    path.chmod(0o666)
    assert f"write to {path}" in ownership.find_fault(path)


def test_windows_has_no_such_check(folder, monkeypatch):
    folder.chmod(0o777)
    monkeypatch.delattr(os, "geteuid")
    assert ownership.find_fault(folder) is None
