"""The highest rates of arithmetic and of memory traffic that a machine reaches, measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from benchmarks import timing
from benchmarks.work import Work

MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
COPY_BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}


@dataclass(frozen=True)
class Peaks:
    """Rates of a machine.

    Attributes:
        flop_per_sec: Multiplications and additions.
        byte_per_sec: Bytes read or written, of a copy: both ways together.
    """

    flop_per_sec: float
    byte_per_sec: float

    def best(self, other: "Peaks") -> "Peaks":
        """The higher rates of two measurements."""
        return Peaks(
            max(self.flop_per_sec, other.flop_per_sec), max(self.byte_per_sec, other.byte_per_sec)
        )

    def floor_sec(self, work: Work) -> float:
        """The shortest time that work can take."""
        return max(self.seconds(work, "flops"), self.seconds(work, "bytes"))

    def bound(self, work: Work) -> Literal["flops", "bytes"]:
        """Which of the two rates sets this limit."""
        return max(("flops", "bytes"), key=lambda kind: self.seconds(work, kind))

    def seconds(self, work: Work, kind: Literal["flops", "bytes"]) -> float:
        """The shortest time at one of the rates alone."""
        is_flops = kind == "flops"
        return work.flop / self.flop_per_sec if is_flops else work.byte / self.byte_per_sec

    def __str__(self) -> str:
        return (
            f"{self.flop_per_sec / 1e9:.4g} GFLOP/s (matrix product or convolution), "
            f"{self.byte_per_sec / 1e9:.4g} GB/s (copy)"
        )


def measure_peaks(
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    matrix_size: int | None = None,
    copy_bytes: int | None = None,
) -> Peaks:
    """Measure the rates of a device with all its threads: the best of several runs.

    The rate of arithmetic is that of a large matrix product or of a convolution that does as much,
    whichever is faster: their libraries take different instructions on some processors.

    Args:
        device: The device.
        dtype: Of the arithmetic.
        matrix_size: Width and height of the matrices; by default `MATRIX_SIZE`.
        copy_bytes: Bytes to copy; by default `COPY_BYTES`, more than caches hold.
    """
    size = matrix_size or MATRIX_SIZE.get(device.type, MATRIX_SIZE["cpu"])
    a, b = (torch.rand([size, size], dtype=dtype, device=device) for _ in range(2))
    product = torch.empty_like(a)
    # The convolution takes as many multiplications as the product. No algorithm saves any at 1x1.
    channels, width = max(size // 4, 1), max(int((2 * size) ** 0.5), 1)
    images = torch.rand([8, channels, width, width], dtype=dtype, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    kernels = torch.rand([channels, channels, 1, 1], dtype=dtype, device=device)
    rates = [
        2 * size**3 / _best_sec(lambda: torch.mm(a, b, out=product), device),
        2 * images.numel() * channels / _best_sec(lambda: F.conv2d(images, kernels), device),
    ]
    num_bytes = copy_bytes or COPY_BYTES.get(device.type, COPY_BYTES["cpu"])
    source = torch.ones([num_bytes // 4], device=device)
    target = torch.zeros_like(source)
    copy_sec = _best_sec(lambda: target.copy_(source), device)
    return Peaks(max(rates), 2 * source.nbytes / copy_sec)


def _best_sec(function: Callable[[], object], device: torch.device) -> float:
    return min(timing.measure_kernels(function, device).runs_sec)
