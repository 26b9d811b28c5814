"""Builds the C++ kernels beside this file on first use, and loads them.

The library has a plain C interface, so that neither PyTorch's headers nor its ABI are involved. It
is built in a private folder and renamed into the cache when complete. Its name is a hash of all
that it depends on and of its contents, so that no locks are needed against killed builds,
processes that build at once, and truncated files. The hash does not protect against other users:
files that they could have written are not loaded.
"""

import contextlib
import ctypes
import functools
import hashlib
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from dnnlib import ownership
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cpu.toolchain import CompilerHangsError, Toolchain, announce, toolchains
from torch_utils.ops.kernel_cache import (
    CACHE_DIR_VARIABLE,
    is_own,
    is_private,
    kernel_cache_dir,
)

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
LEFTOVER_SEC = 24 * 3600  # older builds were killed


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


def kernel(name: str) -> Callable[..., None]:
    """A function of the library, for callers that have made sure that `library` is not `None`."""
    functions = library()
    assert functions is not None
    return getattr(functions, name)


def _load(cache_dir: Path) -> ctypes.CDLL:
    """Load from the cache, or build, with the best flags that work."""
    error: BuildError | None = None
    is_cache_private = is_private(cache_dir, "CPU")
    for toolchain in toolchains():
        prefix = f"kernels-{_key(toolchain)}-"
        for path in cache_dir.glob(f"{prefix}*.so") if is_cache_private else ():
            with contextlib.suppress(OSError, BuildError):  # gone, or made on another system
                if is_own(path, "CPU") and path.name == f"{prefix}{_digest(path)}.so":
                    return _open(path)
        try:
            toolchain.check()
        except CompilerHangsError:
            raise
        except BuildError as failure:
            error = error or failure
            continue
        return _build(toolchain, cache_dir if is_cache_private else None, prefix)
    assert error is not None  # `toolchains` yields at least one, or raises
    raise error


def _build(toolchain: Toolchain, cache_dir: Path | None, prefix: str) -> ctypes.CDLL:
    """Build in the cache, or in a temporary folder if the cache is missing or read-only."""
    cached_build_dir = _make_build_dir(cache_dir) if cache_dir is not None else None
    build_dir = cached_build_dir or _make_temporary_dir()
    try:
        with announce("Building CPU kernels (once, ~10 s) ...", after_sec=1):
            path = toolchain.build(SOURCES, build_dir)
        if cache_dir is not None and cached_build_dir is not None:
            path.chmod(0o755)  # whatever the umask: other users must not be able to change it
            path = path.replace(cache_dir / f"{prefix}{_digest(path)}.so")
        return _open(path)
    finally:
        shutil.rmtree(build_dir, ignore_errors=True)


def _make_build_dir(cache_dir: Path) -> Path | None:
    """Make a new folder in the cache; `None`, with a warning, if the cache is read-only."""
    try:
        ownership.make_private(cache_dir)
        for path in cache_dir.glob("build-*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFTOVER_SEC:
                    shutil.rmtree(path, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=cache_dir, prefix="build-"))
    except OSError as error:
        warnings.warn(
            f"CPU kernels: {cache_dir} cannot be written to ({error.strerror}), so every process "
            f"builds its own; set {CACHE_DIR_VARIABLE} to a folder that can.",
            stacklevel=2,
        )
        return None


def _make_temporary_dir() -> Path:
    """Make a new folder that no other user can replace.

    Raises:
        BuildError: If other users may rename what is in the folder of temporary files.
    """
    folder = Path(tempfile.mkdtemp(prefix="stylegan3-kernels-"))
    fault = ownership.find_fault(folder)
    if fault is not None:
        shutil.rmtree(folder, ignore_errors=True)
        raise BuildError(f"{fault}; set TMPDIR to a folder of your own.")
    return folder


def _open(path: Path) -> ctypes.CDLL:
    """Load a library, from a copy if its own folder must not hold programs (`noexec`)."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        folder = _make_temporary_dir()
        try:
            return ctypes.CDLL(str(shutil.copy(path, folder)))
        except OSError:
            raise BuildError(
                f"the finished library cannot be loaded ({error}); if {path.parent} and "
                f"{tempfile.gettempdir()} are mounted noexec, set {CACHE_DIR_VARIABLE} to "
                "another folder."
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _key(toolchain: Toolchain) -> str:
    """Hash of sources, compiler, flags, PyTorch and the instructions of the processor."""
    parts = [text for path in SOURCES + HEADERS for text in (path.name, path.read_text())]
    parts += [*toolchain.command, *toolchain.flags, toolchain.macros]
    parts += [torch.__version__, platform.machine()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
