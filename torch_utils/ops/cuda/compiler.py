"""Compiles the CUDA kernels beside this file, one specialisation of a template at a time.

NVRTC compiles for one GPU architecture, through NVIDIA's `cuda-core`; this needs neither a GPU nor
a host compiler. The result is cached on disk under a hash of everything that it depends on.
"""

import functools
import hashlib
import io
import json
import re
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import torch

from dnnlib import moved
from torch_utils.ops import compilation
from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import cubin as cubins
from torch_utils.ops.cuda.cubin import Cubin

SOURCE_DIR = Path(__file__).parent
OPTIONS = {"std": "c++17", "ptxas_options": ["-v"]}  # -v reports the resources
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
CORE_VERSION = "==1.2.2"  # of cuda-core, as in requirements.txt
PROBE = "template <class T> __global__ void probe(T* x) {}\n"

_import_lock = threading.Lock()

__getattr__ = moved.names_of(__name__)


def is_available(index: int | None = None) -> bool:
    """Whether kernels can be compiled; if not, one warning gives the reason and the remedy.

    Args:
        index: Number of the GPU to compile for; `None` for the newest that NVRTC knows.
    """
    return _can_compile_for(None if index is None else _arch(index))


def arch_of(device: torch.device) -> str:
    """Architecture of a GPU, as in `"sm_90"`."""
    return _arch(device.index or 0)


def local_archs() -> list[str]:
    """Architectures of the GPUs of this machine, as in `"sm_90"`."""
    return sorted({_arch(index) for index in range(torch.cuda.device_count())})


def compile_cubin(source: str, specialisation: str, arch: str) -> Cubin:
    """Compile a kernel, or take it from the cache on disk; needs no GPU.

    Args:
        source: File name beside this module.
        specialisation: C++ name of the kernel with its template arguments.
        arch: Architecture of the GPU, as in `"sm_90"`. An architecture newer than NVRTC gets PTX.

    Raises:
        BuildError: If a package is missing, NVRTC is too new for the GPU, or the code is faulty.
    """
    kind, target = _target(arch)
    name = f"{Path(source).stem}-{_key(source, specialisation, kind, target)}.bin"
    cache_dir = cubins.cache_dir()
    cubin = cubins.read(cache_dir / name) if cache_dir is not None else None
    if cubin is None:
        compilation.tell("Compiling CUDA kernels (once, a few seconds) ...")
        code = (SOURCE_DIR / source).read_text(encoding="utf-8")
        cubin = _compile(code, specialisation, kind, target, source)
        if cache_dir is not None:
            cubins.write(cache_dir / name, cubin)
    return cubin


def key_of_all(what: str, arch: str) -> str:
    """Hash of all sources, and of `what`, for an architecture."""
    return _key("*.cu", what, *_target(arch))


@functools.cache
def core() -> SimpleNamespace:
    """The parts of `cuda-core` and `cuda-bindings` that we use, and the version of NVRTC.

    Raises:
        BuildError: If a package is missing or too old.
    """
    with _import_lock:  # a thread can see modules that another has imported in part
        return _import_core()


def _import_core() -> SimpleNamespace:
    try:
        from cuda.bindings import driver, nvrtc
    except ImportError as error:
        raise _missing("cuda-bindings", f"=={_cuda_major()}.*", error) from error
    try:
        from cuda import core as cuda_core
    except ImportError as error:
        if (error.name or "").startswith("cuda.bindings."):
            raise BuildError(
                f"cuda-bindings is too old for cuda-core ({error}); "
                f'pip install --upgrade "cuda-bindings=={_cuda_major()}.*".'
            ) from error
        raise _missing("cuda-core", CORE_VERSION, error) from error
    names = "Device", "ObjectCode", "Program", "ProgramOptions"
    if not all(hasattr(cuda_core, name) for name in names) or not hasattr(
        cuda_core.ObjectCode, "symbol_mapping"
    ):  # before 0.6
        version = getattr(cuda_core, "__version__", "of unknown version")
        raise BuildError(
            f'cuda-core {version} is too old; pip install --upgrade "cuda-core{CORE_VERSION}".'
        )
    suffix = _package_suffix()
    try:
        (_, *version), (_, archs) = nvrtc.nvrtcVersion(), nvrtc.nvrtcGetSupportedArchs()
    except (RuntimeError, OSError) as error:  # the library was not found, or does not load
        raise _missing("nvidia-cuda-nvrtc", suffix, error) from error
    return SimpleNamespace(
        **{name: getattr(cuda_core, name) for name in names},
        driver=driver,
        nvrtc_version=".".join(map(str, version)),
        has_minimal=tuple(version) >= (12, 8),  # the option to leave out textures, for speed
        archs=sorted(archs),
    )


