"""dnnlib.util: lookup by name, durations, log files, addresses, atomic writes."""

import copy
import hashlib
import os
import pickle
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

import dnnlib
from dnnlib import util


def test_easydict_items_are_attributes():
    d = dnnlib.EasyDict(a=1)
    d.b = 2
    assert (d["b"], d.a) == (2, 1)
    del d.a
    assert list(d) == ["b"] and not hasattr(d, "a")
    with pytest.raises(AttributeError, match="'a'"):
        _ = d.a
    with pytest.raises(AttributeError, match="'a'"):
        del d.a
    assert dnnlib.EasyDict is util.EasyDict


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_easydict_survives_copy_and_pickle(protocol):
    d = dnnlib.EasyDict(a=dnnlib.EasyDict(b=[1]))
    for clone in (copy.deepcopy(d), pickle.loads(pickle.dumps(d, protocol))):
        assert clone == d and type(clone.a) is dnnlib.EasyDict and clone.a.b is not d.a.b


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b/\u00fc\u4e2d\U0001f600.png", "a b/\u00fc\u4e2d\U0001f600.png"),
        ("\x1b[31m\x07\n\r\t\x7f\x9b", r"\x1b[31m\x07\n\r\t\x7f\x9b"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("\udce9.png", r"\udce9.png"),
        ("a\\b", "a\\b"),
        ("", ""),
    ],
)
def test_names_are_made_printable(name, shown):
    assert util.printable(name) == shown and shown.isprintable()
    shown.encode()  # for any terminal in UTF-8


def test_names_are_looked_up():
    assert util.get_obj_by_name("dnnlib.util") is util
    assert util.get_obj_by_name("os.path.join") is os.path.join
    assert util.get_obj_by_name("dnnlib.util.EasyDict.fromkeys")(["k"]) == {"k": None}
    assert util.call_func_by_name(3, func_name="numpy.full", fill_value=2).tolist() == [2, 2, 2]
    assert util.construct_class_by_name(class_name="dnnlib.EasyDict", x=1).x == 1


@pytest.mark.parametrize(
    "name, message",
    [
        ("no_such_package.f", "no module 'no_such_package'"),
        ("dnnlib.util.nothing", "'dnnlib.util' has no attribute 'nothing'"),
        ("dnnlib.util.EasyDict.x.y", "'dnnlib.util.EasyDict' has no attribute 'x'"),
        ("", "not a dotted path"),
        ("dnnlib..util", "not a dotted path"),
    ],
)
def test_missing_name_is_told(name, message):
    with pytest.raises(ImportError, match=message):
        util.get_obj_by_name(name)


def test_module_that_lacks_an_import_does_not_pass_for_missing(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"cannot import 'needs_more\.f': .*no_such_package"):
        util.get_obj_by_name("needs_more.f")


def test_calling_what_is_not_callable_is_refused():
    with pytest.raises(TypeError, match=r"'math\.pi' is not callable"):
        util.call_func_by_name(func_name="math.pi")


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (0.4, "0s"),
        (0.5, "0s"),
        (1.5, "2s"),
        (59, "59s"),
        (59.6, "1m 00s"),
        (60, "1m 00s"),
        (61.2, "1m 01s"),
        (113, "1m 53s"),
        (3599, "59m 59s"),
        (3600, "1h 00m 00s"),
        (3661, "1h 01m 01s"),
        (86399, "23h 59m 59s"),
        (86400, "1d 00h 00m"),
        (90061, "1d 01h 01m"),
        (np.float64(1e6), "11d 13h 46m"),
    ],
)
def test_format_time(seconds, text):
    assert util.format_time(seconds) == text


@pytest.mark.parametrize(
    ("number", "nearest"),
    [(1, 1), (2, 2), (3, 4), (5, 4), (6, 8), (181, 128), (182, 256), (250, 256), (256, 256)],
)
def test_nearest_power_of_two_is_nearest_in_ratio(number, nearest):
    assert util.nearest_power_of_two(number) == nearest


def test_logger_repeats_both_streams_until_closed(tmp_path, capsys):
    log = tmp_path / "log.txt"
    stdout, stderr = sys.stdout, sys.stderr
    with util.Logger(log) as logger:
        print("out")
        print("err", file=sys.stderr)
        logger.write(b"bytes\n")
        print("unfinished", end="", flush=True)
        assert log.read_text() == "out\nerr\nbytes\nunfinished"
        kept = sys.stdout
    logger.close()
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    print("after", file=kept)
    assert log.read_text() == "out\nerr\nbytes\nunfinished"
    assert capsys.readouterr() == ("out\nbytes\nunfinishedafter\n", "err\n")


def test_logger_appends_and_starts_afresh(tmp_path):
    log = tmp_path / "log.txt"
    for mode, expected in [("w", "x\n"), ("a", "x\nx\n"), ("w", "x\n")]:
        with util.Logger(log, mode):
            print("x")
        assert log.read_text() == expected


