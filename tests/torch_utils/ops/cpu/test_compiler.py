"""Building the CPU kernels on machines that are in the way: each trouble is really made."""

import ctypes
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from dnnlib import ownership
from torch_utils.ops import compilation
from torch_utils.ops.cpu import compiler, toolchain

GXX = shutil.which("g++")
ROOT = Path(__file__).parents[4]
pytestmark = pytest.mark.skipif(GXX is None, reason="needs g++")

SOURCES = {
    "one.cpp": '#include "value.h"\nextern "C" int one() { return VALUE; }\n',
    "two.cpp": 'extern "C" int one();\nextern "C" int two() { return 2 * one(); }\n',
    "value.h": "#define VALUE 1\n",
}

# What a process does that uses the kernels, here those of SOURCES.
PROGRAM = """
import sys
from pathlib import Path
from torch_utils.ops.cpu import compiler
folder = Path(sys.argv[1])
compiler.SOURCES, compiler.HEADERS = sorted(folder.glob("*.cpp")), sorted(folder.glob("*.h"))
print(compiler.library().two())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="of x86 processors")
@pytest.mark.parametrize("source", compiler.SOURCES, ids=lambda path: path.name)
@pytest.mark.parametrize("processor", ["x86-64", "haswell", "skylake-avx512", "sapphirerapids"])
def test_kernels_compile_for_other_processors(processor, source):
    """A machine compiles only its own branches: vectors of 16, 32 or 64 bytes, and tiles."""
    assert GXX is not None
    flags = [*toolchain.FLAGS, f"-march={processor}", "-fopenmp", "-fsyntax-only"]
    result = subprocess.run([GXX, *flags, source], capture_output=True, text=True, timeout=120)
    if "bad value" in result.stderr:
        pytest.skip(f"this g++ does not know {processor}")
    assert result.returncode == 0, result.stderr


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The cache, empty; the kernels are those of SOURCES, quick to build."""
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(compiler, "SOURCES", sorted(tmp_path.glob("*.cpp")))
    monkeypatch.setattr(compiler, "HEADERS", sorted(tmp_path.glob("*.h")))
    monkeypatch.setenv(compiler.CACHE_DIR_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def fake_compiler(tmp_path, monkeypatch):
    """Makes `CXX` a shell script that ends by calling the compiler, and logs its calls."""

    def make(script: str) -> Path:
        path, log = tmp_path / "fake-g++", tmp_path / "calls"
        path.unlink(missing_ok=True)  # a file that runs still cannot be written to
        path.write_text(f'#!/bin/sh\necho "$*" >> {log}\n{script}\nexec {GXX} "$@"\n')
        path.chmod(0o755)
        log.write_text("")
        monkeypatch.setenv("CXX", str(path))
        return log

    return make


def two() -> int:
    """Load the kernels and call one, as a new process would; warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library = compiler.library.__wrapped__()
    result = library.two()
    ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))
    return result


def warning_of_refused_build() -> str:
    """The one warning of a process that finds the kernels cannot be built."""
    with pytest.warns(UserWarning) as record:
        assert compiler.library.__wrapped__() is None
    (message,) = [str(w.message) for w in record]
    assert message.startswith("CPU kernels: ") and "\n" not in message
    assert message.endswith("Using slower PyTorch operations.")
    return message


def start_process(folder: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def libraries(cache: Path) -> list[Path]:
    return sorted(cache.glob("kernels-*.so"))


def test_kernels_are_loaded_wherever_there_is_a_compiler():
    """Else all tests of the kernels would pass on the reference."""
    assert compiler.library() is not None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_kernels_share_the_threads_of_pytorch():
    # In a process of its own: packages that other tests use bring their own threads.
    program = (
        "from torch_utils.ops.cpu import compiler; assert compiler.library() is not None; "
        "print(open('/proc/self/maps').read())"
    )
    maps = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    files = {line.split()[-1] for line in maps.splitlines() if line}
    assert len([path for path in files if "libgomp" in path or "omp.so" in path]) == 1


def test_library_is_built_once_from_all_sources(cache, fake_compiler):
    log = fake_compiler("")
    assert two() == 2
    assert sum(" -c " in call for call in log.read_text().splitlines()) == 3  # and the probe
    (library,) = cache.iterdir()  # nothing but the library stays
    log.write_text("")
    assert two() == 2
    assert libraries(cache) == [library]
    assert len(log.read_text().splitlines()) == 1  # asked for its version


@pytest.mark.parametrize("name", SOURCES)
def test_changed_source_or_header_is_a_library_of_its_own(cache, tmp_path, name):
    assert two() == 2
    (tmp_path / name).write_text(SOURCES[name] + "// changed\n")
    assert two() == 2
    assert len(libraries(cache)) == 2


def test_key_covers_compiler_flags_pytorch_and_processor(cache, monkeypatch):
    tool = next(toolchain.toolchains())
    assert "__VERSION__" in tool.macros and "_OPENMP" in tool.macros
    plain = toolchain.Toolchain(tool.command, toolchain.FLAGS, tool.macros)
    other_processor = toolchain.Toolchain(tool.command, tool.flags, tool.macros + "#define __X__")
    other_compiler = toolchain.Toolchain(("clang++",), tool.flags, tool.macros)
    keys = [compiler._key(t) for t in (tool, plain, other_processor, other_compiler)]
    monkeypatch.setattr(torch, "__version__", "9.9")
    keys.append(compiler._key(tool))
    assert len(set(keys)) == 5


def test_no_compiler_is_one_warning_with_the_fix(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C++ compiler was found; install one" in warning_of_refused_build()
    monkeypatch.setenv("CXX", "g++-99 -m64")
    assert "CXX='g++-99 -m64' was not found" in warning_of_refused_build()


def test_windows_is_named(cache, monkeypatch):
    monkeypatch.setattr(toolchain.platform, "system", lambda: "Windows")
    assert "not built on Windows" in warning_of_refused_build()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo error: old; exit 1", "g++ failed: error: old; update it"),
        ('case "$*" in *-shared*) echo bad news; exit 1; esac', "g++ failed: bad news; update it"),
        ("echo out.s: No space left on device; exit 1", "disk is full (out.s: No space left"),
        ("exec /nonexistent/cc1plus", "g++ failed: "),
    ],
    ids=["old", "cannot link", "disk full", "incomplete"],
)
def test_compiler_that_fails_is_named_with_its_reason(cache, fake_compiler, script, message):
    fake_compiler(script)
    warning = warning_of_refused_build()
    assert message in warning
    assert libraries(cache) == []


def test_file_that_is_no_program_is_named(cache, fake_compiler, tmp_path):
    fake_compiler("")
    (tmp_path / "fake-g++").write_bytes(b"\0\0\0\0")
    assert "fake-g++ cannot be run: Exec format error." in warning_of_refused_build()


def test_error_in_a_source_is_one_line(cache, tmp_path):
    (tmp_path / "two.cpp").write_text("nonsense;\nnonsense;\n")
    assert "two.cpp:1:1: error: " in warning_of_refused_build()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("refused", "flag"),
    [
        ("*-march=native*|*-mcpu=native*", "-fopenmp"),
        ("*-fopenmp*", "=native"),
        ("*-shared*-fopenmp*|*-fopenmp*-shared*", "=native"),
    ],
    ids=["native", "OpenMP", "OpenMP's library"],
)
def test_flags_that_do_not_work_are_left_out(cache, fake_compiler, refused, flag):
    log = fake_compiler(f'case "$*" in {refused}) echo error: unsupported >&2; exit 1; esac')
    assert two() == 2
    compiled = [call for call in log.read_text().splitlines() if "one.cpp" in call]
    assert len(compiled) == 1 and flag in compiled[0]
    log.write_text("")
    assert two() == 2  # from the cache
    assert "one.cpp" not in log.read_text()


def test_compiler_that_hangs_is_ended_with_its_children(
    cache, fake_compiler, monkeypatch, tmp_path
):
    fake_compiler(f'case "$*" in *one.cpp*) sleep 600 & echo $! > {tmp_path}/pid; wait; esac')
    monkeypatch.setattr(toolchain, "BUILD_TIMEOUT_SEC", 1)
    assert "did not finish within 1 s; try again, or name another" in warning_of_refused_build()
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_running(pid))
    assert list(cache.iterdir()) == []


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_long_builds_are_announced(cache, fake_compiler, capfd):
    told = []
    with compilation.listener(told.append):
        assert two() == 2
        assert capfd.readouterr().err == ""
        assert told == []
        shutil.rmtree(cache)
        fake_compiler('case "$*" in *one.cpp*) sleep 1.2; esac')
        assert two() == 2
    assert told == ["Building CPU kernels (once, ~10 s) ..."]
    assert capfd.readouterr().err.startswith("Building CPU kernels (once, ~10 s) ... done in ")


def contents_cut_off(library: Path) -> None:
    with library.open("r+b") as file:
        file.truncate(library.stat().st_size // 2)


def contents_never_written(library: Path) -> None:
    library.write_bytes(bytes(library.stat().st_size))


def other_contents_of_the_right_name(library: Path) -> None:
    """As left by a system whose libraries this one does not have."""
    library.unlink()
    text = b"no library"
    key = library.name.split("-")[1]
    library.with_name(f"kernels-{key}-{hashlib.sha256(text).hexdigest()[:16]}.so").write_bytes(text)


@pytest.mark.parametrize(
    "damage", [contents_cut_off, contents_never_written, other_contents_of_the_right_name]
)
def test_damaged_library_is_built_again_once(cache, fake_compiler, damage):
    log = fake_compiler("")
    assert two() == 2
    damage(*libraries(cache))
    log.write_text("")
    assert two() == 2
    assert "one.cpp" in log.read_text()
    log.write_text("")
    assert two() == 2
    assert "one.cpp" not in log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where nobody can write")
def test_cache_that_cannot_be_written_is_one_warning_and_works(cache, monkeypatch, tmp_path):
    monkeypatch.setenv(compiler.CACHE_DIR_VARIABLE, "/proc/kernels")
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path))
    with pytest.warns(UserWarning, match="/proc/kernels cannot be written to") as record:
        assert compiler.library.__wrapped__().two() == 2
    assert len(record) == 1
    assert not list(tmp_path.glob("stylegan3-kernels-*"))


def test_cache_that_cannot_be_written_is_read(cache):
    assert two() == 2
    cache.chmod(0o500)
    try:
        assert two() == 2
    finally:
        cache.chmod(0o700)


def test_leftovers_are_removed_after_a_day(cache):
    for name, age_sec in (("build-old", 25 * 3600), ("build-new", 60)):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (time.time() - age_sec,) * 2)
    assert two() == 2
    assert [path.name for path in sorted(cache.iterdir())] == [
        "build-new",
        libraries(cache)[0].name,
    ]


@pytest.mark.slow
def test_killed_build_leaves_nothing_that_is_taken_for_a_library(cache, fake_compiler, tmp_path):
    fake_compiler(f'case "$*" in *one.cpp*) touch {tmp_path}/started; sleep 3; esac')
    process = start_process(tmp_path)
    wait_for((tmp_path / "started").exists)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [path.name[:6] for path in cache.iterdir()] == ["build-"]
    fake_compiler("")
    assert two() == 2


@pytest.mark.slow
def test_processes_and_threads_may_build_at_once(cache, fake_compiler, tmp_path):
    log = fake_compiler('case "$*" in *one.cpp*) sleep 1; esac')
    processes = [start_process(tmp_path) for _ in range(2)]
    # One of them builds, or both do, which may have begun between two looks.
    wait_for(lambda: "one.cpp" in log.read_text())
    with ThreadPoolExecutor(2) as pool:
        results = [future.result() for future in [pool.submit(two) for _ in range(2)]]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0 and "Warning" not in errors
        results.append(int(output))
    assert results == [2] * 4
    assert len(libraries(cache)) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs mounts of its own")
@pytest.mark.parametrize("options", ["noexec", "noexec,ro"])
def test_library_in_a_cache_mounted_noexec_is_loaded(cache, tmp_path, options):
    assert two() == 2
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    script = f"mount --bind {cache} {cache} && mount -o remount,bind,{options} {cache} "
    if subprocess.run([*mount, script], capture_output=True).returncode != 0:
        pytest.skip("mounts are not permitted here")
    run = [*mount, f'{script} && exec "$0" "$@"', sys.executable, "-c", PROGRAM, str(tmp_path)]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "2\n"
    # A busy machine may say that it waits for the compiler's answer.
    assert "Warning" not in result.stderr and "Building" not in result.stderr


# What others could have put there.


@pytest.fixture
def planted(cache, tmp_path) -> Path:
    """A library with a name that is right, which writes `tmp_path / "canary"` when it is loaded."""
    assert two() == 2
    (library,) = libraries(cache)
    key = library.name.split("-")[1]
    library.unlink()
    source = tmp_path / "planted.c"
    source.write_text(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) "
        f'{{ fclose(fopen("{tmp_path}/canary", "w")); }}\nint two(void) {{ return 66; }}\n'
    )
    path = tmp_path / "planted.so"
    subprocess.run([GXX, "-x", "c", "-shared", "-fPIC", source, "-o", path], check=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return path.rename(cache / f"kernels-{key}-{digest}.so")


@pytest.fixture
def not_own_group(monkeypatch):
    """Our group has other users in it."""
    monkeypatch.setattr(ownership, "_is_own_group", lambda _: False)


def two_with_one_warning() -> str:
    """Call the kernels of a new process; what it warns of."""
    with pytest.warns(UserWarning) as record:
        library = compiler.library.__wrapped__()
    assert library.two() == 2
    ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))
    (message,) = [str(w.message) for w in record]
    assert message.startswith("CPU kernels: ") and "\n" not in message
    return message


def test_planted_library_would_be_loaded_if_it_were_ours(planted, tmp_path):
    """The tests below are about something."""
    assert compiler.library.__wrapped__().two() == 66
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_cache_that_others_may_write_to_is_not_used(planted, cache, tmp_path, mode, not_own_group):
    cache.chmod(mode)
    message = two_with_one_warning()
    assert f"write to {cache} (mode {mode:04o}; chmod go-w {cache})" in message
    assert compiler.CACHE_DIR_VARIABLE in message and "every process builds its own" in message
    assert libraries(cache) == [planted] and not (tmp_path / "canary").exists()


def test_folder_above_the_cache_counts(planted, cache, tmp_path):
    tmp_path.chmod(0o777)
    assert f"chmod go-w {tmp_path})" in two_with_one_warning()
    assert not (tmp_path / "canary").exists()


def test_no_cache_is_made_where_it_would_not_be_used(cache, tmp_path):
    """As `sudo` would do in the home folder of a user, who could not use it any more."""
    tmp_path.chmod(0o777)
    with pytest.warns(UserWarning, match="write to"):
        assert not compiler.is_private(cache / "below", "CPU")
    assert not cache.exists()


@pytest.mark.parametrize("what", ["cache", "library"])
def test_cache_and_library_of_another_user_are_not_used(
    planted, cache, tmp_path, monkeypatch, what
):
    foreign = cache if what == "cache" else planted
    original = Path.lstat

    def lstat(path):
        status = original(path)
        return os.stat_result([*status[:4], 54321, *status[5:]]) if path == foreign else status

    monkeypatch.setattr(Path, "lstat", lstat)
    assert f"{foreign} belongs to another user (uid 54321" in two_with_one_warning()
    assert not (tmp_path / "canary").exists()
    assert len(libraries(cache)) == (1 if what == "cache" else 2)  # in ours, we build beside it


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_library_of_another_user_is_not_loaded_by_root(planted, tmp_path):
    os.chown(planted, 54321, 54321)
    planted.chmod(0o777)
    assert f"{planted} belongs to another user (uid 54321; remove it)" in two_with_one_warning()
    assert not (tmp_path / "canary").exists()


def test_library_that_others_may_write_to_is_not_loaded(planted, tmp_path):
    planted.chmod(0o757)
    assert f"write to {planted} (mode 0757; remove it)" in two_with_one_warning()
    assert not (tmp_path / "canary").exists()


def test_link_is_judged_by_what_it_leads_to(planted, cache, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    library = planted.rename(shared / planted.name)
    (cache / planted.name).symlink_to(library)
    assert f"write to {shared}" in two_with_one_warning()
    assert not (tmp_path / "canary").exists()


def test_cache_that_we_make_is_private(cache):
    before = os.umask(0)
    try:
        assert two() == 2
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert libraries(cache)[0].stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("is_noexec", [False, True])
def test_temporary_folder_that_others_may_change_holds_no_library(
    cache, tmp_path, monkeypatch, is_noexec
):
    """Neither one that is built there, nor the copy of one that is mounted noexec."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o777)
    if is_noexec:
        original = ctypes.CDLL
        assert two() == 2

        def load(path):
            if Path(path).is_relative_to(cache):
                raise OSError("Operation not permitted")
            return original(path)

        monkeypatch.setattr(compiler.ctypes, "CDLL", load)
    else:
        cache.mkdir()
        cache.chmod(0o777)
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(shared))
    with pytest.warns(UserWarning) as record:
        assert compiler.library.__wrapped__() is None
    assert f"write to {shared} (mode 0777; chmod go-w {shared}); set TMPDIR" in str(
        record[-1].message
    )
    assert list(shared.iterdir()) == []


