"""Read pickles that the user trusts. Reading runs the code in them: see `dnnlib.trust`."""

import contextlib
import io
import pickle
from collections.abc import Iterator
from typing import Any, BinaryIO

import torch


def load(f: BinaryIO) -> Any:
    """Read one pickle, with its tensors and TorchScript modules on the CPU.

    Args:
        f: The pickle, open for reading in binary mode.

    Raises:
        Exception: Whatever the code in the pickle raises.
    """
    with _torchscript_on_cpu():
        return _CpuUnpickler(f).load()


class _CpuUnpickler(pickle.Unpickler):
    """Loads tensors that were saved on a GPU on a machine without one."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return lambda b: torch.load(io.BytesIO(b), map_location="cpu", weights_only=False)
        return super().find_class(module, name)


@contextlib.contextmanager
def _torchscript_on_cpu() -> Iterator[None]:
    """Let TorchScript inside a pickle load without the device that it was saved on."""
    original = torch.jit.load

    def load_on_cpu(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        return original(f, map_location or "cpu", *args, **kwargs)

    torch.jit.load = load_on_cpu
    try:
        yield
    finally:
        torch.jit.load = original
