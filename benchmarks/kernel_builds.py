"""Compiles the CUDA kernels of a report before they are needed, on all cores."""

import os
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from benchmarks.networks import Setup
from torch_utils.ops.cuda import compiler, cubin
from torch_utils.ops.cuda.recorder import Kernel, record_launches
from training.kernels import launch_all


@dataclass(frozen=True)
class Builds:
    """What compiling some kernels has led to.

    Attributes:
        num_found: Kernels that the cache had.
        num_compiled: Kernels that were compiled.
        failures: Kernels that cannot be compiled, and why.
        seconds: How long it took.
        nvrtc_sec: Processor time of NVRTC for all kernels, now or when they entered the cache.
    """

    num_found: int
    num_compiled: int
    failures: dict[Kernel, str]
    seconds: float
    nvrtc_sec: float


def kernels_of_training(setup: Setup) -> set[Kernel]:
    """The kernels of all phases of training and of synthesis; the meta device stands for a GPU."""
    with record_launches() as kernels:
        launch_all(setup.config, **setup.images)
    return kernels


def build(kernels: Collection[Kernel], arch: str) -> Builds:
    """Compile kernels into the cache, unless it has them.

    Args:
        kernels: The kernels.
        arch: Architecture of the GPU, as in `"sm_90"`.

    Raises:
        BuildError: If a package is missing.
    """
    start = time.perf_counter()
    compiler.core()  # a missing package is one error here, not one for each kernel
    before = _cached()
    failures: dict[Kernel, str] = {}
    nvrtc_sec = 0.0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NVRTC runs in several threads
        futures = {pool.submit(compiler.compile_cubin, *k, arch): k for k in sorted(kernels)}
        for future in as_completed(futures):
            try:
                nvrtc_sec += future.result().compile_sec
            except (RuntimeError, OSError) as error:
                failures[futures[future]] = str(error)
    num_compiled = len(_cached() - before)
    num_found = len(kernels) - num_compiled - len(failures)
    if cubin.cache_dir() is None:
        num_found, num_compiled = 0, len(kernels) - len(failures)
    seconds = time.perf_counter() - start
    return Builds(num_found, num_compiled, failures, seconds, nvrtc_sec)


def _cached() -> set[str]:
    """Names of the kernels in the cache."""
    folder = cubin.cache_dir()
    if folder is None or not folder.exists():
        return set()
    return {path.name for path in folder.glob("*.bin")}
