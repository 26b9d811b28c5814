"""CUDA kernels are compiled without a GPU: the cache and the messages."""

import os
import re
import struct
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.torch_utils.ops.cuda.probe import CODE, NAME, SOURCE, cached_files, count_compilations
from torch_utils.ops import compilation, selection
from torch_utils.ops.cuda import compiler
from torch_utils.ops.cuda import cubin as cubins

nvrtc = pytest.importorskip("cuda.bindings.nvrtc")

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("fresh")


def test_compiles_and_reports_resources(source_dir):
    cubin = compiler.compile_cubin(SOURCE, NAME, "sm_90")
    assert cubin.kind == "cubin"
    assert cubin.code.startswith(b"\x7fELF")
    assert cubin.symbol.encode() in cubin.code
    assert 0 < cubin.registers < 64
    assert (cubin.shared_bytes, cubin.spill_bytes, cubin.stack_bytes) == (0, 0, 0)


def test_second_time_comes_from_the_cache(source_dir, monkeypatch):
    compilations = count_compilations(monkeypatch)
    first = compiler.compile_cubin(SOURCE, NAME, "sm_90")
    assert compiler.compile_cubin(SOURCE, NAME, "sm_90") == first
    assert len(compilations) == len(cached_files(source_dir)) == 1


def test_listeners_hear_of_compiling_but_not_of_the_cache(source_dir):
    told = []
    with compilation.listener(told.append):
        compiler.compile_cubin(SOURCE, NAME, "sm_90")
        compiler.compile_cubin(SOURCE, NAME, "sm_90")
    assert told == ["Compiling CUDA kernels (once, a few seconds) ..."]
    compiler.compile_cubin(SOURCE, "probe<double>", "sm_90")
    assert len(told) == 1


@pytest.mark.parametrize("change", ["source", "header", "specialisation", "arch", "nvrtc"])
def test_key_covers_what_a_kernel_depends_on(change, source_dir, monkeypatch):
    compiler.compile_cubin(SOURCE, NAME, "sm_90")
    compilations = count_compilations(monkeypatch)
    name, arch = NAME, "sm_90"
    if change == "source":
        (source_dir / SOURCE).write_text(CODE + "\n")
    elif change == "header":
        header = source_dir / "scale.cuh"
        header.write_text(header.read_text().replace("return x", "return 2 * x"))
    elif change == "specialisation":
        name = "probe<double>"
    elif change == "arch":
        arch = "sm_80"
    else:
        monkeypatch.setattr(compiler.core(), "nvrtc_version", "0.1")
    compiler.compile_cubin(SOURCE, name, arch)
    assert len(compilations) == 1


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "text"])
def test_damaged_entry_is_compiled_again(damage, source_dir, monkeypatch):
    first = compiler.compile_cubin(SOURCE, NAME, "sm_90")
    (path,) = cached_files(source_dir)
    data = path.read_bytes()
    damaged = {
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "flipped": data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
        "text": b"a\nb\nc",
    }
    path.write_bytes(damaged[damage])
    compilations = count_compilations(monkeypatch)
    assert compiler.compile_cubin(SOURCE, NAME, "sm_90").code == first.code
    assert len(compilations) == 1
    assert compiler.compile_cubin(SOURCE, NAME, "sm_90").code == first.code
    assert len(compilations) == 1


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["__half", "__nv_bfloat16"])
def test_half_precision_is_that_of_the_toolkit(dtype, arch, source_dir, monkeypatch):
    """`half.cuh` becomes the instructions that CUDA's own headers become."""
    pathfinder = pytest.importorskip("cuda.pathfinder")
    headers = pathfinder.find_nvidia_header_directory("cudart")
    if headers is None or not (Path(headers) / "cuda_fp16.h").exists():
        pytest.skip("no headers of CUDA")
    body = "template <class T> __global__ void probe(T* x) { *x = T(3.0f * float(*x)); }"
    include_dirs = {"half.cuh": HERE.parents[3] / "torch_utils/ops/cuda", "cuda_bf16.h": headers}
    codes = []
    for header, folder in include_dirs.items():
        also = "" if header == "half.cuh" else "#include <cuda_fp16.h>\n"
        monkeypatch.setattr(compiler, "SOURCE_DIR", Path(folder))
        code = f"{also}#include <{header}>\n{body}"
        cubin = compiler._compile(code, f"probe<{dtype}>", "cubin", arch, SOURCE)
        codes.append(instructions(cubin.code))
    if (dtype, arch) == ("__nv_bfloat16", "sm_75"):  # rounds by integers, in another order
        assert len(codes[0]) <= len(codes[1])
    else:
        assert codes[0] == codes[1]


