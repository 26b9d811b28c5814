"""What became of a script that was given a hostile file, and whether that is as it must be."""

import dataclasses
import functools
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.payloads import FORGED

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent
MAX_SHOWN_BYTES = 1 << 20  # of the output, which can be endless
MAX_LINE = 5000  # characters; longer ones hide what is said
NO_MEMORY = re.compile(r"(?i)out of memory|memoryerror|(can.t|cannot|unable to) allocate|bad_alloc")
FALLS = ("ran code", "crash", "timeout", "memory", "traceback", "raw output", "wrong exit code")


@dataclass(frozen=True)
class Limits:
    """What one script may take.

    Attributes:
        cpu_sec: Of the processor.
        wall_sec: Until it ends; more, because the machine may be busy.
        memory_bytes: On top of what the script has before it sees a file.
    """

    cpu_sec: float = 10
    wall_sec: float = 60
    memory_bytes: int = 2 << 30


@dataclass(frozen=True)
class Job:
    """A script to run; its output goes into files beside the folder.

    Attributes:
        script: Name of a module with a command `main`.
        args: Arguments of the command.
        folder: Where it runs.
        environment: Changes of the environment; None for a variable that it must not have.
        limits: What it may take.
    """

    script: str
    args: list[str]
    folder: Path
    environment: Mapping[str, str | None]
    limits: Limits


@dataclass(frozen=True)
class Outcome:
    """How a script ended.

    Attributes:
        code: Its exit code, negative for a signal.
        cpu_sec: Time of the processor.
        peak_bytes: Memory at the peak, on top of what it had before.
        is_over_time: Whether it was ended because it took too long.
        stdout, stderr: What it said.
        damage: What it changed that no script may change.
    """

    code: int
    cpu_sec: float = 0
    peak_bytes: int = 0
    is_over_time: bool = False
    stdout: str = ""
    stderr: str = ""
    damage: list[str] = field(default_factory=list)

    def fall(self, limits: Limits) -> str | None:
        """What is wrong, one of `FALLS` and details; None for a clean refusal or a clean result."""
        said = f"{self.stdout}\n{self.stderr}"
        if self.damage:
            return f"ran code: {', '.join(self.damage)}"[:500]
        if self.is_over_time or self.cpu_sec > limits.cpu_sec:
            return f"timeout: {self.cpu_sec:.1f} s of the processor"
        if self.peak_bytes > limits.memory_bytes:
            return f"memory: {self.peak_bytes >> 20} MiB"
        if re.search(
            r"(?i)out of memory|MemoryError|(can.t|cannot|unable to) allocate|bad_alloc", said
        ):
            return f"memory: refused only when it was too much: {self.stderr[-300:]!r}"
        if self.code < 0:
            return f"crash: signal {-self.code}"
        if "Traceback (most recent call last)" in said:
            return f"traceback: {self.stderr.strip().splitlines()[-1][:300]}"
        if (raw := _raw_line(said)) is not None:
            return f"raw output: {raw[:200]!r}"
        if self.code not in (0, 1):
            return f"wrong exit code: {self.code}, {self.stderr[-300:]!r}"
        errors = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        if self.code == 1 and (len(errors) != 1 or self.stderr.splitlines()[-1] != errors[0]):
            return f"wrong exit code: 1 without one line that says why: {self.stderr[-300:]!r}"
        return None


def _raw_line(said: str) -> str | None:
    """A line that cannot be the script's own."""
    for line in said.split("\n"):
        is_raw = not line.replace("\t", "").replace("\r", "").isprintable()
        if is_raw or line.startswith(FORGED) or len(line) > MAX_LINE:
            return line
    return None


class Scripts:
    """Runs scripts as users do, in a process each; limits are on top of what a start takes."""

    def __init__(self) -> None:
        self._starts: dict[str, Outcome] = {}  # by script

    def run(self, job: Job) -> Outcome:
        """Run a script in a new process."""
        if job.script not in self._starts:
            start = self._run(dataclasses.replace(job, args=["--help"]), Outcome(0))
            self._starts[job.script] = start
        return self._run(job, self._starts[job.script])

    def build(self, folder: Path) -> None:
        """Write the props; see `props.build`."""
        command = [sys.executable, "-m", "tests.attack.props", str(folder)]
        subprocess.run(command, cwd=PROJECT_DIR, check=True)

    def close(self) -> None:
        """Nothing runs between the scripts."""

    def _run(self, job: Job, start: Outcome) -> Outcome:
        env = {
            key: value
            for key, value in {**os.environ, **job.environment}.items()
            if value is not None
        }
        limits = job.limits
        paths = [job.folder.parent / name for name in ("stdout", "stderr")]
        with paths[0].open("wb") as out, paths[1].open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, str(PROJECT_DIR / f"{job.script}.py"), *job.args],
                cwd=job.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=functools.partial(_limit_cpu, limits.cpu_sec + start.cpu_sec),
            )
        max_sec = limits.wall_sec + 3 * start.cpu_sec
        alarm = threading.Timer(max_sec, os.killpg, (process.pid, signal.SIGKILL))
        alarm.start()
        _, status, usage = os.wait4(process.pid, 0)
        is_over_time = not alarm.is_alive()
        alarm.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        return Outcome(
            process.returncode,
            max(usage.ru_utime + usage.ru_stime - start.cpu_sec, 0),
            max((usage.ru_maxrss << 10) - start.peak_bytes, 0),
            is_over_time or process.returncode == -signal.SIGXCPU,
            *map(read_output, paths),
        )


def _limit_cpu(seconds: float) -> None:
    seconds = int(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_output(path: Path) -> str:
    """What a script has said."""
    with path.open("rb") as f:
        return f.read(MAX_SHOWN_BYTES).decode(errors="replace")
