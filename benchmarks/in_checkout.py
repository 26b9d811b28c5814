"""Runs a script of the benchmarks with the packages of another checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dnnlib.errors import MachineError

# The folder of a script would come first among those that Python imports from, and `training` would
# be the module of the benchmarks. The folder of the process comes first this way.
RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def run_script(script: Path, checkout: Path, *arguments: str, **variables: str) -> Any:
    """Run a script in a process of its own, and read the JSON in the last line of its output.

    Args:
        script: File of the script.
        checkout: Folder whose packages the script imports.
        arguments: Arguments of the script.
        variables: Variables of its environment, besides those of this process.

    Raises:
        MachineError: If the script fails; the last line of its output says why.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(script), *arguments],
        cwd=checkout,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise MachineError(f"{checkout} cannot be measured: {reason}")
    return json.loads(done.stdout.splitlines()[-1])