@functools.cache
def _can_compile_for(arch: str | None) -> bool:
    try:
        _compile(PROBE, "probe<float>", *_target(arch or f"sm_{core().archs[-1]}"), "probe.cu")
    except BuildError as error:
        _warn_that_there_are_none(str(error))
        return False
    return True


@functools.cache  # once, even if several architectures fail for the same reason
def _warn_that_there_are_none(reason: str) -> None:
    warnings.warn(
        f"CUDA kernels: {reason} Using PyTorch operations, which are several times slower and take "
        "more memory.",
        stacklevel=2,
    )


def _cuda_major() -> str:
    return (torch.version.cuda or "13").partition(".")[0]


def _package_suffix() -> str:
    """The end of the names of NVIDIA's packages."""
    return "-cu12" if _cuda_major() == "12" else f"=={_cuda_major()}.*"


def _missing(package: str, version: str, reason: Exception | str) -> BuildError:
    reason = str(reason).partition("\n")[0]
    return BuildError(f'{package} is missing ({reason}); pip install "{package}{version}".')


def _target(arch: str) -> tuple[str, str]:
    """Kind and architecture of the code for a GPU of an architecture."""
    number, known = int(arch.removeprefix("sm_")), core().archs
    if number in known:
        return "cubin", arch
    older = [other for other in known if other < number]
    if not older:
        raise BuildError(
            f"NVRTC {core().nvrtc_version} compiles for sm_{known[0]} and later, not for {arch}; "
            "use a PyTorch made for an older CUDA, with the NVRTC that it brings."
        )
    return "ptx", f"compute_{older[-1]}"


@functools.cache
def _arch(index: int) -> str:
    return "sm_{}{}".format(*torch.cuda.get_device_capability(index))


def _compile(code: str, specialisation: str, kind: str, target: str, source: str) -> Cubin:
    options = OPTIONS | ({"minimal": True} if core().has_minimal else {})
    options |= dict(name=source, arch=target, include_path=[str(SOURCE_DIR)])
    log, start = io.StringIO(), time.thread_time()
    try:
        program = core().Program(code, "c++", core().ProgramOptions(**options))
        compiled = program.compile(kind, name_expressions=[specialisation], logs=log)
    except Exception as error:  # of a private class of cuda-core
        raise BuildError(
            f"NVRTC {core().nvrtc_version} cannot compile {specialisation} of {source} for "
            f"{target}: {error}\nAnother NVRTC may: pip install --upgrade "
            f'"nvidia-cuda-nvrtc{_package_suffix()}".'
        ) from error
    symbol = compiled.symbol_mapping[specialisation]
    return Cubin(
        bytes(compiled.code),
        kind,
        symbol.decode() if isinstance(symbol, bytes) else symbol,
        registers=_reported(log.getvalue(), r"Used (\d+) registers"),
        shared_bytes=_reported(log.getvalue(), r"(\d+) bytes smem"),
        spill_bytes=_reported(log.getvalue(), r"(\d+) bytes spill stores"),
        stack_bytes=_reported(log.getvalue(), r"(\d+) bytes stack frame"),
        compile_sec=time.thread_time() - start,
    )


def _reported(log: str, pattern: str) -> int:
    """A number in the report of ptxas, which leaves out numbers that are zero."""
    return max(map(int, re.findall(pattern, log)), default=0)


def _key(source: str, specialisation: str, kind: str, target: str) -> str:
    """Hash of source, included files, specialisation, architecture, NVRTC, options and format."""
    seen: set[Path] = set()
    parts = [text for path in sorted(SOURCE_DIR.glob(source)) for text in _texts(path, seen)]
    parts += [specialisation, kind, target]
    parts += [core().nvrtc_version, json.dumps(OPTIONS, sort_keys=True)]
    parts += [field.name for field in fields(Cubin)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _texts(path: Path, seen: set[Path]) -> Iterator[str]:
    """The text of a source, and of the files that it includes from its folder."""
    if path in seen or not path.exists():
        return
    seen.add(path)
    text = path.read_text(encoding="utf-8")
    yield text
    for name in INCLUDE.findall(text):
        yield from _texts(path.parent / name, seen)
