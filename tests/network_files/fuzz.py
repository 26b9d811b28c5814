"""Damage files that load, at random, and see whether the loader survives it.

Each file is made from its number alone, so that one that fails can be made again:

    python -m tests.network_files.fuzz --count 100000 --outdir /tmp/fuzz
"""

import collections
import functools
import inspect
import itertools
import pickletools
import re
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from network_files import safetensors_file
from tests.network_files import seeds
from tests.network_files.victim import Report, Victim
from torch_utils import layers, persistence
from training import networks_stylegan2, networks_stylegan3

MAX_SECONDS = 5.0  # of the processor, for one file
MAX_HOT_BYTES = 400  # of one argument that are worth changing: what follows are weights
EXTREMES = (0, -1, 1, 255, 65536, 2**31 - 1, -(2**31), 2**40, 2**63, 2**64, -(2**70), 10**300)


@dataclass(frozen=True)
class Seed:
    """A file that loads, and where its parts begin."""

    data: bytes
    bounds: tuple[int, ...]  # of instructions, with the end
    hot: tuple[int, ...]  # bytes that are no weights


def parse(data: bytes) -> Seed:
    """Find the parts of a pickle or a safetensors file."""
    if safetensors_file.is_safetensors(data):
        size = 8 + int.from_bytes(data[:8], "little")
        words = [match.start() for match in re.finditer(rb"[\w.]+|\W", data[8:size])]
        bounds = (0, *(8 + start for start in words), size, len(data))
        return Seed(data, bounds, tuple(range(size)))
    data = without_frames(data)
    bounds = (*(position for _, _, position in pickletools.genops(data)), len(data))
    hot = [
        i
        for start, end in itertools.pairwise(bounds)
        for i in range(start, min(end, start + MAX_HOT_BYTES))
    ]
    return Seed(data, bounds, tuple(hot))


def without_frames(data: bytes) -> bytes:
    """The same pickle, in which instructions can be added and left out."""
    frames = [pos for opcode, _, pos in pickletools.genops(data) if opcode.name == "FRAME"]
    for position in reversed(frames):
        data = data[:position] + data[position + 9 :]
    return data


@functools.cache
def parsed_seeds() -> tuple[Seed, ...]:
    """All seeds, and one with its frames."""
    files = seeds.all_seeds()
    parsed = [parse(data) for data in files.values()]
    return (*parsed, Seed(files["stylegan3"], (0, len(files["stylegan3"])), parsed[0].hot))


def mutant(number: int) -> bytes:
    """The damaged file with this number."""
    rng = np.random.default_rng(number)
    base = _choose(rng, parsed_seeds())
    kind = _choose(rng, KINDS)
    data = kind(rng, base)
    return (
        data if rng.random() < 0.7 else _choose(rng, KINDS)(rng, Seed(data, *_clipped(base, data)))
    )


