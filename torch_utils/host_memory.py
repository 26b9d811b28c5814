"""Settings of the C library's memory allocator, for tensors on the CPU."""

import ctypes
import platform

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for new ones, instead of returning it to the system.

    By default glibc maps every block above 32 MiB afresh and unmaps it when it is freed. The system
    then clears each page at its first use, which takes longer than many operations on it; feature
    maps of one 256x256 image are that large. The price is that a process keeps its peak memory,
    and somewhat more if small blocks remain between large ones.
    Does nothing with another C library than glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    libc.mallopt(_TOP_PAD, 64 << 20)
