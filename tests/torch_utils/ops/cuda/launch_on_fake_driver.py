"""Launches the kernel of a probe on the driver in fake_driver.c; the test runs it in a process.

Arguments: folder and name of the source; "raw" where PyTorch has the function for raw streams,
which CPU builds lack. (Those for CUDA must not call it, which would start CUDA's runtime.)
"""

import contextlib
import ctypes
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch

if sys.argv[3:] == ["raw"]:
    torch._C._cuda_getCurrentRawStream = lambda index: 0xCD00 + index
elif hasattr(torch._C, "_cuda_getCurrentRawStream"):
    del torch._C._cuda_getCurrentRawStream

from torch_utils.ops.cuda import compiler, launcher

current = 0


class Pair(ctypes.Structure):
    """What the last argument of the kernel is."""

    _fields_ = [("a", ctypes.c_int32), ("b", ctypes.c_double)]


@contextlib.contextmanager
def device(where):
    """In place of torch.cuda.device."""
    global current
    current, before = where.index, current
    yield
    current = before


def launch(index=None, block=(256, 1, 1), shared_bytes=0):
    """Launch with all types of arguments."""
    args = [
        ctypes.c_void_p(0xDEADBEEF),
        ctypes.c_int32(-5),
        ctypes.c_int64(-(2**40)),
        ctypes.c_float(1.5),
        ctypes.c_double(2.25),
        Pair(6, 0.125),
    ]
    where = torch.device("cuda", index)
    launcher.launch(sys.argv[2], "probe<float>", where, (7, 2, 3), block, args, shared_bytes)


def attempt(*args, **kwargs):
    """Launch, and note warnings and errors."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            launch(*args, **kwargs)
        except RuntimeError as error:
            note(f"{type(error).__name__}: {error}")
    for warning in caught:
        note(f"warning: {warning.message}")


def note(text):
    """A heading between what the driver notes."""
    print(f"-- {text}", file=sys.stderr, flush=True)


def main():
    """All that the test looks at."""
    note("first")
    launch()
    note("again")
    launch(0)
    note("other device")
    launch(1)
    note("shared memory")
    launch(0, shared_bytes=60000)
    launch(0, shared_bytes=50000)
    note("thread")
    thread = threading.Thread(target=launch)
    thread.start()
    thread.join()
    note("refused")
    attempt(0, block=(2048, 1, 1))
    note("cannot be loaded when it is launched")
    attempt(1, block=(222, 1, 1))
    attempt(1)
    for index in (2, 3):  # in threads, because those have the device's context
        note(f"cannot be loaded on device {index}")
        for _ in range(2):
            thread = threading.Thread(target=attempt, args=[index])
            thread.start()
            thread.join()


with (
    mock.patch.object(compiler, "SOURCE_DIR", Path(sys.argv[1])),
    mock.patch.multiple(
        torch.cuda,
        device=device,
        current_device=lambda: current,
        current_stream=lambda index: SimpleNamespace(cuda_stream=0xAB00 + index),
        get_device_capability=lambda index: [(9, 0), (99, 9), (8, 0), (8, 6)][index],
        get_device_properties=lambda index: SimpleNamespace(shared_memory_per_block_optin=232448),
    ),
):
    main()