def _clipped(seed: Seed, data: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where parts are after a change: wrong behind it, which does not matter."""
    bounds = tuple(position for position in seed.bounds if position < len(data))
    hot = tuple(position for position in seed.hot if position < len(data))
    return (*(bounds or (0,)), len(data)), hot or (0,)


def _choose(rng: np.random.Generator, items):
    return items[int(rng.integers(len(items)))]


def _slice(rng: np.random.Generator, seed: Seed, max_length: int = 30) -> tuple[int, int]:
    """Some instructions in a row."""
    first = int(rng.integers(max(len(seed.bounds) - 1, 1)))
    last = min(first + int(rng.integers(1, max_length)), len(seed.bounds) - 1)
    return seed.bounds[first], seed.bounds[last]


def _flip(rng, seed: Seed) -> bytes:
    data = bytearray(seed.data)
    for _ in range(int(rng.integers(1, 4))):
        if data:
            position = min(_choose(rng, seed.hot), len(data) - 1)
            values = rng.integers(256), data[position] ^ (1 << rng.integers(8)), data[position] + 1
            data[position] = int(_choose(rng, values)) % 256
    return bytes(data)


def _delete(rng, seed: Seed) -> bytes:
    start, end = _slice(rng, seed)
    return seed.data[:start] + seed.data[end:]


def _repeat(rng, seed: Seed) -> bytes:
    start, end = _slice(rng, seed)
    times = int(_choose(rng, (2, 3, 1000)))
    part = seed.data[start:end]
    return seed.data[:start] + part * (times if len(part) < 1000 else 2) + seed.data[end:]


def _insert(rng, seed: Seed) -> bytes:
    other = _choose(rng, parsed_seeds())
    start, end = _slice(rng, other)
    position = _choose(rng, seed.bounds)
    return seed.data[:position] + other.data[start:end] + seed.data[position:]


def _replace(rng, seed: Seed) -> bytes:
    other = _choose(rng, parsed_seeds())
    start, end = _slice(rng, seed, 5)
    other_start, other_end = _slice(rng, other, 5)
    return seed.data[:start] + other.data[other_start:other_end] + seed.data[end:]


def _splice(rng, seed: Seed) -> bytes:
    other = _choose(rng, parsed_seeds())
    return seed.data[: _choose(rng, seed.bounds)] + other.data[_choose(rng, other.bounds) :]


def _truncate(rng, seed: Seed) -> bytes:
    return seed.data[: int(rng.integers(len(seed.data) + 1))]


def _number(rng, seed: Seed) -> bytes:
    """Another number in the place of one, or of something else."""
    small = [
        i
        for i, start in enumerate(seed.bounds[:-1])
        if start < len(seed.data) and seed.data[start] in b"KMJG\x88\x89"
    ]
    if not small or safetensors_file.is_safetensors(seed.data):
        return _digits(rng, seed)
    i = _choose(rng, small)
    value = _choose(rng, EXTREMES)
    size = (value.bit_length() // 8) + 1
    new = b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
    if rng.random() < 0.3:
        new = b"G" + np.array(rng.choice([np.nan, np.inf, 1e-300, 1e300, -1.0]), ">f8").tobytes()
    return seed.data[: seed.bounds[i]] + new + seed.data[seed.bounds[i + 1] :]


def _digits(rng, seed: Seed) -> bytes:
    """Another number in a JSON text, whose length is corrected."""
    size = int.from_bytes(seed.data[:8], "little")
    text = seed.data[8 : 8 + size]
    numbers = list(re.finditer(rb"\d+", text))
    if not numbers:
        return _flip(rng, seed)
    match = _choose(rng, numbers)
    value = _choose(rng, (*EXTREMES, "NaN", "1e999", "null", "[]", '"x"', "{}", "1.5"))
    text = text[: match.start()] + str(value).encode() + text[match.end() :]
    return len(text).to_bytes(8, "little") + text + seed.data[8 + size :]


def _options(rng, seed: Seed) -> bytes:
    """A network that was constructed with other options."""
    networks = {"D": seeds.networks()["D"], "G_ema": seeds.generator(), "G": _alias_free()}
    key = _choose(rng, tuple(networks))
    net = seeds.record(networks[key])
    state = net.meta["state"]
    kwargs = state["_init_kwargs"] = dict(state["_init_kwargs"])
    for _ in range(int(rng.integers(1, 4))):
        target = kwargs
        if rng.random() < 0.3:
            target = kwargs.setdefault(_choose(rng, ("mapping_kwargs", "block_kwargs")), {})
        if isinstance(target, dict):
            target[_choose(rng, OPTIONS)] = _value(rng)
    if rng.random() < 0.1:
        state["_init_args"] = tuple(_value(rng) for _ in range(int(rng.integers(1, 8))))
    return seeds.dumps({"G_ema": seeds.record(), key: net})


@functools.cache
def _alias_free():
    return seeds.networks()["G"]


def _value(rng, depth: int = 0):
    """An option that makes sense, or makes none."""
    kind = int(rng.integers(9))
    if kind == 0:
        return _choose(rng, EXTREMES)
    if kind == 1:
        return float(10 ** rng.uniform(-320, 300)) * _choose(rng, (-1, 1))
    if kind == 2:
        values = True, False, None, float("nan"), float("inf"), 1j, "", "lrelu", "x" * 5000, b"x"
        return _choose(rng, values)
    if kind == 3 and depth < 3:
        return [_value(rng, depth + 1) for _ in range(int(rng.integers(5)))]
    if kind == 4 and depth < 3:
        return {_choose(rng, OPTIONS): _value(rng, depth + 1)}
    if kind == 5:
        return [_value(rng, 3)] * int(_choose(rng, (1, 100, 10_000)))
    if kind == 6:
        return float(rng.uniform(-2, 40))
    return int(2 ** rng.uniform(0, 18))


def _names_of_options() -> tuple[str, ...]:
    """What the constructors of our networks take."""
    names = {"synthesis_kwargs", "class_name"}
    for module in (networks_stylegan2, networks_stylegan3, layers):
        for cls in vars(module).values():
            if persistence.is_persistent(cls):
                names.update(inspect.signature(cls).parameters)
    return tuple(sorted(names))


OPTIONS = _names_of_options()
KINDS = (
    _flip,
    _flip,
    _delete,
    _repeat,
    _insert,
    _replace,
    _splice,
    _truncate,
    _number,
    _number,
    _options,
    _options,
)


@click.command()
@click.option("--count", type=int, default=10_000, show_default=True, help="Number of files.")
@click.option("--first", type=int, default=0, show_default=True, help="Number of the first.")
@click.option("--max-seconds", type=float, default=float("inf"), help="Stop after this time.")
@click.option("--outdir", type=click.Path(path_type=Path), required=True, help="For what fails.")
def main(count: int, first: int, max_seconds: float, outdir: Path) -> None:
    """Load damaged files in a process of their own; save those that it does not survive."""
    outdir.mkdir(parents=True, exist_ok=True)
    victim, reports = Victim(), collections.Counter()
    slowest = Report("none")
    start = time.monotonic()
    num = num_failed = 0
    while num < count and time.monotonic() - start < max_seconds:
        number = first + num
        data = mutant(number)
        report = victim.load(data)
        num += 1
        message = re.sub(r"[\d'\"].*", "", report.message)[:70]
        reports[f"{report.outcome}: {message}"] += 1
        if report.seconds > slowest.seconds:
            slowest = report
            click.echo(
                f"{number}: {report.seconds:.2f} s, {report.outcome}: {report.message[:200]}"
            )
        if complaint := report.complaint(MAX_SECONDS):
            num_failed += 1
            (outdir / f"{number}.pkl").write_bytes(data)
            click.echo(f"{number} FAILED: {complaint}")
    victim.close()
    for line, times in reports.most_common():
        click.echo(f"{times:8} {line}")
    click.echo(f"{num} files, {num_failed} failed, slowest {slowest.seconds:.2f} s")


if __name__ == "__main__":
    main()
