"""Bound how long OpenMP's threads spin before they sleep; see docs/performance.md.

OpenMP reads the environment when PyTorch is loaded, so `import dnnlib` sets it. A program that
imports PyTorch first keeps OpenMP's own settings, except in the processes that it starts.
"""

import os
from collections.abc import MutableMapping

# If one of these is set, the user has decided how threads wait.
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# Measured by `python -m benchmarks.busy`.
SPIN_COUNT = 3000  # rounds of GNU's OpenMP, in PyTorch for Linux
BLOCK_TIME_MS = 1  # of LLVM's and Intel's OpenMP, in PyTorch for macOS, Windows, some of conda


def bound_spin(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep soon, unless the environment sets how they wait.

    By default they spin for many milliseconds. On a busy machine they take time from the
    threads that they wait for.
    """
    if not any(name in environment for name in VARIABLES):
        environment["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
        environment["KMP_BLOCKTIME"] = str(BLOCK_TIME_MS)
