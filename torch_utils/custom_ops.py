"""C++ and CUDA extensions of other programs, compiled on first use: `get_plugin()`.

Forks of StyleGAN call this for their own operators. The operators of this project do not need it:
see `torch_utils.ops`.
"""

import atexit
import contextlib
import hashlib
import importlib
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from dnnlib import file_lock, ownership
from dnnlib.errors import InputError, MachineError
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cpu.toolchain import SILENT_SEC, announce
from torch_utils.ops.kernel_cache import CACHE_DIR_VARIABLE, is_private, kernel_cache_dir

VERBOSITIES = ("none", "brief", "full")
verbosity = "brief"  # "none" builds silently, "full" shows the compiler's output

_lock = threading.Lock()
_plugins: dict[str, Any] = {}  # by digest
_failures: dict[str, str] = {}  # PyTorch does not build a second time in the same process


def get_plugin(
    module_name: str,
    sources: Sequence[str | os.PathLike],
    headers: Sequence[str | os.PathLike] | None = None,
    source_dir: str | os.PathLike | None = None,
    **build_kwargs: Any,
) -> ModuleType:
    """Build and load an extension of PyTorch with `torch.utils.cpp_extension.load`.

    The result is kept in the cache folder, below a name that covers sources, headers, options,
    PyTorch and the GPUs, and in this process. Processes that build the same thing take turns.

    Args:
        module_name: Name of the extension, which its sources know as `TORCH_EXTENSION_NAME`.
        sources: C++ and CUDA files.
        headers: Files that the sources include; a change to them causes a new build.
        source_dir: Folder of sources and headers; by default the current folder.
        build_kwargs: More arguments of `torch.utils.cpp_extension.load`, as `extra_cuda_cflags`.

    Raises:
        MachineError: If it cannot be built or loaded; one line says why, and what to do.
        OSError: If a file cannot be read.
        InputError: If the variable `verbosity` of this module has an unknown value.
    """
    if verbosity not in VERBOSITIES:
        known = ", ".join(VERBOSITIES)
        raise InputError(f"custom_ops.verbosity must be one of {known}, got {verbosity!r}")
    folder = Path(source_dir or "").absolute()
    source_paths = [folder / source for source in sources]
    needs_cuda = build_kwargs.get("with_cuda")
    if needs_cuda is None:
        needs_cuda = any(path.suffix in (".cu", ".cuh") for path in source_paths)
    digest = _digest(source_paths + [folder / header for header in headers or ()], build_kwargs)
    key = f"{module_name}-{digest}"
    with _lock:
        if key in _failures:
            raise MachineError(_failures[key])
        if key not in _plugins:
            try:
                _plugins[key] = _build(module_name, key, source_paths, needs_cuda, build_kwargs)
            except (ImportError, OSError, RuntimeError) as error:
                _failures[key] = f"the extension {module_name!r} cannot be used: {_reason(error)}"
                raise MachineError(_failures[key]) from error
        return _plugins[key]


def _build(
    name: str, key: str, sources: list[Path], needs_cuda: bool, build_kwargs: dict[str, Any]
) -> Any:
    cpp_extension = importlib.import_module("torch.utils.cpp_extension")  # takes a while
    options = {"verbose": verbosity == "full", **build_kwargs}
    is_quiet = verbosity == "none" or options["verbose"]
    say = contextlib.nullcontext() if is_quiet else announce(f"Building {name} ...", SILENT_SEC)
    with _tools_on_path(), _build_dir(key) as build_dir, say:
        _check_tools(cpp_extension, needs_cuda)
        options = {"build_directory": str(build_dir), **options}
        return cpp_extension.load(name, [str(path) for path in sources], **options)


def _digest(paths: list[Path], build_kwargs: dict[str, Any]) -> str:
    """Hash of everything that determines the result, as far as it is known in advance."""
    gpus = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
    parts: list[object] = [torch.__version__, sys.implementation.cache_tag]
    parts += [platform.machine(), gpus]
    parts += [os.environ.get(name) for name in ("CXX", "TORCH_CUDA_ARCH_LIST")]
    # Paths count, because sources include headers beside them.
    parts += [sorted(build_kwargs.items()), *map(str, paths)]
    digest = hashlib.sha256(repr(parts).encode())
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:24]


@contextlib.contextmanager
def _build_dir(key: str) -> Iterator[Path]:
    """A folder for one extension that no other process uses, and no other user can write to."""
    build_dir = kernel_cache_dir("extensions") / key
    if not is_private(build_dir, "Extension"):
        build_dir = Path(tempfile.mkdtemp(prefix="stylegan3-extension-"))
        atexit.register(shutil.rmtree, build_dir, ignore_errors=True)  # Windows: loaded until then
    ownership.make_private(build_dir)

    def say_waiting() -> None:
        print(f"Waiting for another process that builds {build_dir} ...", file=sys.stderr)

    with file_lock.hold(build_dir.with_name(f"{build_dir.name}.lock"), say_waiting) as is_locked:
        if (
            is_locked
        ):  # PyTorch's own lock, if any, was left by a killed process and would stay for ever
            build_dir.joinpath("lock").unlink(missing_ok=True)
        yield build_dir


@contextlib.contextmanager
def _tools_on_path() -> Iterator[None]:
    """Find a ninja that was installed with pip, even if its environment is not activated."""
    path = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([path, sysconfig.get_path("scripts")])
    try:
        yield
    finally:
        os.environ["PATH"] = path


def _check_tools(cpp_extension: ModuleType, needs_cuda: bool) -> None:
    """Check that ninja, a C++ compiler and, if needed, CUDA are installed.

    Raises:
        BuildError: If one is missing; the message says how to install it.
    """
    if not cpp_extension.is_ninja_available():
        raise BuildError("ninja is missing; pip install ninja.")
    compiler = cpp_extension.get_cxx_compiler()
    if shutil.which(compiler) is None:
        raise BuildError(
            f"there is no C++ compiler {compiler}; install one (apt install g++, dnf install "
            "gcc-c++, Visual Studio with its command prompt) or name it in CXX."
        )
    if needs_cuda and cpp_extension.CUDA_HOME is None and cpp_extension.ROCM_HOME is None:
        version = torch.version.cuda
        if version is None:
            raise BuildError("it needs CUDA, which this PyTorch was built without.")
        raise BuildError(
            f"it needs nvcc; install the CUDA toolkit {version}, or name its folder in CUDA_HOME."
        )


def _reason(error: Exception) -> str:
    """One line on why building or loading failed."""
    if isinstance(error, BuildError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error}; set {CACHE_DIR_VARIABLE} to a folder that can be written to."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if re.search(r"(?i)\berror:", line)), "".join(lines[:1]))
    hint = "" if isinstance(error, ImportError) else "; custom_ops.verbosity = 'full' shows more"
    return f"{reason[:300] or type(error).__name__}{hint}"
