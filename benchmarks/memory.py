"""Memory that a process or a GPU uses, and the largest batch that fits."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

MEMORY_SHARE = 0.9  # of a GPU's memory that a batch may take

Result = TypeVar("Result")


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
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Most memory that tensors on a GPU took since `reset_peak`; `None` on other devices."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def gigabytes(size: int | None) -> str:
    """A cell of a table."""
    return "-" if size is None else f"{size / 1e9:.3g}"


def filling_batch(
    run: Callable[[int], None], device: torch.device, smallest: int, largest: int
) -> int:
    """The largest batch that should fit: `smallest`, doubled as often as memory allows.

    Two small batches are tried. Memory grows linearly from there on.

    Args:
        run: Runs a batch of a size.
        device: Where; if it is no GPU, the result is `largest`, or the last below it.
        smallest: First batch.
        largest: Limit.
    """
    used = {}
    for batch in (smallest, min(2 * smallest, largest)):
        reset_peak(device)
        try:
            run(batch)
        except torch.OutOfMemoryError:
            return smallest
        used[batch] = peak_bytes(device) or 0
    (first, first_used), (last, last_used) = min(used.items()), max(used.items())
    per_image = (last_used - first_used) / max(last - first, 1)
    limit = float("inf")
    if device.type == "cuda":
        limit = MEMORY_SHARE * torch.cuda.get_device_properties(device).total_memory
    batch = smallest
    while 2 * batch <= largest and first_used + per_image * (2 * batch - first) <= limit:
        batch *= 2
    return batch


def measure_filling(
    measure: Callable[[int], Result], batch: int, smallest: int
) -> tuple[int, Result]:
    """Measure with a batch, and halve the batch as long as it does not fit.

    Raises:
        RuntimeError: If `smallest` does not fit.
    """
    while True:
        try:
            return batch, measure(batch)
        except torch.OutOfMemoryError as error:
            if batch <= smallest:
                raise RuntimeError(f"out of memory with a batch of {batch}") from error
        batch //= 2  # outside the handler: its traceback would keep tensors alive
