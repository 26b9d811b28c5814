"""How long OpenMP's threads spin before they sleep; see docs/performance.md.

OpenMP reads the environment when PyTorch is loaded. `import dnnlib` therefore bounds the spinning,
and whoever imports PyTorch first keeps OpenMP's own settings, except in the processes it starts.
"""

import os
from collections.abc import MutableMapping

# Whoever sets one of these has decided about waiting.
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# By measurement (`python -m benchmarks.busy`).
SPIN_COUNT = 3000  # rounds of GNU's OpenMP, in PyTorch for Linux
BLOCK_TIME_MS = 1  # of LLVM's and Intel's OpenMP, in PyTorch for macOS, Windows, and some of conda


def bound_spin(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait for others sleep soon, unless the environment says how they wait.

    By default they spin for many milliseconds. On a machine that has other things to do, they spin
    in the time of the threads that they wait for.
    """
    if not any(name in environment for name in VARIABLES):
        environment["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
        environment["KMP_BLOCKTIME"] = str(BLOCK_TIME_MS)