# Compilers that do not answer.


@pytest.mark.timeout(60)
def test_compiler_that_does_not_answer_is_asked_once_and_said(
    cache, fake_compiler, monkeypatch, capfd
):
    log = fake_compiler("sleep 600")
    monkeypatch.setattr(toolchain, "QUERY_TIMEOUT_SEC", 1)
    monkeypatch.setattr(toolchain, "SILENT_SEC", 0.2)
    assert "did not finish within 1 s; try again, or name another" in warning_of_refused_build()
    assert len(log.read_text().splitlines()) == 1
    said = capfd.readouterr().err
    assert said.startswith("Waiting for the C++ compiler ") and "fake-g++ ... failed in 1 s" in said


def test_compiler_that_hangs_at_the_first_lines_is_tried_once(
    cache, fake_compiler, monkeypatch, capfd
):
    log = fake_compiler('case "$*" in *probe.cpp*) sleep 600; esac')
    monkeypatch.setattr(toolchain, "PROBE_TIMEOUT_SEC", 1)
    monkeypatch.setattr(toolchain, "SILENT_SEC", 0.2)
    assert "did not finish within 1 s" in warning_of_refused_build()
    assert sum("probe.cpp" in call for call in log.read_text().splitlines()) == 1
    assert "Trying the C++ compiler " in capfd.readouterr().err


def test_a_question_takes_seconds_at_most():
    assert toolchain.QUERY_TIMEOUT_SEC <= 10 and toolchain.SILENT_SEC <= 2
