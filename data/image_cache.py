"""Decoded images in memory, shared by forked processes."""

import mmap
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

from dnnlib.errors import InputError

MAP_NORESERVE = 0x4000  # on Linux; `mmap.MAP_NORESERVE` from Python 3.13 on
AUTO_SHARE = 0.5  # of the free memory; `"auto"` lets the caches of all processes take it


class ImageCache:
    """Keeps decoded images; the first process that needs an image puts it in.

    The memory is mapped before processes fork, so all of them see an image that one process
    stores. The system allocates memory page by page: images that are never requested take none.

    Args:
        shape: `[N, C, H, W]`.
    """

    def __init__(self, shape: list[int]) -> None:
        num_images, channels, height, width = shape
        pixels = _shared_array(num_images * channels * height * width)
        # Channels-last, as decoders and batches have it, so that reading is a plain copy.
        self._images = pixels.reshape(num_images, height, width, channels).transpose(0, 3, 1, 2)
        self._is_there = _shared_array(num_images)

    def get(self, index: int) -> np.ndarray | None:
        """The image `[C, H, W]`, which must not be changed; `None` if it is not stored."""
        return self._images[index] if self._is_there[index] else None

    def put(self, index: int, image: np.ndarray) -> None:
        """Keep an image. Several processes may write it at once: they write the same bytes."""
        self._images[index] = image
        self._is_there[index] = 1  # after the pixels, so that no process reads half an image


def choose(
    cache: Literal["none", "ram", "auto"], num_bytes: int, num_processes: int = 1
) -> Literal["none", "ram"]:
    """Whether to keep images in memory.

    Args:
        cache: `"auto"` does so if the images take no more than half of the free memory.
        num_bytes: Size of all decoded images.
        num_processes: Number of processes on this machine that keep a cache.

    Raises:
        MemoryError: If `cache` is `"ram"`, and the images do not fit at all.
        ValueError: If `cache` is none of the three.
    """
    if cache not in ("none", "ram", "auto"):
        raise InputError(f"cache: {cache!r} is unknown; choose none, ram or auto")
    if cache == "none":
        return "none"
    needed, free = num_bytes * num_processes, free_bytes()
    if cache == "auto":
        return "ram" if needed <= AUTO_SHARE * free else "none"
    if needed > free:
        raise MemoryError(
            f"the decoded images take {needed / 1e9:.1f} GB"
            f"{f' ({num_processes} times the dataset)' if num_processes > 1 else ''}, but"
            f" {free / 1e9:.1f} GB of memory are free; choose none or auto"
        )
    return "ram"


def free_bytes() -> int:
    """Memory in bytes that is still free for this process, on the machine or in its container.

    Containers limit memory by control groups, version 2 or 1.
    """
    free = psutil.virtual_memory().available
    for folder, limit_file, used_file, reclaimable in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        (
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ):
        try:
            limit = int((Path(folder) / limit_file).read_text())
            used = int((Path(folder) / used_file).read_text())
            stat = dict(line.split() for line in (Path(folder) / "memory.stat").open())
        except (OSError, ValueError):
            continue  # no limit ("max"), or the other version
        free = min(free, max(limit - used + int(stat.get(reclaimable, 0)), 0))
    return free


def _shared_array(size: int) -> np.ndarray:
    if sys.platform == "linux":
        # Reserves nothing: unused pages do not count.
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        memory = mmap.mmap(-1, max(size, 1), flags=flags)
    else:
        memory = mmap.mmap(-1, max(size, 1))
    return np.frombuffer(memory, np.uint8)[:size]
