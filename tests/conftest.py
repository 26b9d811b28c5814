"""Shared by all tests: one CPU thread each, a private cache directory, skipping of GPU tests."""

import getpass
import os
import signal
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Kernels are built once, not by every test: their names cover all that they depend on.
os.environ.setdefault(
    "STYLEGAN3_KERNEL_CACHE_DIR",
    os.path.join(tempfile.gettempdir(), f"stylegan3-test-kernels-{getpass.getuser()}"),
)

import dnnlib  # noqa: F401  before PyTorch, see `dnnlib.openmp`  # isort: skip
import pytest
import torch

from torch_utils.ops.cpu import compiler

torch.set_num_threads(1)
torch.backends.cudnn.allow_tf32 = False  # as training does, see `devices.configure_backends`


def pytest_configure(config):
    """Before the first test: build the CPU kernels, which says so where tests read the output."""
    compiler.library()
    # Commands in the background of a script ignore Ctrl-C, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Skip tests marked `gpu` on machines without a CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def private_cache_dir(tmp_path_factory, monkeypatch):
    """Downloads, kernels and statistics of a test stay out of the user's cache."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
