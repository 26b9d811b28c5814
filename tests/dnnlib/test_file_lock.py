"""Locks on files: one holder at a time, whoever ends how."""

import os
import subprocess
import sys

import pytest

from dnnlib import file_lock

needs_flock = pytest.mark.skipif(os.name == "nt", reason="POSIX locks")


def ignore() -> None:
    """For those who do not mind waiting."""


def test_holder_excludes_others_until_it_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(file_lock, "_NOTICE_SEC", 0.0)
    path, notices = tmp_path / "lock", []
    with file_lock.hold(path, ignore) as is_locked:
        assert is_locked
        with (
            pytest.raises(TimeoutError, match="lock is locked by another process"),
            file_lock.hold(path, lambda: notices.append(1), patience_sec=0.3),
        ):
            raise AssertionError
    assert notices == [1]
    assert not path.exists()
    with file_lock.hold(path, ignore, patience_sec=0) as is_locked:
        assert is_locked


def test_lock_ends_with_its_process(tmp_path):
    code = """
        import sys, time
        from pathlib import Path
        from dnnlib import file_lock
        with file_lock.hold(Path(sys.argv[1]), print):
            print("locked", flush=True)
            time.sleep(600)
    """
    path = tmp_path / "lock"
    program = "\n".join(line[8:] for line in code.splitlines())
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(TimeoutError), file_lock.hold(path, ignore, patience_sec=0):
            raise AssertionError
        process.kill()
    assert path.exists()  # which means nothing
    with file_lock.hold(path, ignore, patience_sec=0) as is_locked:
        assert is_locked


@needs_flock
def test_lock_on_a_file_that_was_removed_does_not_count(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    try_lock = file_lock._try_lock
    calls = []

    def remove_and_lock(fd):
        calls.append(fd)
        if len(calls) == 1:  # as the holder before us does, between our opening and locking
            path.unlink()
        return try_lock(fd)

    monkeypatch.setattr(file_lock, "_try_lock", remove_and_lock)
    with file_lock.hold(path, ignore) as is_locked:
        assert is_locked and path.exists()
    assert len(calls) == 2
    assert not path.exists()


def test_folder_that_cannot_be_written_is_no_reason_to_wait(tmp_path):
    with file_lock.hold(tmp_path / "missing" / "lock", ignore) as is_locked:
        assert not is_locked
