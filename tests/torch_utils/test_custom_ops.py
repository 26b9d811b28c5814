"""Extensions of other programs: built once, found again, and what is said where that fails."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from torch_utils import custom_ops

ROOT = Path(__file__).parents[2]

# Without PyTorch's headers, which take half a minute to compile.
SOURCE = """
#include <Python.h>
#include "value.h"
#define CONCAT(a, b) a##b
#define INIT(name) CONCAT(PyInit_, name)

static PyObject* value(PyObject*, PyObject*) { return PyLong_FromLong(VALUE * SCALE); }
static PyMethodDef methods[] = {{"value", value, METH_NOARGS, ""}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "tiny", "", -1, methods};
PyMODINIT_FUNC INIT(TORCH_EXTENSION_NAME)(void) { return PyModule_Create(&module); }
"""
NEEDS_TOOLS = pytest.mark.skipif(
    shutil.which("c++") is None or shutil.which("ninja") is None,
    reason="needs a C++ compiler and ninja",
)


@pytest.fixture
def fork(tmp_path, monkeypatch) -> Path:
    """The folder of a program with an extension; the cache is empty."""
    for name in ("CXX", "CUDA_HOME", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STYLEGAN3_KERNEL_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "fork").mkdir()
    (tmp_path / "fork/tiny.cpp").write_text(SOURCE)
    (tmp_path / "fork/value.h").write_text("#define VALUE 7\n")
    return tmp_path / "fork"


def get_tiny(fork: Path, name: str = "tiny", scale: str = "1", **kwargs):
    return custom_ops.get_plugin(
        module_name=name,
        sources=["tiny.cpp"],
        headers=["value.h"],
        source_dir=str(fork),
        extra_cflags=[f"-DSCALE={scale}"],
        **kwargs,
    )


@NEEDS_TOOLS
def test_an_extension_is_built_once_and_again_when_its_files_change(fork, capfd):
    tiny = get_tiny(fork)
    assert tiny.value() == 7
    assert get_tiny(fork) is tiny
    (built,) = (fork.parent / "cache").glob("tiny-*/tiny.so")
    before = built.stat()
    assert not list((fork.parent / "cache").glob("*.lock"))

    # Another process finds it, though one that was killed left PyTorch's lock behind.
    (built.parent / "lock").touch()
    script = f"""
        from torch_utils import custom_ops
        tiny = custom_ops.get_plugin("tiny", ["tiny.cpp"], ["value.h"], {str(fork)!r},
                                     extra_cflags=["-DSCALE=1"])
        print(tiny.value())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    assert output.stdout.split() == [b"7"]
    assert built.stat() == before

    (fork / "value.h").write_text("#define VALUE 8\n")
    assert get_tiny(fork).value() == 8
    assert tiny.value() == 7


@NEEDS_TOOLS
def test_a_failure_is_one_line_with_the_compilers_reason(fork):
    for _ in range(2):  # PyTorch would not try again, and miss the library
        with pytest.raises(RuntimeError, match=r"'broken' cannot .*error:.*'full'") as info:
            get_tiny(fork, "broken", scale="nothing")
        assert "\n" not in str(info.value) and "nothing" in str(info.value)


@NEEDS_TOOLS
def test_an_extension_that_cannot_be_loaded_is_named(fork):
    source = SOURCE.replace("INIT(TORCH_EXTENSION_NAME)", "PyInit_other")
    (fork / "tiny.cpp").write_text(source)
    with pytest.raises(RuntimeError, match=r"'unloaded' cannot be used: .*PyInit_unloaded"):
        get_tiny(fork, "unloaded")


def test_a_cache_that_cannot_be_written_to_is_named(fork, monkeypatch):
    (fork / "file").touch()
    monkeypatch.setenv("STYLEGAN3_KERNEL_CACHE_DIR", str(fork / "file"))
    with pytest.raises(RuntimeError, match=r"fork/file.*set STYLEGAN3_KERNEL_CACHE_DIR to a"):
        get_tiny(fork, "without_cache")


def test_a_missing_ninja_is_named(fork, monkeypatch):
    monkeypatch.setenv("PATH", str(fork))
    monkeypatch.setattr(custom_ops.sysconfig, "get_path", lambda name: str(fork))
    with pytest.raises(RuntimeError, match=r"ninja is missing; pip install ninja\.$"):
        get_tiny(fork, "without_ninja")


def test_a_ninja_beside_the_interpreter_is_found(fork, monkeypatch):
    tools = fork / "bin"
    tools.mkdir()
    (tools / "ninja").write_text("#!/bin/sh\n")
    (tools / "ninja").chmod(0o755)
    monkeypatch.setenv("PATH", str(fork))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(custom_ops.sysconfig, "get_path", lambda name: str(tools))
    with pytest.raises(RuntimeError, match=r"no C\+\+ compiler no-such-compiler; install one"):
        get_tiny(fork, "without_compiler")
    assert os.environ["PATH"] == str(fork)


@pytest.mark.skipif(shutil.which("ninja") is None, reason="needs ninja")
@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("12.8", r"needs nvcc; install the CUDA toolkit 12\.8, or name its folder in CUDA_HOME"),
        (None, "needs CUDA, which this PyTorch was built without"),
    ],
)
def test_a_missing_cuda_toolkit_is_named(fork, monkeypatch, version, message):
    from torch.utils import cpp_extension

    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", None)
    monkeypatch.setattr(custom_ops.torch.version, "cuda", version)
    (fork / "tiny.cu").touch()
    with pytest.raises(RuntimeError, match=message):
        custom_ops.get_plugin(f"cuda{version}", ["tiny.cpp", "tiny.cu"], source_dir=fork)


def test_missing_sources_and_unknown_verbosities_are_refused(fork, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no-such\.cpp"):
        custom_ops.get_plugin("tiny", ["no-such.cpp"], source_dir=fork)
    monkeypatch.setattr(custom_ops, "verbosity", "loud")
    with pytest.raises(ValueError, match="one of none, brief, full, got 'loud'"):
        get_tiny(fork)


@NEEDS_TOOLS
@pytest.mark.parametrize("verbosity", ["none", "brief", "full"])
def test_verbosity(fork, monkeypatch, capfd, verbosity):
    monkeypatch.setattr(custom_ops, "verbosity", verbosity)
    monkeypatch.setattr(custom_ops, "SILENT_SEC", 0)
    get_tiny(fork, f"tiny_{verbosity}")
    output = "".join(capfd.readouterr())
    assert ("Building tiny_brief ..." in output) == (verbosity == "brief")
    assert ("-DSCALE=1" in output or "[2/2]" in output) == (verbosity == "full")


def test_importing_is_light():
    code = "import sys; from torch_utils import custom_ops; print(sorted(sys.modules))"
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in ("torch._dynamo", "torch.utils.cpp_extension", "torch_utils.ops.bias_act"):
        assert f"'{name}'" not in output
