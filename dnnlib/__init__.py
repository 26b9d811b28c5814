"""Small helpers without knowledge of networks; `dnnlib.util` holds them all."""

from dnnlib import util
from dnnlib.util import EasyDict, make_cache_dir_path

__all__ = ["EasyDict", "make_cache_dir_path", "util"]
