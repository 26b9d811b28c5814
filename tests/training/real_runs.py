"""Runs of the real `train.py` in processes of their own, for tests."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests import golden
from training import training_loop

PROJECT = Path(training_loop.__file__).parent.parent
GRAY = golden.DATA_DIR / "datasets" / "dataset_small_gray.zip"  # 8x8
COMMAND = [
    "--cfg=stylegan2",
    f"--data={GRAY}",
    "--batch=40",
    "--gamma=1",
    "--cbase=64",
    "--cmax=4",
    "--map-depth=1",
    "--workers=1",
    "--kimg=1",
    "--tick=1",
    "--snap=1",
]


def read_until(process: subprocess.Popen, text: str) -> str:
    """The output of a process up to the first line with a text."""
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(f"{text!r} did not come: {output}")


def wait_for(condition: Callable[[], object], processes: list[subprocess.Popen]) -> None:
    """Wait until a condition holds; the processes must live until then."""
    deadline = time.monotonic() + 120
    while not condition():
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.1)
