"""Builds the C++ kernels beside this file on first use, and loads them.

The library has a plain C interface, so that neither PyTorch's headers nor its ABI are involved. It
is built in a private folder and renamed into the cache when complete. Its name there covers all
that it depends on, and its contents: builds that were killed, processes that build at once and
files that were cut off need no locks.
"""

import contextlib
import ctypes
import functools
import hashlib
import platform
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from dnnlib.paths import HomeError, folder_from_environment
from dnnlib.util import make_cache_dir_path
from torch_utils.ops.cpu.toolchain import BuildError, Toolchain, toolchains

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
CACHE_DIR_VARIABLE = "STYLEGAN3_KERNEL_CACHE_DIR"
LEFTOVER_SEC = 24 * 3600  # builds older than that were killed


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, or `None` (with one warning) where they cannot be built."""
    try:
        return _load(kernel_cache_dir("cpu_kernels"))
    except BuildError as error:
        warnings.warn(f"CPU kernels: {error} Using slower PyTorch operations.", stacklevel=2)
    except OSError as error:
        warnings.warn(
            f"CPU kernels: {error}; set {CACHE_DIR_VARIABLE} and TMPDIR to folders that can be "
            "written to. Using slower PyTorch operations.",
            stacklevel=2,
        )
    return None


def kernel_cache_dir(name: str) -> Path:
    """The folder of finished kernels: the one in the environment, or `name` in the cache folder.

    Raises:
        BuildError: If the environment names one in the home folder of an unknown user.
    """
    try:
        return Path(folder_from_environment(CACHE_DIR_VARIABLE) or make_cache_dir_path(name))
    except HomeError as error:
        raise BuildError(f"{error}.") from None


def _load(cache_dir: Path) -> ctypes.CDLL:
    """Load from the cache, or build, with the best flags that work."""
    error = None
    for toolchain in toolchains():
        prefix = f"kernels-{_key(toolchain)}-"
        for path in cache_dir.glob(f"{prefix}*.so"):
            with contextlib.suppress(OSError, BuildError):  # gone, or made on another system
                if path.name == f"{prefix}{_digest(path)}.so":
                    return _open(path)
        try:
            toolchain.check()
        except BuildError as failure:
            error = error or failure
            continue
        return _build(toolchain, cache_dir, prefix)
    raise error


def _build(toolchain: Toolchain, cache_dir: Path, prefix: str) -> ctypes.CDLL:
    build_dir, is_cached = _make_build_dir(cache_dir)
    try:
        with _progress("Building CPU kernels (once, ~10 s) ..."):
            path = toolchain.build(SOURCES, build_dir)
        if is_cached:
            path = path.replace(cache_dir / f"{prefix}{_digest(path)}.so")
        return _open(path)
    finally:
        shutil.rmtree(build_dir, ignore_errors=True)


def _make_build_dir(cache_dir: Path) -> tuple[Path, bool]:
    """A fresh folder, in the cache if that can be written to; whether it is."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        for path in cache_dir.glob("build-*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFTOVER_SEC:
                    shutil.rmtree(path, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=cache_dir, prefix="build-")), True
    except OSError as error:
        warnings.warn(
            f"CPU kernels: {cache_dir} cannot be written to ({error.strerror}), so every process "
            f"builds its own; set {CACHE_DIR_VARIABLE} to a folder that can.",
            stacklevel=2,
        )
        return Path(tempfile.mkdtemp(prefix="stylegan3-kernels-")), False


def _open(path: Path) -> ctypes.CDLL:
    """Load a library, from a copy if its own folder must not hold programs (`noexec`)."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        with tempfile.TemporaryDirectory() as folder:
            try:
                return ctypes.CDLL(shutil.copy(path, folder))
            except OSError:
                raise BuildError(
                    f"the finished library cannot be loaded ({error}); if {path.parent} and "
                    f"{tempfile.gettempdir()} are mounted noexec, set {CACHE_DIR_VARIABLE} to "
                    "another folder."
                ) from error


@contextlib.contextmanager
def _progress(text: str) -> Iterator[None]:
    """Say on the standard error what is going on, if it takes longer than a second."""
    start, is_shown = time.monotonic(), threading.Event()

    def show() -> None:
        print(text, end="", file=sys.stderr, flush=True)
        is_shown.set()

    timer = threading.Timer(1, show)
    timer.start()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        timer.cancel()
        timer.join()
        if is_shown.is_set():
            print(f" {outcome} in {time.monotonic() - start:.0f} s", file=sys.stderr)


def _key(toolchain: Toolchain) -> str:
    """Hash of sources, compiler, flags, PyTorch and what the processor can do."""
    parts = [text for path in SOURCES + HEADERS for text in (path.name, path.read_text())]
    parts += [*toolchain.command, *toolchain.flags, toolchain.macros]
    parts += [torch.__version__, platform.machine()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
