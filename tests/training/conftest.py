"""Fixtures of the tests of training."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.training.real_runs import PROJECT


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the script; processes that still run at the end of the test are killed."""
    started = []

    def popen(
        outdir: Path, *options: str, script: Path = PROJECT / "train.py", **kwargs
    ) -> subprocess.Popen:
        defaults = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        process = subprocess.Popen(
            [sys.executable, script, f"--outdir={outdir}", "--device=cpu", *options],
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
            **{**defaults, **kwargs},
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
