"""Builds the C++ kernels beside this file on first use, and loads them.

The library has a plain C interface, so that neither PyTorch's headers nor its ABI are involved. It
is built in a private folder and renamed into the cache when complete: a build that was killed
leaves nothing that could be taken for a library, and processes that build at once do not disturb
each other. The name in the cache covers all that the result depends on.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch

from dnnlib.util import make_cache_dir_path

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
FLAGS = ["-O3", "-std=gnu++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno", "-Wno-psabi"]
CACHE_DIR_VARIABLE = "STYLEGAN3_KERNEL_CACHE_DIR"


class BuildError(RuntimeError):
    """The kernels cannot be built here; the message says why, and what to do."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, or `None` (with one warning) where they cannot be built."""
    try:
        return ctypes.CDLL(str(_build()))
    except (BuildError, OSError) as error:
        warnings.warn(f"CPU kernels: {error} Using slower PyTorch operations.", stacklevel=2)
        return None


def _build() -> Path:
    """Path of the finished library."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None or shutil.which(compiler) is None:
        raise BuildError("no C++ compiler was found; install one, on Debian: apt install g++.")
    flags = [*FLAGS, "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"]
    folder = Path(os.environ.get(CACHE_DIR_VARIABLE) or make_cache_dir_path("cpu_kernels"))
    target = folder / f"kernels-{_key(compiler, flags)}.so"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        build_dir = Path(tempfile.mkdtemp(dir=folder, prefix="build-"))
    except OSError:  # a read-only cache: build for this process alone
        build_dir = Path(tempfile.mkdtemp(prefix="stylegan3-kernels-"))
        target = build_dir / target.name
    output = build_dir / "kernels.so"
    try:
        command = [compiler, *flags, *map(str, SOURCES), "-o", str(output)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if result.returncode != 0:
            raise BuildError(f"{' '.join(command)} failed: {result.stderr[-2000:]}")
        os.replace(output, target)
    finally:
        if target.parent != build_dir:
            shutil.rmtree(build_dir, ignore_errors=True)
    return target


def _key(compiler: str, flags: list[str]) -> str:
    """Hash of sources, flags, compiler, PyTorch and what the processor can do."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    model = next((line for line in lines if line.startswith("model name")), platform.processor())
    parts = [*(p.read_text() for p in SOURCES + HEADERS), *flags, compiler, version]
    parts += [torch.__version__, platform.machine(), model, features]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
