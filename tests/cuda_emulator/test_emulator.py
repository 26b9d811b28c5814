"""The emulator runs right kernels, and finds what is wrong with others."""

from ctypes import c_int32, c_void_p
from pathlib import Path

import pytest
import torch

from tests.cuda_emulator import emulator

SOURCE = Path(__file__).parent / "test_kernels.cu"
ALL, HALF = "0xffffffff", "0xffff"
SYNCS = [(0, 0), (1, ALL), (2, ALL), (2, HALF), (3, 0), (4, HALF)]


@pytest.fixture(scope="module", autouse=True)
def kernels():
    names = ["static_shared", "divergent", "leaves_early", "warp_sum", "write_at"]
    names += ["shared_beyond_end", "neighbours", "reverse<half, true>"]
    names += ["reverse<float, true>", "reverse<float, false>"]
    names += [f"pass_on<{sync}, {mask}>" for sync, mask in SYNCS]
    names += ["read_then_write<true>", "read_then_write<false>", "halves", "count"]
    names += ["count_and_look", "through_global", "overrun", "known_size", "vector_load"]
    names += ["never_written", "groups", "too_large"]
    emulator.prepare(SOURCE, names)


def run(name, grid, block, *args, **kwargs):
    # Under another name than the tensors, which must live while the kernel writes into them.
    values = [c_void_p(a.data_ptr()) if isinstance(a, torch.Tensor) else c_int32(a) for a in args]
    emulator.launch(SOURCE, name, None, grid, block, values, **kwargs)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "float"), (torch.float16, "half")])
def test_blocks_exchange_through_shared_memory(dtype, name, seed):
    x = torch.randn(3, 64).to(dtype)
    y = torch.empty_like(x)
    run(f"reverse<{name}, true>", 3, (64,), x, y, 64, shared_bytes=256, seed=seed)
    assert torch.equal(y, x.flip(1))


@pytest.mark.parametrize("seed", [0, 1])
def test_missing_barrier_is_reported(seed):
    x, y = torch.randn(3, 64), torch.empty(3, 64)
    message = (
        r"race: thread \d+ (reads|writes) byte \d+ of dynamic shared memory at test_kernels.cu:"
    )
    with pytest.raises(emulator.EmulatorError, match=message):
        run("reverse<float, false>", 3, 64, x, y, 64, shared_bytes=256, seed=seed)


def test_shared_memory_is_nan_at_first():
    y = torch.empty(2, 64)
    run("static_shared", 2, 64, y)
    assert torch.equal(y[:, :32], torch.arange(32.0).expand(2, 32)) and y[:, 32:].isnan().all()


def test_reads_of_integers_that_were_never_written_are_reported():
    y = torch.zeros(32, dtype=torch.int32)
    with pytest.raises(emulator.EmulatorError, match="thread 0 reads byte 0 of tile"):
        run("never_written", 1, 32, y)