def instructions(elf):
    """The machine code in an object file."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    count, names = struct.unpack_from("<2H", elf, 0x3C)
    sections = [struct.unpack_from("<2I4Q", elf, table + 64 * i) for i in range(count)]
    for name, _, _, _, offset, size in sections:
        if elf[sections[names][4] + name :].startswith(b".text."):
            return elf[offset : offset + size]
    raise AssertionError("no code")


def test_works_without_a_cache(source_dir, monkeypatch):
    """Where the folder cannot be written to, not even by root: its parent is a file."""
    obstacle = source_dir / "file"
    obstacle.write_text("")
    monkeypatch.setenv("STYLEGAN3_KERNEL_CACHE_DIR", str(obstacle / "cache"))
    assert compiler.compile_cubin(SOURCE, NAME, "sm_90").registers > 0


@pytest.fixture
def planted(source_dir):
    """The folder of the cache, and a file in it in place of a kernel, whose digest is right."""
    kernel = compiler.compile_cubin(SOURCE, NAME, "sm_90")
    (path,) = cached_files(source_dir)
    cubins.write(path, replace(kernel, code=b"planted"))
    assert compiler.compile_cubin(SOURCE, NAME, "sm_90").code == b"planted"
    return path


def compile_with_one_warning():
    with pytest.warns(UserWarning) as caught:
        for _ in range(2):
            assert compiler.compile_cubin(SOURCE, NAME, "sm_90").code.startswith(b"\x7fELF")
    (message,) = [str(w.message) for w in caught]
    assert message.startswith("CUDA kernels: ") and "\n" not in message
    return message


def test_cache_that_others_may_write_to_is_not_used(planted):
    planted.parent.chmod(0o777)
    message = compile_with_one_warning()
    assert f"chmod go-w {planted.parent}" in message
    assert "STYLEGAN3_KERNEL_CACHE_DIR to a folder of your own" in message
    assert b"planted" in planted.read_bytes()


def test_kernel_of_another_user_is_not_loaded_but_replaced(planted, monkeypatch):
    original, owner = Path.lstat, {planted: 54321}

    def lstat(path):
        status = original(path)
        return os.stat_result([*status[:4], owner.get(path, status[4]), *status[5:]])

    monkeypatch.setattr(Path, "lstat", lstat)
    assert f"{planted} belongs to another user (uid 54321; remove it)" in compile_with_one_warning()
    assert b"planted" not in planted.read_bytes()


def test_kernel_that_others_may_write_to_is_not_loaded_but_replaced(planted):
    planted.chmod(0o666)
    assert f"write to {planted} (mode 0666; remove it)" in compile_with_one_warning()
    assert compiler.compile_cubin(SOURCE, NAME, "sm_90").code.startswith(b"\x7fELF")


def test_cache_that_we_make_is_private(source_dir):
    compiler.compile_cubin(SOURCE, NAME, "sm_90")
    (path,) = cached_files(source_dir)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_nothing_is_left_when_the_disk_is_full(source_dir, monkeypatch):
    def refuse(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    assert compiler.compile_cubin(SOURCE, NAME, "sm_90").registers > 0
    assert cached_files(source_dir) == []


def test_processes_that_compile_at_once_agree(source_dir):
    code = (
        "import pathlib, sys; from torch_utils.ops.cuda import compiler;"
        "compiler.SOURCE_DIR = pathlib.Path(sys.argv[1]);"
        f"print(compiler.compile_cubin({SOURCE!r}, {NAME!r}, 'sm_90').symbol)"
    )
    command = [sys.executable, "-c", code, str(source_dir)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    symbols = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert symbols == [compiler.compile_cubin(SOURCE, NAME, "sm_90").symbol + "\n"] * 2
    assert len(cached_files(source_dir)) == 1


def test_compiles_and_caches_without_posix(source_dir):
    command = [sys.executable, "-m", "tests.torch_utils.ops.cuda.compile_without_posix"]
    result = subprocess.run([*command, str(source_dir), SOURCE, NAME], capture_output=True)
    assert result.stdout.split() == [b"1"], result.stderr.decode()
    assert b"warn" not in result.stderr.lower()
    assert len(cached_files(source_dir)) == 1


def test_architecture_newer_than_nvrtc_gets_ptx():
    assert compiler._target("sm_999") == ("ptx", f"compute_{compiler.core().archs[-1]}")


def test_architecture_older_than_nvrtc_is_refused(source_dir):
    with pytest.raises(compiler.BuildError, match="sm_75 and later, not for sm_37; use a PyTorch"):
        compiler.compile_cubin(SOURCE, NAME, "sm_37")


def test_faulty_code_is_reported_with_its_place(source_dir):
    (source_dir / SOURCE).write_text(CODE.replace("scale(", "scales("))
    with pytest.raises(compiler.BuildError, match=r'probe\.cu\(5\): error: .*"scales"'):
        compiler.compile_cubin(SOURCE, NAME, "sm_90")


def fail(*_):
    raise RuntimeError("libnvrtc.so was not found\nin many places")


MISSING = {
    "bindings": ("cuda-bindings", lambda m: m.setitem(sys.modules, "cuda.bindings", None)),
    "core": ("cuda-core", lambda m: m.setitem(sys.modules, "cuda.core", None)),
    "nvrtc": ("nvidia-cuda-nvrtc", lambda m: m.setattr(nvrtc, "nvrtcVersion", fail)),
}


@pytest.mark.parametrize("what", MISSING)
def test_missing_package_is_named(what, source_dir, monkeypatch):
    package, remove = MISSING[what]
    import cuda

    for name in ("bindings", "core"):  # what was imported is an attribute, too
        monkeypatch.delattr(cuda, name, raising=False)
    remove(monkeypatch)
    with pytest.raises(compiler.BuildError, match=f'pip install "?{package}') as error:
        compiler.compile_cubin(SOURCE, NAME, "sm_90")
    assert "\n" not in str(error.value)
    with pytest.warns(UserWarning, match=f"{package}.*Using PyTorch operations, which are several"):
        assert not compiler.is_available()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not compiler.is_available()  # the warning comes once


def old_core(version, **names):
    """A stand-in for `cuda.core`, with the names that we use and that a version has."""
    return SimpleNamespace(__version__=version, **names)


class NewObjectCode:
    """As from cuda-core 0.6 on."""

    symbol_mapping = property(lambda self: {})


OLD_CORES = {
    "0.3, 0.4": old_core("0.4.2", experimental=SimpleNamespace(Device=object)),
    "0.5": old_core("0.5.0", **dict.fromkeys(["Device", "ObjectCode", "Program"], object)),
    "0.5, complete": old_core(
        "0.5.1", **dict.fromkeys(["Device", "ObjectCode", "Program", "ProgramOptions"], object)
    ),
    "no options": old_core("0.9", Device=object, Program=object, ObjectCode=NewObjectCode),
}


@pytest.mark.parametrize("version", OLD_CORES)
def test_old_cuda_core_ends_in_one_warning_with_the_version_to_install(version, monkeypatch):
    import cuda

    core = OLD_CORES[version]
    monkeypatch.setitem(sys.modules, "cuda.core", core)
    monkeypatch.setattr(cuda, "core", core, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", [(8, 0), (9, 0)].__getitem__)
    with pytest.warns(UserWarning) as caught:
        assert [has_cuda_kernels(index) for index in (0, 1, 0)] == [False] * 3
    (message,) = [str(w.message) for w in caught]
    assert f"cuda-core {core.__version__} is too old; pip install --upgrade" in message
    requirements = (HERE.parents[3] / "requirements.txt").read_text()
    (needed,) = re.findall(r"^cuda-core\S+(?=;)", requirements, re.MULTILINE)
    assert f'"{needed}"' in message and "\n" not in message


def test_old_cuda_bindings_are_told_from_a_missing_cuda_core(monkeypatch):
    """Version 12.8 lacks a module that cuda-core imports."""
    import cuda

    class Finder:
        def find_spec(self, name, *_):
            if name == "cuda.core":
                missing = "cuda.bindings.cynvvm"
                raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.delitem(sys.modules, "cuda.core", raising=False)
    monkeypatch.delattr(cuda, "core", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(compiler.BuildError, match=r"cuda-bindings is too old .*cynvvm") as info:
        compiler._import_core()
    assert 'pip install --upgrade "cuda-bindings==' in str(info.value)


def test_is_available_here():
    assert compiler.is_available()


def has_cuda_kernels(index):
    return selection._has_cuda_kernels(torch.device("cuda", index))


def test_old_gpu_does_not_keep_others_from_having_kernels(monkeypatch):
    capabilities = [(8, 0), (5, 2), (9, 0), (5, 2)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    with pytest.warns(UserWarning, match="compiles for sm_75 and later, not for sm_52; use a PyT"):
        assert not has_cuda_kernels(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [has_cuda_kernels(index) for index in range(4)] == [True, False, True, False]


def test_missing_package_is_reported_once_for_all_gpus(monkeypatch):
    capabilities = [(8, 0), (9, 0)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    monkeypatch.setattr(nvrtc, "nvrtcVersion", fail)
    with pytest.warns(UserWarning, match="nvidia-cuda-nvrtc is missing") as caught:
        assert [has_cuda_kernels(index) for index in (0, 1, 0)] == [False] * 3
    assert len(caught) == 1


def test_availability_is_a_constant_of_compiled_code_per_device(monkeypatch):
    """The compiler asks once for each device, and does not trace what finds out."""
    asked = []
    monkeypatch.setattr(selection.cuda, "is_available", lambda index: asked.append(index) or index)

    @torch.compile(backend="eager", fullgraph=True)
    def function(x, device):
        return x + 1 if selection._has_cuda_kernels(device) else x - 1

    x = torch.zeros(())
    for index, expected in [(0, -1), (1, 1), (0, -1), (1, 1)]:
        assert function(x, torch.device("cuda", index)) == expected
    assert asked == [0, 1]


FROM_MANY_THREADS = """
import sys, threading
from torch_utils.ops.cuda import compiler
sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
def call():
    start.wait()
    versions.append(compiler.core().nvrtc_version)
versions = []
threads = [threading.Thread(target=call) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(versions))
"""


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))  # without a lock, about every second one failed
def test_threads_that_are_the_first_to_ask_for_nvrtc(attempt):
    command = [sys.executable, "-c", FROM_MANY_THREADS]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stderr == ""
    assert result.stdout == "8\n"
