"""The tests that need a GPU, and compute-sanitizer, as rows of `benchmarks/gpu_report.py`."""

import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from benchmarks import PROJECT_DIR, environment
from benchmarks.gpu_plan import Plan
from benchmarks.report import Item, Row
from torch_utils.ops.cuda import cubin
from torch_utils.ops.kernel_cache import CACHE_DIR_VARIABLE

HEADER = ("check", "result", "s")
TESTS_SEC = 75  # then the tests are ended, and the report has those that had finished
SANITIZER_SEC = 30
OUTCOME = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)", re.MULTILINE)
MARKED = re.compile(r"^(?:@|pytestmark = )pytest\.mark\.gpu\b", re.MULTILINE)
SANITIZERS = ("memcheck", "racecheck")


class ChecksFailed(RuntimeError):
    """Tests failed, or compute-sanitizer found something."""


def items(plan: Plan) -> list[Item]:
    """One item for the tests, and one for each tool of compute-sanitizer (on CPUs, one)."""
    tools = SANITIZERS if plan.device.type == "cuda" else SANITIZERS[:1]
    return [
        Item("pytest -m gpu", lambda: run_tests(test_files(), TESTS_SEC)),
        *(
            Item(f"compute-sanitizer {tool}", functools.partial(run_sanitizer, plan, tool))
            for tool in tools
        ),
    ]


def test_files() -> list[str]:
    """The files with tests marked `gpu`; others may not even be imported without more packages."""
    paths = sorted((PROJECT_DIR / "tests").rglob("test_*.py"))
    return [str(path) for path in paths if MARKED.search(path.read_text(encoding="utf-8"))]


def run_tests(files: Sequence[str], limit_sec: float) -> Iterator[Row]:
    """Run the tests marked `gpu`: a row with the numbers, and one for each that failed.

    Raises:
        ChecksFailed: If tests failed, or did not run.
    """
    name = "pytest -m gpu"
    if environment.version_of("pytest") is None:
        yield [name, "pytest is not installed: not run", ""]
        return
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "--tb=line", "--color=no"]
    command += ["-p", "no:cacheprovider", "-o", "addopts=--strict-markers", *files]
    output, seconds, code = _run(command, limit_sec)
    outcomes = OUTCOME.findall(output)
    counts = {kind: sum(k == kind for _, k in outcomes) for kind in ("PASSED", "FAILED", "SKIPPED")}
    failed = [test for test, kind in outcomes if kind in ("FAILED", "ERROR")]
    result = ", ".join(f"{number} {kind.lower()}" for kind, number in counts.items())
    if code is None:
        result += f"; ended after {limit_sec:g} s, the others are not known"
    yield [name, result, f"{seconds:.0f}"]
    for test in failed:
        yield [test, "FAILED", ""]
    if failed:
        raise ChecksFailed(f"{len(failed)} tests failed: {_tail(output)}")
    if code not in (None, 0, 5):  # 5: no test was selected
        raise ChecksFailed(f"pytest ended with {code}: {_tail(output)}")


def run_sanitizer(plan: Plan, tool: str) -> Iterator[Row]:
    """Launch ten kernels under compute-sanitizer, or without it on CPUs.

    Raises:
        ChecksFailed: If it found something, or the launches failed.
    """
    name = f"{tool}: ten launches"
    command = [sys.executable, "-m", "benchmarks.ten_launches", f"--device={plan.device.type}"]
    prefix = environment.find_tool("compute-sanitizer")
    if plan.device.type == "cuda":
        if prefix is None:
            yield [name, "compute-sanitizer is not installed: not run", ""]
            return
        command = [prefix, f"--tool={tool}", "--error-exitcode=9", *command]
    output, seconds, code = _run(command, SANITIZER_SEC)
    if code is None:
        yield [name, f"ended after {SANITIZER_SEC} s: not known", f"{seconds:.0f}"]
        return
    if code != 0:
        raise ChecksFailed(f"ended with {code}: {_tail(output)}")
    yield [name, output.strip().splitlines()[-1], f"{seconds:.0f}"]


def _run(command: list[str], limit_sec: float) -> tuple[str, float, int | None]:
    """Output, seconds, and exit code of a program; `None` if it took too long and was ended."""
    start = time.perf_counter()
    # The tests have a cache of their own unless this variable is set.
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if (folder := cubin.cache_dir()) is not None:
        variables[CACHE_DIR_VARIABLE] = str(folder)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_DIR,
            env=variables,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit_sec)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        file.seek(0)
        return file.read(), time.perf_counter() - start, code


def _end(process: subprocess.Popen) -> None:
    """End a program and the programs that it has started."""
    if process.poll() is None and hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _tail(output: str) -> str:
    return " / ".join(output.strip().splitlines()[-6:])