def test_logger_leaves_progress_bars_to_the_console(tmp_path, capsys):
    log = tmp_path / "log.txt"
    with util.Logger(log):
        print("before")
        for _ in tqdm(range(3), desc="outer", mininterval=0):
            for _ in tqdm(range(2), desc="inner", mininterval=0, leave=False):
                pass
        print("windows\r\nafter")
    assert log.read_text() == "before\nwindows\nafter\n"
    assert "3/3" in capsys.readouterr().err


def test_logger_notes_the_traceback_of_a_failure(tmp_path):
    log = tmp_path / "log.txt"
    with pytest.raises(KeyError), util.Logger(log):
        raise KeyError("lost")
    assert "Traceback" in log.read_text() and "KeyError: 'lost'" in log.read_text()


def test_logger_without_file_leaves_streams_alone(capsys):
    stdout = sys.stdout
    with util.Logger() as logger:
        assert sys.stdout is stdout
        logger.write("text")
    assert capsys.readouterr().out == "text"


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", "/somewhere")
    assert dnnlib.make_cache_dir_path("a", "b") == os.path.join("/somewhere", "a", "b")
    monkeypatch.delenv("DNNLIB_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert dnnlib.make_cache_dir_path("a") == os.path.join("/xdg", "stylegan3", "a")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert dnnlib.make_cache_dir_path() == os.path.join("/home/me", ".cache", "stylegan3")


@pytest.mark.parametrize(
    "obj, with_file, expected",
    [
        ("https://host/x.pkl", False, True),
        ("http://localhost:80", False, True),
        ("http:///x", False, False),
        ("ftp://host/x", False, False),
        ("file:///x.pkl", False, False),
        ("file:///x.pkl", True, True),
        ("net.pkl", True, False),
        ("C:/net.pkl", True, False),
        (None, True, False),
        (Path("x"), True, False),
    ],
)
def test_is_url(obj, with_file, expected):
    assert util.is_url(obj, allow_file_urls=with_file) is expected


def test_open_url_reads_local_files(tmp_path):
    path = tmp_path / "net 1.pkl"
    path.write_bytes(b"x")
    for url in (str(path), path, path.as_uri()):
        with util.open_url(url) as file:
            assert file.read() == b"x"
        assert util.open_url(url, return_filename=True) == str(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        util.open_url(str(tmp_path / "absent"))
    with pytest.raises(OSError, match="only http"):
        util.open_url("ftp://host/x")


def test_open_url_checks_the_hash_of_local_files(tmp_path):
    path = tmp_path / "net#1.pkl"  # in a plain path, this is no fragment
    path.write_bytes(b"x")
    assert util.open_url(str(path)).read() == b"x"
    found, other = hashlib.sha256(b"x").hexdigest(), "0" * 64
    assert util.open_url(f"{path.as_uri()}#sha256={found}", return_filename=True) == str(path)
    with pytest.raises(OSError, match=f"SHA-256 {found}, expected {other}"):
        util.open_url(f"{path.as_uri()}#sha256={other}")
    with pytest.raises(ValueError, match="'#sha1=0'"):
        util.open_url(f"{path.as_uri()}#sha1=0")


@pytest.mark.parametrize("mode, data", [("wb", b"new"), ("w", "nëu\n")])
def test_open_atomic_replaces_at_the_end(tmp_path, mode, data):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with util.open_atomic(path, mode) as file:
        file.write(data)
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == (data if mode == "wb" else data.encode())
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("exists", [True, False])
def test_open_atomic_leaves_the_target_after_an_error(tmp_path, error, exists):
    path = tmp_path / "file"
    if exists:
        path.write_bytes(b"old")
    with pytest.raises(error), util.open_atomic(path) as file:
        file.write(b"new")
        raise error
    assert os.listdir(tmp_path) == (["file"] if exists else [])
    assert not exists or path.read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_open_atomic_gives_the_permissions_of_open(tmp_path):
    old_mask = os.umask(0o027)
    try:
        with util.open_atomic(tmp_path / "new"):
            pass
        (tmp_path / "old").touch()
        (tmp_path / "old").chmod(0o604)
        with util.open_atomic(tmp_path / "old"):
            pass
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o604


@pytest.mark.skipif(os.name == "nt", reason="needs links and devices")
def test_open_atomic_follows_links_and_spares_devices(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with util.open_atomic(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    with util.open_atomic(os.devnull) as file:
        file.write(b"x")
    assert not os.path.isfile(os.devnull)


def test_open_atomic_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(ValueError, match="mode"), util.open_atomic(tmp_path / "x", "ab"):
        pass
    with (
        pytest.raises(FileNotFoundError, match=r"folder.*absent/x"),
        util.open_atomic(tmp_path / "absent/x"),
    ):
        pass
    with pytest.raises(IsADirectoryError), util.open_atomic(tmp_path):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
def test_full_disk_does_not_end_the_program(capsys):
    with util.Logger("/dev/full"):
        print("one")
        print("two")
    assert capsys.readouterr().out == "one\ntwo\n"
