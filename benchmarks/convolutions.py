"""Our 3x3 convolutions on the CPU beside PyTorch's: `python -m benchmarks.convolutions`.

The shapes are those of small networks in training. Both kernels take turns, so that other programs
on the machine disturb both alike. Times are those of the processor, the least of all runs.
"""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import time
from collections.abc import Callable, Sequence

import click
import torch
from torch import Tensor

from benchmarks import accuracy, options, timing
from dnnlib import cli
from dnnlib.options import version_option
from torch_utils.ops import convolution as pytorch
from torch_utils.ops.calls import Convolution
from torch_utils.ops.cpu import convolution as ours

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ROLES = {"output": ours.OUTPUT, "dx": ours.INPUT, "dw": ours.KERNEL}

# Samples, input and output channels, size of the input, stride, padding.
Shape = tuple[int, int, int, int, int, int]
SHAPES: tuple[Shape, ...] = (
    (4, 32, 32, 52, 1, 2),  # config T, 32x32
    (4, 23, 19, 52, 1, 2),
    (4, 32, 32, 36, 1, 2),
    (4, 32, 32, 32, 1, 1),  # StyleGAN2 and discriminators
    (4, 64, 64, 16, 1, 1),
    (4, 64, 64, 8, 1, 1),
    (4, 32, 64, 33, 2, 0),
    (4, 64, 64, 17, 2, 0),
    (8, 256, 256, 36, 1, 2),  # config T, 64x64
    (8, 128, 128, 64, 1, 1),
)
HEADER = ("shape", "dtype", "result", "PyTorch ms", "ours ms", "PyTorch GF/s", "ours GF/s", "used")


@click.command(cls=cli.Command)
@options.names("--dtypes", DTYPES, "Types of the images.")
@options.number("--repeat", "Runs of each call.", default=10)
@options.number("--threads", "CPU threads.", default=1)
@version_option
def main(dtypes: list[str], repeat: int, threads: int) -> None:
    """Time the output of a convolution and both of its gradients, by both kernels.

    "GF/s" counts multiplications and additions of numbers that are not padding of the output.
    "used" says which kernel `conv2d` takes for the shape.

    Example: python -m benchmarks.convolutions --dtypes=bfloat16
    """
    torch.set_num_threads(threads)
    supported = [name for name in dtypes if ours.is_supported(DTYPES[name])]
    if not supported:
        raise click.ClickException(
            f"this processor has no instructions for kernels of {' or '.join(dtypes)}: they need "
            "AVX-512 for float32, and AMX for bfloat16; conv2d uses PyTorch's kernels here"
        )
    rows = [row for name in supported for s in SHAPES for row in measure(s, DTYPES[name], repeat)]
    click.echo(timing.describe_machine(torch.device("cpu")))
    click.echo()
    click.echo(timing.format_table(HEADER, rows))


def measure(shape: Shape, dtype: torch.dtype, num_runs: int) -> list[Sequence[str]]:
    """Check both kernels against each other, then time them: a row for each result.

    Raises:
        RuntimeError: If results differ by more than rounding.
    """
    n, c, o, size, stride, padding = shape
    out = (size + 2 * padding - 3) // stride + 1
    call = Convolution(stride, (padding, padding), (3, 3), (size, size), (out, out))
    torch.manual_seed(0)
    x, k, y = (
        torch.randn(s).to(dtype) for s in ([n, c, size, size], [o, c, 3, 3], [n, o, out, out])
    )
    gflop = 2 * 9 * n * c * o * out**2 / 1e9
    rows: list[Sequence[str]] = []
    for name, theirs, mine in (
        ("output", lambda: pytorch.aten_output(x, k, call), lambda: ours.output(x, k, call)),
        (
            "dx",
            lambda: pytorch.aten_input_gradient(k, y, call),
            lambda: ours.input_gradient(k, y, call),
        ),
        (
            "dw",
            lambda: pytorch.aten_kernel_gradient(x, y, call),
            lambda: ours.kernel_gradient(x, y, call),
        ),
    ):
        _check(name, theirs(), mine())
        their_sec, my_sec = _least_seconds((theirs, mine), num_runs)
        is_used = ours.is_fast(ROLES[name], n, (o, c), call, dtype)
        text = f"{n}x{c}x{size}x{size} to {o}" + (f" / {stride}" if stride > 1 else "")
        rows.append(
            (
                *(text, str(dtype).removeprefix("torch."), name),
                *(f"{sec * 1e3:.3f}" for sec in (their_sec, my_sec)),
                *(f"{gflop / sec:.0f}" for sec in (their_sec, my_sec)),
                "ours" if is_used else "PyTorch",
            )
        )
    return rows


def _check(name: str, expected: Tensor, got: Tensor) -> None:
    error = float((got - expected).double().norm() / expected.double().norm())
    if not error < accuracy.MAX_ERROR[got.dtype]:
        raise RuntimeError(f"{name}: the kernels differ by {error:.2g}, which is not rounding")


def _least_seconds(calls: Sequence[Callable[[], Tensor]], num_runs: int) -> list[float]:
    """The least processor time of each call; the calls take turns."""
    least = [float("inf")] * len(calls)
    for _ in range(num_runs):
        for i, call in enumerate(calls):
            start = time.process_time()
            call()
            least[i] = min(least[i], time.process_time() - start)
    return least


if __name__ == "__main__":
    main()
