"""dnnlib.openmp: bounded before PyTorch is loaded, in every entrance, unless the user decides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib import openmp

ROOT = Path(__file__).resolve().parents[2]
# Prints what OpenMP will read at the moment when PyTorch is first imported, and stops there. What
# needs no PyTorch prints it at its end: PyTorch may still come with other options.
SPY = """
import atexit, os, runpy, sys

def tell():
    print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("KMP_BLOCKTIME"), flush=True)

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            tell()
            os._exit(0)

atexit.register(tell)

sys.meta_path.insert(0, Spy())
sys.path.insert(0, os.getcwd())
entrance, *sys.argv[1:] = sys.argv[1:]
if entrance.endswith(".py"):
    runpy.run_path(entrance, run_name="__main__")
else:
    __import__(entrance)
"""
SCRIPTS = sorted(
    path.name
    for path in ROOT.glob("*.py")
    if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
)
BOUNDED = f"{openmp.SPIN_COUNT} {openmp.BLOCK_TIME_MS}"


def read_by_openmp(entrance: str, **variables: str) -> str:
    return last_line(SPY, entrance, "--help", **variables)


def last_line(program: str, *args: str, **variables: str) -> str:
    env = {name: text for name, text in os.environ.items() if name not in openmp.VARIABLES}
    result = subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=ROOT,
        env={**env, **variables},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


@pytest.mark.parametrize("entrance", [*SCRIPTS, "legacy", "tests.conftest"])
def test_every_entrance_bounds_the_spin_before_pytorch_is_loaded(entrance):
    assert read_by_openmp(entrance) == BOUNDED


def test_child_processes_inherit_the_bound():
    child = "import os; print(os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'])"
    parent = f"import dnnlib, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert last_line(parent) == BOUNDED


@pytest.mark.parametrize("name", openmp.VARIABLES)
def test_the_user_decides(name):
    environment = {name: "7"}
    openmp.bound_spin(environment)
    assert environment == {name: "7"}
    expected = [environment.get(other) for other in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")]
    assert read_by_openmp("legacy", **environment) == "{} {}".format(*expected)


def test_the_bound():
    environment = {}
    openmp.bound_spin(environment)
    assert environment == {
        "GOMP_SPINCOUNT": str(openmp.SPIN_COUNT),
        "KMP_BLOCKTIME": str(openmp.BLOCK_TIME_MS),
    }
