"""A process that has imported all scripts, and runs each with a hostile file in a copy of itself.

Starting a script takes seconds; a fork of this process takes a hundredth of one. Run as a program
it is the child; `Warm` is the parent's side.
"""

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.attack.trial import PROJECT_DIR, Job, Limits, Outcome, read_output

PATIENCE = Limits(cpu_sec=300, wall_sec=600, memory_bytes=8 << 30)  # for what is no attack
SCRIPTS = (
    "legacy",
    "gen_images",
    "gen_video",
    "train",
    "avg_spectra",
    "calc_metrics",
    "visualizer",
)
# What scripts import late: in the copies it would cost time, again and again.
LATE = (
    "matplotlib.figure",
    "gui_utils.window",
    "viz.application",
    "tests.attack.props",
)


class Warm:
    """Starts the child, and gives it scripts to run."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.attack.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT_DIR,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout.readline() == b"ready\n"

    def run(self, job: Job) -> Outcome:
        """Run a script in a copy of the child."""
        fields = dataclasses.asdict(dataclasses.replace(job, environment=dict(job.environment)))
        self._process.stdin.write(json.dumps(fields, default=str).encode() + b"\n")
        self._process.stdin.flush()
        facts = json.loads(self._process.stdout.readline())
        said = {name: read_output(job.folder.parent / name) for name in ("stdout", "stderr")}
        return Outcome(**facts, **said)

    def build(self, folder: Path) -> None:
        """Write the props; see `props.build`."""
        outcome = self.run(Job("tests.attack.props", [str(folder)], folder, {}, PATIENCE))
        assert outcome.code == 0, outcome

    def close(self) -> None:
        """End the child."""
        self._process.kill()
        self._process.communicate()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        job = json.loads(line)
        limits = Limits(**job["limits"])
        report, report_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become_script(job, limits, report_end)
        os.close(report_end)
        is_over_time = not _ends(pid, limits.wall_sec)
        if is_over_time:
            os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # whatever it has started
        os.set_blocking(report, False)
        with os.fdopen(report, "rb") as f:
            base, _, damage = (f.read() or b"").partition(b"\n")
        code = os.waitstatus_to_exitcode(status)
        facts = dict(
            code=code,
            cpu_sec=usage.ru_utime + usage.ru_stime,
            peak_bytes=max((usage.ru_maxrss << 10) - int(base or 0), 0),
            is_over_time=is_over_time or code == -signal.SIGXCPU,
            damage=json.loads(damage or b"[]"),
        )
        answers.write(json.dumps(facts) + "\n")
        answers.flush()


def _ends(pid: int, seconds: float) -> bool:
    """Wait for a process; whether it ends in time."""
    handle = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([handle], [], [], seconds)
        return bool(ready)
    finally:
        os.close(handle)


def _become_script(job: dict, limits: Limits, report: int) -> None:
    """Run the script as `python SCRIPT.py` would, in a copy of the warm process; never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        _redirect(Path(job["folder"]).parent)
        _limit(limits)
        os.chdir(job["folder"])
        for key, value in job["environment"].items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
        sys.argv = [f"{job['script']}.py", *job["args"]]
        os.write(report, f"{_resident_bytes()}\n".encode())
        before = _surroundings()
        command = importlib.import_module(job["script"]).main
        code = _exit_code(lambda: command.main(job["args"], prog_name=sys.argv[0]))
        after = _surroundings()
        names = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        os.write(report, json.dumps([f"changed {name} in the process" for name in names]).encode())
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _exit_code(run: Callable[[], None]) -> int:
    """What Python makes of how a script ends."""
    try:
        run()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _redirect(folder: Path) -> None:
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with (folder / name).open("wb") as f:
            os.dup2(f.fileno(), number)


def _limit(limits: Limits) -> None:
    seconds = int(limits.cpu_sec) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Half more, so that a script that takes too much is seen to do so before it is refused memory.
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    num_bytes = space + limits.memory_bytes + (limits.memory_bytes >> 1)
    resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _surroundings() -> dict[str, object]:
    """What no script changes, as values that can be compared."""
    import builtins
    import pickle
    from collections import OrderedDict

    import torch

    import dnnlib
    from network_files import rebuild, unpickler

    spaces = [builtins, os, pickle, pickle._Unpickler, OrderedDict, dnnlib.EasyDict, torch.Tensor]
    spaces += [rebuild, unpickler, torch.Size]
    return {
        **{f"environment: {key}": value for key, value in os.environ.items()},
        **{
            f"{space.__name__}.{key}": id(value)
            for space in spaces
            for key, value in vars(space).items()
            if key != "__slotnames__"  # which Python adds when something is copied
        },
        "folder": os.getcwd(),
        "search path": list(sys.path),
    }


def _prepare() -> None:
    """Do once what every script would do."""
    import torch

    from torch_utils.ops.cpu import compiler

    for name in (*SCRIPTS, *LATE):
        with contextlib.suppress(ImportError):  # the window's packages are optional
            importlib.import_module(name)
    torch.set_num_threads(1)
    compiler.library()
    gc.collect()
    gc.freeze()  # else each copy copies what the collector looks at, which is everything


if __name__ == "__main__":
    _prepare()
    _serve()