@pytest.mark.parametrize(
    ("sync", "threads", "is_right"),
    [
        *[((0, 0), 32, False), ((0, 0), 1, True)],
        *[((1, ALL), 32, False), ((2, ALL), 32, True), ((2, ALL), 64, False)],
        *[((3, 0), 32, True), ((3, 0), 64, True), ((4, HALF), 16, True), ((4, HALF), 32, False)],
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_barriers_of_warps_order_their_lanes_only(sync, threads, is_right, seed):
    y = torch.empty(threads, dtype=torch.int32)
    name = f"pass_on<{sync[0]}, {sync[1]}>"
    if is_right:
        run(name, 1, threads, y, seed=seed)
        assert y.tolist() == [i ^ threads // 2 for i in range(threads)]
    else:
        with pytest.raises(emulator.EmulatorError, match=r"race: .* of tile .*:\d+"):
            run(name, 1, threads, y, seed=seed)


def test_lanes_that_their_own_mask_leaves_out_are_reported():
    y = torch.empty(32, dtype=torch.int32)
    with pytest.raises(emulator.EmulatorError, match=r"thread 16 .* its own mask"):
        run(f"pass_on<2, {HALF}>", 1, 32, y)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_write_after_the_reads_of_others_is_reported(seed):
    for threads in (32, 64):
        y = torch.empty(threads, dtype=torch.int32)
        with pytest.raises(emulator.EmulatorError, match=r"race: .* of number"):
            run("read_then_write<false>", 1, threads, y, seed=seed)
    run("read_then_write<true>", 1, 32, y[:32], seed=seed)
    with pytest.raises(emulator.EmulatorError, match=r"race: .* of number"):
        run("read_then_write<true>", 1, 64, y, seed=seed)


def test_neighbouring_bytes_may_belong_to_different_threads():
    y = torch.empty(64, dtype=torch.half)
    run("halves", 1, 64, y, seed=1)
    assert torch.equal(y, torch.arange(64).half())


def test_atomic_operations_race_with_others_only():
    total, y = torch.zeros(1), torch.empty(128)
    run("count", 4, 32, total)
    assert total.item() == 128
    with pytest.raises(emulator.EmulatorError, match=r"race: .* address .* another block"):
        run("count_and_look", 4, 1, total, y)
    with pytest.raises(emulator.EmulatorError, match=r"race: .* address .* thread"):
        run("count_and_look", 1, 32, total, y)


def test_barriers_order_accesses_to_tensors_within_blocks_only():
    x, y = torch.empty(2, 64, dtype=torch.int32)
    run("through_global", 1, 64, x, y, 5)
    assert y.tolist() == [(i + 5) % 64 for i in range(64)]
    run("through_global", 2, 32, x, y, 0)
    for distance in (32, -32 % 64, 1):
        with pytest.raises(emulator.EmulatorError, match="another block"):
            run("through_global", 2, 32, x, y, distance)


def test_two_blocks_that_write_the_same_are_reported():
    with pytest.raises(emulator.EmulatorError, match=r"writes address .* another block wrote"):
        run("write_at", 2, 1, torch.empty(4), 3)


def test_overruns_of_arrays_in_shared_memory_are_reported():
    y = torch.empty(32, dtype=torch.int32)
    run("overrun", 1, 32, y, 0)
    assert y.eq(0).all()
    for first, byte in ((1, 128), (-1, -4), (32, 128), (64, 256)):
        with pytest.raises(emulator.EmulatorError, match=f"byte {byte} of before, which has 128"):
            run("overrun", 1, 32, y, first)


def test_overruns_within_a_structure_are_reported():
    y = torch.empty(1, dtype=torch.int32)
    run("known_size", 1, 1, y, 3)
    with pytest.raises(emulator.EmulatorError, match="element 4, beyond the end"):
        run("known_size", 1, 1, y, 4)


def test_misaligned_vectors_are_reported():
    x, y = torch.arange(16.0), torch.empty(1)
    run("vector_load", 1, 1, x, y, 4)
    assert y.item() == 4 + 7
    with pytest.raises(emulator.EmulatorError, match=r"test_kernels.cu:\d+.*not a multiple of 16"):
        run("vector_load", 1, 1, x, y, 2)


def test_lanes_exchange_doubles_within_groups():
    x, y = torch.randn(32, dtype=torch.double), torch.empty(32, dtype=torch.double)
    run("groups", 1, 32, x, y, seed=1)
    want = 100 * x.view(4, 8).sum(1) + x.view(4, 8)[:, 1]
    torch.testing.assert_close(y, want.repeat_interleave(8))


@pytest.mark.parametrize("seed", [0, 5])
def test_lanes_of_a_warp_exchange(seed):
    x, y, bits = torch.randn(64), torch.empty(64), torch.empty(64, dtype=torch.int32)
    run("warp_sum", 1, 64, x, y, bits, seed=seed)
    torch.testing.assert_close(y, x.view(2, 32).sum(1).repeat_interleave(32))
    expected = ((x.view(2, 32) > 0) * 2 ** torch.arange(32)).sum(1).to(torch.int32)
    assert torch.equal(bits, expected.repeat_interleave(32))


def test_lanes_shift_and_those_at_the_end_keep_their_value():
    x, y = torch.arange(32.0), torch.empty(32)
    run("neighbours", 1, 32, x, y, seed=1)
    left = [0, *range(31)]
    right = [*range(2, 32), 30, 31]
    assert y.tolist() == [100 * a + b for a, b in zip(left, right, strict=True)]


@pytest.mark.parametrize(
    ("name", "message"),
    [("divergent", "line (24 and of line 27|27 and of line 24)"), ("leaves_early", "1 have left")],
)
def test_divergent_barriers_are_reported(name, message):
    with pytest.raises(emulator.EmulatorError, match=message):
        run(name, 1, 32, torch.empty(32, dtype=torch.int32))


def test_accesses_beyond_tensors_are_reported():
    y = emulator.guarded(torch.zeros(8))
    run("write_at", 1, 1, y, 7)
    assert y.tolist() == [0] * 7 + [1]
    for index in (8, -2000):
        with pytest.raises(emulator.EmulatorError, match="not its own"):
            run("write_at", 1, 1, y, index)
    with pytest.raises(emulator.EmulatorError, match="byte 256 of dynamic shared memory"):
        run("shared_beyond_end", 1, 64, y, shared_bytes=256)


def test_wrong_arguments_and_sizes_are_reported():
    y = torch.empty(1)
    with pytest.raises(emulator.EmulatorError, match=r"\[8\] bytes, the kernel takes \[8, 4\]"):
        run("write_at", 1, 1, y)
    with pytest.raises(emulator.EmulatorError, match="larger than a GPU"):
        run("write_at", 1, 1025, y, 0)
    with pytest.raises(emulator.EmulatorError, match="larger than a GPU"):
        run("write_at", 1, (1, 2, 65), y, 0)
    with pytest.raises(emulator.EmulatorError, match="64 KiB"):
        run("write_at", 1, 1, y, 0, shared_bytes=70000)
    with pytest.raises(emulator.EmulatorError, match="48 KiB of static"):
        run("too_large", 1, 1, y)


def test_guarded_empty_keeps_layout():
    y = emulator.guarded_empty([2, 3, 4, 5], memory_format=torch.channels_last)
    assert y.isnan().all() and y.is_contiguous(memory_format=torch.channels_last)
    assert emulator.guarded_empty(3, dtype=torch.uint8).tolist() == [255] * 3
