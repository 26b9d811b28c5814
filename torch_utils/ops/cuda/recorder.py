"""Records which kernels a computation launches, on a machine without a GPU.

The computation runs on the meta device, which has shapes but no data, in place of a CUDA GPU (only
`stands_for_cuda` decides this). There, the fake implementations of the ops call the launchers,
which call `record` instead of launching.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch

Kernel = tuple[str, str]  # file name of the source, specialisation

_recorders: list["LaunchRecorder"] = []


class LaunchRecorder:
    """Collects the kernels that are launched on the meta device while it is active.

    Attributes:
        kernels: Source and specialisation of each kernel.
    """

    def __init__(self, on_new: Callable[[Kernel], None] | None = None) -> None:
        """Make a recorder; `activate` starts it.

        Args:
            on_new: Called with each kernel at its first launch.
        """
        self.kernels: set[Kernel] = set()
        self._on_new = on_new

    @contextlib.contextmanager
    def activate(self) -> Iterator[None]:
        """Record launches inside the context, including those of other threads."""
        _recorders.append(self)
        try:
            yield
        finally:
            _recorders.remove(self)

    def add(self, kernel: Kernel) -> None:
        """Record one launch."""
        if kernel not in self.kernels:
            self.kernels.add(kernel)
            if self._on_new is not None:
                self._on_new(kernel)


@contextlib.contextmanager
def record_launches() -> Iterator[set[Kernel]]:
    """Collect `(source, specialisation)` of launches on the meta device; nothing runs."""
    recorder = LaunchRecorder()
    with recorder.activate():
        yield recorder.kernels


def record(source: str, specialisation: str) -> None:
    """Tell all active recorders of a launch."""
    for recorder in _recorders:
        recorder.add((source, specialisation))


def stands_for_cuda(device: torch.device) -> bool:
    """Whether a device only stands for a GPU of CUDA: launches there are recorded, not run."""
    return device.type == "meta"
