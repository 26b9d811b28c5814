"""The folder for downloads, compiled kernels and features of datasets."""

import atexit
import functools
import os
import shutil
import tempfile
import warnings

from dnnlib.paths import HomeError, expand_home, folder_from_environment


def make_cache_dir_path(*paths: str) -> str:
    """A path inside the cache folder: `$DNNLIB_CACHE_DIR`, or else `stylegan3` in the user's cache.

    Without a home folder, the cache folder lasts as long as the process, after a warning.

    Raises:
        HomeError: If an environment variable names the home folder of an unknown user.
    """
    return os.path.join(_cache_dir(), *paths)


def _cache_dir() -> str:
    if root := folder_from_environment("DNNLIB_CACHE_DIR"):
        return root
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return os.path.join(local, "stylegan3")
    if root := folder_from_environment("XDG_CACHE_HOME"):
        return os.path.join(root, "stylegan3")
    try:
        home = expand_home("~")
    except HomeError:
        return _temporary_cache_dir()
    return os.path.join(home, ".cache", "stylegan3")


@functools.cache
def _temporary_cache_dir() -> str:
    # Private: files in a cache are trusted, so its name must not be predictable by other users.
    folder = tempfile.mkdtemp(prefix="stylegan3-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    warnings.warn(
        "there is no home folder to keep downloads, kernels and features of datasets in, so this "
        "process makes its own; name a folder in DNNLIB_CACHE_DIR",
        stacklevel=4,
    )
    return folder
