"""Compiles a kernel twice where Python lacks what Windows lacks; the test runs it in a process.

Arguments: folder and name of the source, specialisation. Prints how often NVRTC was called.
"""

import os
import sys
from pathlib import Path
from types import ModuleType

import torch
from cuda import core
from cuda.bindings import nvrtc

# These are imported before: their modules ask for the platform they were built for.
assert torch.__version__ and core.__version__ and nvrtc.nvrtcVersion()
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None  # type: ignore[assignment]  # importing it is an ImportError
for name in ("chown", "fork", "geteuid", "getuid", "killpg", "fchmod", "O_NOFOLLOW", "uname"):
    if hasattr(os, name):
        delattr(os, name)
sys.modules["msvcrt"] = ModuleType("msvcrt")
sys.platform, os.linesep = "win32", "\r\n"

from torch_utils.ops.cuda import compiler  # noqa: E402

compiler.SOURCE_DIR = Path(sys.argv[1])
compilations = []
compile_one = compiler._compile
compiler._compile = lambda *args: compilations.append(args) or compile_one(*args)
kernels = [compiler.compile_cubin(*sys.argv[2:4], "sm_90") for _ in range(2)]
assert kernels[0] == kernels[1] and kernels[0].code.startswith(b"\x7fELF")
print(len(compilations))
