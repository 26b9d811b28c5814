"""Breaks each kernel in each way that the emulator should report, and collects what it reports.

python -m tests.torch_utils.ops.cuda.mutants    prints a table
"""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest import mock

import pytest
import torch
from torch import Tensor

from tests.cuda_emulator import emulator
from tests.cuda_emulator.emulator import EmulatorError, Mutation, SharedArray
from tests.cuda_emulator.ops import emulate
from torch_utils.ops import bias_act, filtered_lrelu, upfirdn2d
from torch_utils.ops.cuda.recorder import record_launches

BARRIER = re.compile(r"^(?:(?!//).)*\b__sync(?:threads|warp)\w*\(", re.MULTILINE)
LAYOUTS = torch.contiguous_format, torch.channels_last


@dataclass(frozen=True)
class Mutant:
    """A launch of a broken kernel, or of the right one if there is no mutation.

    Attributes:
        source: File name of the kernel.
        specialisation: The kernel.
        mutation: What is broken.
        report: What the emulator reports, or "nothing".
    """

    source: str
    specialisation: str
    mutation: Mutation
    report: str

    @property
    def kernel(self) -> str:
        """Name of the kernel without its parameters."""
        return self.specialisation.partition("<")[0]

    @property
    def is_reached(self) -> bool:
        """Whether threads come to the barrier that is left out."""
        return "no thread came" not in self.report

    @property
    def is_found(self) -> bool:
        """Whether the emulator reports what is broken, as it should."""
        expected = "beyond|which has" if self.mutation.missing_bytes else "not a multiple of"
        if self.mutation.barrier:
            expected = "race: |nothing has written"
        return re.search(expected, self.report) is not None


def barriers() -> list[tuple[str, int]]:
    """File name and line of each barrier in our sources."""
    found = []
    for path in sorted([*emulator.SOURCES.glob("*.cu"), *emulator.SOURCES.glob("*.cuh")]):
        text = path.read_text()
        found += [(path.name, text.count("\n", 0, m.end()) + 1) for m in BARRIER.finditer(text)]
    return found


def find_all() -> list[Mutant]:
    """Launch every kernel with every mutation."""
    with record_launches() as kernels:
        _run_ops("meta")
    for source in sorted({source for source, _ in kernels}):
        emulator.prepare(source, sorted(name for file, name in kernels if file == source))
    mutants: list[Mutant] = []

    def launch(source, name, *args, **kwargs):
        run = functools.partial(emulator.launch, source, name, *args, **kwargs)
        run()
        for mutation in _mutations(source, emulator.shared_arrays(source, name)):
            report = _report(functools.partial(run, seed=1, mutation=mutation))
            mutants.append(Mutant(source, name, mutation, report))
        run()  # as others read what it writes

    with pytest.MonkeyPatch.context() as patch, _few_blocks():
        emulate(patch, launch)
        _run_ops("cpu")
    return mutants


@contextlib.contextmanager
def _few_blocks() -> Iterator[None]:
    """Let blocks of `upfirdn2d` compute several tiles, which have a barrier between them."""
    with mock.patch.object(upfirdn2d.cuda, "MAX_GRID_DEPTH", 1):
        upfirdn2d.cuda._plan_tiles.cache_clear()
        yield
    upfirdn2d.cuda._plan_tiles.cache_clear()


def _mutations(source: str, arrays: list[SharedArray]) -> Iterator[Mutation]:
    """All mutations of a launch that uses these arrays."""
    for barrier in barriers():
        if barrier[0].split(".")[0].startswith(source.split(".")[0]):
            yield Mutation(barrier=barrier)
    for array in arrays:
        if array.used_bytes > 0:
            # The last element that the launch uses is then the first that is not there.
            yield Mutation(array=array.name, missing_bytes=array.bytes - array.used_bytes + 1)
            # Vectors need all of the alignment of what is declared with it, numbers less.
            shift = 2 if array.name.startswith("dynamic") else array.alignment // 2
            yield Mutation(array=array.name, shift_bytes=shift)


def _report(run: Callable[[], None]) -> str:
    try:
        run()
    except EmulatorError as error:
        return str(error).partition(">: ")[2]
    return "nothing"


def _run_ops(device: str) -> None:
    """Call ops so that all kernels with shared memory are launched, in all of their modes."""
    torch.manual_seed(0)
    f = torch.randn(24, 24, device=device)
    for layout in LAYOUTS:
        x = _tensor(1, 5, 18, 17, device=device).contiguous(memory_format=layout)
        b, scale = _tensor(5, device=device), _tensor(1, 5, device=device)
        images = torch.cat([x, x])
        for up, down in ((1, 1), (2, 1), (1, 2)):
            for taps in (f[:4, :4], f[0, :12]):
                upfirdn2d.upfirdn2d(images, taps, up, down, padding=(6, 5, 7, 6))
        for up, fu, fd in (
            (2, f[0, :12], f[1, :12]),
            (4, f[0], f[1, :12]),
            (2, f[0, :12], f[:12, :12]),
        ):
            settings = dict(up=up, down=2, padding=(9, 10, 11, 8), clamp=0.8, scale=scale)
            filtered_lrelu.filtered_lrelu(x, fu, fd, b, **settings).sum().backward()
            with torch.no_grad():
                filtered_lrelu.filtered_lrelu(x, fu, fd, b, **settings)
        for dtype in (torch.float16, torch.float32, torch.float64):
            y = _tensor(1, 40, 16, 16, device=device, dtype=dtype).contiguous(memory_format=layout)
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            shapes = (40,), (1, 40), (1, 1, 16, 16)
            b, scale, noise = (_tensor(*s, device=device, dtype=wide) for s in shapes)
            bias_act.bias_act(y, b, act="lrelu", scale=scale, noise=noise).sum().backward()


def _tensor(*shape: int, device: str, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(device, dtype).requires_grad_()


def main() -> None:
    """Print how many mutants of each kind the emulator finds."""
    mutants = find_all()
    print(f"{'kernel':20} {'broken':40} {'launches':>8} {'found':>5}")
    rows: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in mutants:
        if mutant.is_reached:
            rows.setdefault((mutant.kernel, _what(mutant.mutation)), []).append(mutant)
    for (kernel, what), group in rows.items():
        print(f"{kernel:20} {what:40} {len(group):8} {sum(m.is_found for m in group):5}")
        for mutant in group:
            if not mutant.is_found:
                print(f"    not in {mutant.specialisation}: {mutant.report}")


def _what(mutation: Mutation) -> str:
    if mutation.barrier:
        return f"no barrier in {mutation.barrier[0]}:{mutation.barrier[1]}"
    return f"{mutation.array} {'too short' if mutation.missing_bytes else 'misaligned'}"


if __name__ == "__main__":
    main()
