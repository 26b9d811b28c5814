"""Memory that a process or a GPU uses."""

import gc
import re
from pathlib import Path

import torch


def resident_bytes(field: str) -> int | None:
    """Memory of this process: `"VmRSS"` now, `"VmHWM"` at most so far; `None` if not on Linux.

    Unlike `ru_maxrss`, `"VmHWM"` starts again with a new program.
    """
    status = Path("/proc/self/status")
    text = status.read_text() if status.exists() else ""
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def reset_peak(device: torch.device) -> None:
    """Let `peak_bytes` start again from the memory in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Most memory that tensors on a GPU took since `reset_peak`; `None` on other devices."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def release(device: torch.device) -> None:
    """Give back the memory of a GPU that only discarded objects take, for other processes, too."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def used_bytes(device: torch.device) -> int | None:
    """Memory that tensors on a GPU take now; `None` on other devices."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


def gigabytes(size: int | None) -> str:
    """A cell of a table."""
    return "-" if size is None else f"{size / 1e9:.3g}"
