"""Random programs: the emulator reports races where there are some, and nowhere else."""

import itertools
from ctypes import c_int32, c_void_p
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.cuda_emulator import emulator

SOURCE = Path(__file__).parent / "test_kernels.cu"
BLOCKS, STEPS, THREADS, BYTES = 2, 9, 64, 8
# Operations of the kernel `interpret`.
READ_SHARED, WRITE_SHARED, READ, WRITE, ADD, BLOCK_BARRIER, WARP_BARRIER = range(1, 8)
LANES = [range(32), range(16), range(16, 32)]  # that its barriers of warps wait for


class Access(NamedTuple):
    """An access, and what was done before it: step of each thread until which it is."""

    block: int
    thread: int
    operation: int
    byte: int
    done: np.ndarray


def random_program(random: np.random.Generator) -> np.ndarray:
    """Operations `[BLOCKS, STEPS, THREADS]`; few threads do something between barriers."""
    program = np.zeros([BLOCKS, STEPS, THREADS], int)
    operations = random.choice([READ_SHARED, WRITE_SHARED, READ, WRITE, ADD], 2)
    for step in range(STEPS):
        kind = random.integers(4)
        if kind == 0:
            program[:, step] = BLOCK_BARRIER
        elif kind == 1:
            for block, warp in itertools.product(range(BLOCKS), range(THREADS // 32)):
                which = random.integers(len(LANES))
                for lane in LANES[which]:
                    program[block, step, 32 * warp + lane] = 8 * which + WARP_BARRIER
        else:
            lanes = random.choice([0, 1, 20, 40], random.integers(1, 4))
            for block, lane in itertools.product(range(random.integers(BLOCKS + 1)), lanes):
                byte = random.integers(3) + 3 * block * random.integers(2)
                program[block, step, lane] = 8 * byte + random.choice(operations)
    return program


def has_race(program: np.ndarray) -> bool:
    """The definition: two accesses that conflict and that barriers do not order."""
    accesses = [access for block in range(BLOCKS) for access in accesses_of(block, program[block])]
    return any(are_racing(a, b) for a, b in itertools.combinations(accesses, 2))


def accesses_of(block: int, program: np.ndarray) -> list[Access]:
    """Accesses of a block, in an order that its barriers allow."""
    done, accesses = np.full([THREADS, THREADS], -1), []  # of another thread before this one's
    for step, codes in enumerate(program):
        np.fill_diagonal(done, step)
        groups: dict[tuple, list[int]] = {}
        for thread, code in enumerate(codes):
            at, operation = divmod(int(code), 8)
            if operation == BLOCK_BARRIER:
                groups.setdefault(("block",), []).append(thread)
            elif operation == WARP_BARRIER:
                groups.setdefault((thread // 32, at), []).append(thread)
            elif operation:
                accesses.append(Access(block, thread, operation, at, done[thread].copy()))
        for threads in groups.values():
            done[threads] = done[threads].max(0)
    return accesses


def are_racing(a: Access, b: Access) -> bool:
    are_shared = [access.operation in (READ_SHARED, WRITE_SHARED) for access in (a, b)]
    operations = {a.operation, b.operation}
    if a.byte != b.byte or are_shared[0] != are_shared[1]:
        return False
    if operations in ({READ_SHARED}, {READ}, {ADD}):
        return False
    if a.block != b.block:
        return not are_shared[0]
    # The later access knows the step of the earlier one if something orders them.
    return a.thread != b.thread and b.done[a.thread] < a.done[a.thread]


def reported(program: np.ndarray, seed: int) -> bool:
    """Whether the emulator reports a race."""
    codes = torch.from_numpy(program.astype(np.int32))
    x = torch.zeros(BYTES, dtype=torch.uint8)
    args = [c_void_p(codes.data_ptr()), c_void_p(x.data_ptr()), c_int32(STEPS)]
    try:
        emulator.launch(SOURCE, "interpret", None, BLOCKS, THREADS, args, seed=seed)
    except emulator.EmulatorError as error:
        assert "race: " in str(error)
        return True
    return False


@pytest.mark.parametrize("part", range(4))
def test_races_of_random_programs_are_found_exactly(part):
    random = np.random.default_rng(part)
    expected = []
    for _ in range(150):
        program = random_program(random)
        expected.append(has_race(program))
        for seed in (0, 1):
            assert reported(program, seed) == expected[-1], program.tolist()
    assert 30 < sum(expected) < 120
