"""The folders of compiled kernels, for the CPU and for CUDA.

A kernel is a program: only files that no other user could have written are loaded.
"""

import contextlib
import functools
import warnings
from pathlib import Path

from dnnlib import ownership
from dnnlib.paths import HomeError, folder_from_environment
from dnnlib.util import make_cache_dir_path
from torch_utils.ops.compilation import BuildError

CACHE_DIR_VARIABLE = "STYLEGAN3_KERNEL_CACHE_DIR"


def kernel_cache_dir(name: str) -> Path:
    """The folder of compiled kernels: the one in the environment, or `name` in the cache folder.

    Raises:
        BuildError: If the environment names a folder in the home of an unknown user.
    """
    try:
        return Path(folder_from_environment(CACHE_DIR_VARIABLE) or make_cache_dir_path(name))
    except HomeError as error:
        raise BuildError(f"{error}.") from None


def is_private(cache_dir: Path, kind: str) -> bool:
    """Whether no other user could have put kernels into a cache; if so, makes sure it exists.

    Otherwise warns, once in a process.

    Args:
        cache_dir: The folder.
        kind: `"CPU"` or `"CUDA"`.
    """
    fault = ownership.find_fault(cache_dir)
    if fault is None:  # otherwise root would make its own folders in the home of another user
        with contextlib.suppress(OSError):  # writing a kernel there will report the reason
            ownership.make_private(cache_dir)
        fault = ownership.find_fault(cache_dir)  # in /tmp, another user may have been faster
    if fault is not None:
        _warn(
            f"{kind} kernels: {fault}: nothing is loaded from {cache_dir} or kept there, and every "
            f"process builds its own; set {CACHE_DIR_VARIABLE} to a folder of your own."
        )
    return fault is None


def is_own(path: Path, kind: str) -> bool:
    """Whether no other user could have written a file of a private cache; warns if one could."""
    fault = ownership.find_fault(path)
    if fault is not None:
        _warn(f"{kind} kernels: {fault}; it is not loaded.")
    return fault is None


@functools.cache  # each message once
def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)
