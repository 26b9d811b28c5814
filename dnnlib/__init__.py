"""Small helpers without knowledge of networks; `dnnlib.util` holds them all."""

import importlib
from typing import TYPE_CHECKING, Any

from dnnlib import moved, openmp

if TYPE_CHECKING:
    from dnnlib import util
    from dnnlib.util import EasyDict, make_cache_dir_path

__all__ = ["EasyDict", "make_cache_dir_path", "util"]

openmp.bound_spin()  # now, because every script imports this package before PyTorch
moved.install()


def __getattr__(name: str) -> Any:
    """Import `dnnlib.util` only when needed, because it takes a while: see `dnnlib.interrupts`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    util = importlib.import_module("dnnlib.util")
    return util if name == "util" else getattr(util, name)
