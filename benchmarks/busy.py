"""Speed of PyTorch while other programs use the processor, too: `python -m benchmarks.busy`.

OpenMP's threads wait for each other at the end of every parallel loop. While they wait, they spin:
a thread that spins keeps the processor from the thread that it waits for. `dnnlib.openmp` bounds
the time that a thread spins before it sleeps. This benchmark measures the cost of the bound on an
idle machine, and its gain beside busy processes.

Every measurement runs in a process of its own, since OpenMP reads its settings once, when PyTorch
is loaded. The settings take turns, so that a slow minute of the machine hits all of them.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

import click
import torch

from benchmarks import PROJECT_DIR, options, timing
from benchmarks.networks import Setup, Training, build_generator
from dnnlib import cli, openmp
from dnnlib.options import version_option

# PyTorch, which loads OpenMP, is imported first, so that settings of this project come too late.
WORKER = "import torch, sys; from benchmarks import busy; busy.work(*sys.argv[1:])"
TASKS = ("T 32", "T 256", "training")
DEMO, LARGE = dict(cbase=512, cmax=32), dict(cbase=16384, cmax=512)
MAX_CALLS = 200
DEFAULT, OURS, PASSIVE = "default", "ours", "passive"


@click.command(cls=cli.Command)
@options.names(
    "--tasks",
    TASKS,
    "Tasks to time: an image of the demo's network, one of 256x256, an iteration of the demo.",
)
@options.value(
    "--busy",
    cli.SeedRange(),
    "0,2,8",
    "Numbers of busy processes beside the task.",
    metavar="LIST",
)
@options.value(
    "--settings",
    cli.NameList(),
    f"{DEFAULT},{OURS},{PASSIVE}",
    "default: OpenMP's own; ours: as dnnlib.openmp sets it; passive: OMP_WAIT_POLICY=PASSIVE; "
    "a number: GOMP_SPINCOUNT.",
    metavar="NAME,NAME",
)
@options.number("--rounds", "Processes per setting.", default=3)
@options.value("--seconds", cli.FiniteFloat(min=0), 5, "Duration of each process.")
@version_option
def main(
    tasks: list[str], busy: list[int], settings: list[str], rounds: int, seconds: float
) -> None:
    """Time small and large networks beside busy processes, with several settings of OpenMP.

    Prints one row per task and number of busy processes: for each setting the median milliseconds
    of a call; "fair share" is how many times longer than on an idle machine a call would take if
    the scheduler gave each thread the same share of the processor.
    """
    environments = {name: environment(name) for name in settings}
    click.echo(timing.describe_machine(torch.device("cpu")))
    rows = []
    for task in tasks:
        for num_busy in busy:
            found: dict[str, list[float]] = {name: [] for name in settings}
            with busy_processes(num_busy):
                for _ in range(rounds):
                    for name in settings:
                        found[name].append(measure(task, environments[name], seconds))
            cells = [f"{median(found[name]) * 1e3:.1f}" for name in settings]
            rows.append([task, str(num_busy), f"{fair_share(num_busy):.1f}", *cells])
            click.echo(f"{task}, {num_busy} busy processes: {' '.join(cells)} ms", err=True)
    header = ["task", "busy processes", "fair share", *(f"{name}, ms" for name in settings)]
    click.echo(timing.format_table(header, rows))


def environment(setting: str) -> dict[str, str]:
    """The environment of a process with a setting; see `--settings`."""
    variables = {key: text for key, text in os.environ.items() if key not in openmp.VARIABLES}
    if setting == OURS:
        openmp.bound_spin(variables)
    elif setting == PASSIVE:
        variables["OMP_WAIT_POLICY"] = "PASSIVE"
    elif setting.isdecimal():
        variables["GOMP_SPINCOUNT"] = setting
    elif setting != DEFAULT:
        raise click.BadParameter(f"{setting!r} is unknown", param_hint="'--settings'")
    return variables


def fair_share(num_busy: int) -> float:
    """How many times longer than alone, where each thread gets the same share of the processor."""
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    num_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max((torch.get_num_threads() + num_busy) / num_cores, 1)


@contextlib.contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Processes that do nothing but keep the processor busy."""
    processes = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(task: str, variables: dict[str, str], seconds: float) -> float:
    """Median seconds per call in a process of its own."""
    command = [sys.executable, "-c", WORKER, task, str(seconds)]
    done = subprocess.run(command, cwd=PROJECT_DIR, env=variables, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{task} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def work(task: str, seconds: str) -> None:
    """Call a task again and again for some time; print the median of the seconds that it takes."""
    call = prepare(task)
    call()
    runs_sec: list[float] = []
    end = time.perf_counter() + float(seconds)
    while len(runs_sec) < 2 or (time.perf_counter() < end and len(runs_sec) < MAX_CALLS):
        start = time.perf_counter()
        call()
        runs_sec.append(time.perf_counter() - start)
    print(json.dumps(median(runs_sec)))


def prepare(task: str) -> Callable[[], object]:
    """Return the function without arguments that a task times."""
    if task == "training":
        training = Training(
            Setup("stylegan3-t", 32, 4, DEMO["cbase"], DEMO["cmax"]), torch.device("cpu")
        )

        def iterate() -> None:
            training.run("Gmain")
            training.run("Dmain")

        return iterate
    size, capacity = (256, LARGE) if task == "T 256" else (32, DEMO)
    G = build_generator("stylegan3-t", size, **capacity)
    z = torch.randn([1, G.z_dim])
    return lambda: G(z, None)


if __name__ == "__main__":
    main()
