"""How the C library hands out memory for tensors on the CPU."""

import ctypes
import platform

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let tensors reuse memory that others have freed, instead of returning it to the system.

    By default glibc maps every block above 32 MiB afresh and unmaps it when it is freed. The system
    then clears each page at its first use, which takes longer than many an operation on it: feature
    maps of one 256x256 image are that large. The price is that a process keeps its peak memory,
    and somewhat more where small blocks that live on lie between large ones.
    Does nothing where the C library is another one.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    libc.mallopt(_TOP_PAD, 64 << 20)
