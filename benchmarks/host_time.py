"""Time of Python per launch of a CUDA kernel and per call of an op; needs no GPU.

The time that the host takes for a launch is the least time of a kernel: a GPU waits where kernels
end sooner. A driver that does nothing (`tests/torch_utils/ops/cuda/fake_driver.c`) stands in for
CUDA's, and tensors on the CPU for tensors on a GPU. With the kernels of the CPU, the same calls are
measured on tiny images. See `benchmarks/host_time_worker.py`, which runs in a process of its own
for each checkout, in turns.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import shutil
import subprocess
import tempfile
from pathlib import Path

import click
import torch

from benchmarks import PROJECT_DIR, in_checkout, options, timing
from dnnlib import cli
from dnnlib.errors import MachineError
from dnnlib.options import version_option

DRIVER = Path("tests", "torch_utils", "ops", "cuda", "fake_driver.c")
WORKER = Path(__file__).with_name("host_time_worker.py")

Times = dict[str, float]  # what was measured -> microseconds


@click.command(cls=cli.Command)
@options.checkout
@options.number("--processes", "Processes for each version, in turns.", default=3)
@options.number("--rounds", "Measurements in each process; the shortest counts.", default=30)
@version_option
def main(checkout: Path | None, processes: int, rounds: int) -> None:
    """Measure the host time of launches and ops; needs no GPU, but a C compiler.

    Prints the microseconds of processor time that Python takes for a launch of a CUDA kernel, and
    for a call of each op: without gradients, with them, and with the backward pass. A driver that
    does nothing stands in for the driver of CUDA. With --checkout, "before" is the other version.

    \b
    Examples:
      python -m benchmarks.host_time
      # Beside the version before.
      python -m benchmarks.host_time --checkout=../before
    """
    times: Times = {}
    others: Times = {}
    with tempfile.TemporaryDirectory() as folder:
        build_driver(Path(folder))
        for _ in range(processes):
            if checkout is not None:
                keep_least(others, measure(checkout.resolve(), folder, rounds))
            keep_least(times, measure(PROJECT_DIR, folder, rounds))
    click.echo(timing.describe_machine(torch.device("cpu")))
    click.echo("Microseconds of processor time per call, the least of all rounds")
    click.echo()
    if checkout is None:
        rows = [(name, f"{us:.1f}") for name, us in times.items()]
        click.echo(timing.format_table(("call", "us"), rows))
        return
    click.echo(f"before: {checkout}")
    click.echo()
    compared = [
        (name, f"{others[name]:.1f}", f"{us:.1f}", f"{us / others[name]:.2f}")
        for name, us in times.items()
    ]
    click.echo(timing.format_table(("call", "before us", "us", "ratio"), compared))


def build_driver(folder: Path) -> None:
    """Compile the driver that does nothing.

    Raises:
        MachineError: If there is no C compiler, or the source is missing.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise MachineError("no C compiler is installed, which the stand-in for the driver needs")
    flags = ["-O1", "-shared", "-fPIC", "-DQUIET", "-o", str(folder / "libcuda.so.1")]
    result = subprocess.run(
        [compiler, *flags, str(PROJECT_DIR / DRIVER)], capture_output=True, text=True
    )
    if result.returncode != 0:
        raise MachineError(f"{DRIVER} does not compile: {result.stderr.strip()}")


def measure(checkout: Path, folder: str, rounds: int) -> Times:
    """Measure a checkout, with the driver in `folder`, see `in_checkout.run_script`."""
    return in_checkout.run_script(WORKER, checkout, f"--rounds={rounds}", LD_LIBRARY_PATH=folder)


def keep_least(times: Times, new: Times) -> None:
    """Enter new measurements, unless older ones are shorter."""
    for name, us in new.items():
        times[name] = min(us, times.get(name, us))


if __name__ == "__main__":
    main()
