"""What this machine has of what a report needs: packages, tools, NVRTC, the cache of kernels.

The command of the report checks its packages before it imports them: this file imports nothing
besides the standard library until its functions are called.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import PROJECT_DIR

# Without these, the report cannot start.
INDISPENSABLE = ("torch", "numpy", "scipy", "click", "pillow", "psutil", "tqdm", "requests")
WITHOUT = {  # what the lack of other packages and tools means
    "pyspng": "PNG files are decoded by Pillow",
    "imageio-ffmpeg": "no MP4",
    "cuda-core": "no CUDA kernels",
    "cuda-bindings": "no CUDA kernels",
    "NVRTC": "no CUDA kernels",
    "pytest": "the tests are not run",
    "compute-sanitizer": "launches are not checked by it",
    "nvidia-smi": "no version of the driver",
    "C++ compiler": "no kernels for the CPU",
}
REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)(?:==([^\s;]+))?")
PLATFORM = re.compile(r"platform_system == [\"'](\w+)[\"']")  # in a marker
TOOLKIT_BIN = Path("/usr/local/cuda/bin")  # where the CUDA toolkit is installed on Linux


def require_packages() -> None:
    """End the program with one line if packages are missing that the report cannot do without."""
    absent = [name for name in INDISPENSABLE if version_of(name) is None]
    if absent:
        print(f"Missing here: {', '.join(absent)}; pip install -r requirements.txt")
        sys.exit(2)


def version_of(package: str) -> str | None:
    """Version of an installed package; `None` if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_tool(name: str) -> str | None:
    """Path of a program on PATH or in the CUDA toolkit; `None` if it is missing."""
    return shutil.which(name) or shutil.which(name, path=str(TOOLKIT_BIN))


def missing_line(device_type: str) -> str:
    """The first line of a report: what is missing, and what its lack means."""
    packages = [*_requirements(), "pytest"]
    if device_type == "cuda" and "cuda-bindings" not in packages:  # on Linux, PyTorch brings it
        packages.append("cuda-bindings")
    absent = [name for name in packages if version_of(name) is None]
    if not any(find_tool(name) for name in ("c++", "g++", "clang++", "cl")):
        absent.append("C++ compiler")
    if device_type == "cuda":
        absent += [] if _nvrtc()[0] else ["NVRTC"]
        absent += [n for n in ("nvidia-smi", "compute-sanitizer") if find_tool(n) is None]
    notes = [f"{name} ({WITHOUT[name]})" if name in WITHOUT else name for name in absent]
    return f"Missing here: {', '.join(notes) or 'nothing'}."


def version_lines(device_type: str) -> list[str]:
    """Versions of the packages, of NVRTC and of the driver, and where kernels are cached."""
    from torch_utils.ops.kernel_cache import CACHE_DIR_VARIABLE

    found = {name: (pinned, version_of(name)) for name, pinned in _requirements().items()}
    same = [f"{name} {v}" for name, (pinned, v) in found.items() if v in (pinned, f"{pinned}+cpu")]
    other = [
        f"{name} {v} (pinned: {pinned})"
        for name, (pinned, v) in found.items()
        if v is not None and f"{name} {v}" not in same
    ]
    lines = [f"As pinned: {', '.join(same) or 'none'}"]
    if other:
        lines.append(f"Other versions: {', '.join(other)}")
    cuda = [f"cuda-bindings {version_of('cuda-bindings') or 'missing'}"]
    version, reason = _nvrtc()
    cuda.append(f"NVRTC {version}" if version else f"no NVRTC: {reason}")
    if device_type == "cuda":
        cuda.append(f"driver {_driver_version()}")
    lines.append(", ".join(cuda))
    folder = os.environ.get(CACHE_DIR_VARIABLE)
    where = (
        f"{folder} ({CACHE_DIR_VARIABLE})" if folder else f"as usual, {CACHE_DIR_VARIABLE} is unset"
    )
    return [*lines, f"Cache of kernels: {where}"]


def _requirements() -> dict[str, str | None]:
    """Names of the packages that this platform requires, and the pinned versions."""
    found: dict[str, str | None] = {}
    for line in (PROJECT_DIR / "requirements.txt").read_text(encoding="utf-8").splitlines():
        match, platforms = REQUIREMENT.match(line), PLATFORM.findall(line)
        if match is not None and (not platforms or platform.system() in platforms):
            found[match[1]] = match[2]
    return found


def _nvrtc() -> tuple[str | None, str]:
    """Version of NVRTC; or `None`, and why it cannot be used."""
    from torch_utils.ops.cuda import compiler

    try:
        return compiler.core().nvrtc_version, ""
    except RuntimeError as error:
        return None, str(error)


def _driver_version() -> str:
    tool = find_tool("nvidia-smi")
    if tool is None:
        return "unknown (no nvidia-smi)"
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return next(iter(result.stdout.split()), "unknown")
