"""The emulator runs right kernels, and finds what is wrong with others."""

from ctypes import c_int32, c_void_p
from pathlib import Path

import pytest
import torch

from tests.cuda_emulator import emulator

SOURCE = Path(__file__).parent / "test_kernels.cu"


@pytest.fixture(scope="module", autouse=True)
def kernels():
    names = ["static_shared", "divergent", "leaves_early", "warp_sum", "write_at"]
    names += ["shared_beyond_end", "neighbours", "reverse<half, true>"]
    names += ["reverse<float, true>", "reverse<float, false>"]
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
def test_missing_barrier_gives_other_values(seed):
    x, y = torch.randn(3, 64), torch.empty(3, 64)
    run("reverse<float, false>", 3, 64, x, y, 64, shared_bytes=256, seed=seed)
    assert not torch.equal(y, x.flip(1))


def test_shared_memory_is_nan_at_first():
    y = torch.empty(64)
    run("static_shared", 2, 64, y)
    assert torch.equal(y[:32], torch.arange(32.0)) and y[32:].isnan().all()


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
    with pytest.raises(emulator.EmulatorError, match="not its own"):
        run("shared_beyond_end", 1, 64, y, shared_bytes=256)


def test_wrong_arguments_and_sizes_are_reported():
    y = torch.empty(1)
    with pytest.raises(emulator.EmulatorError, match=r"\[8\] bytes, the kernel takes \[8, 4\]"):
        run("write_at", 1, 1, y)
    with pytest.raises(emulator.EmulatorError, match="larger than a GPU"):
        run("write_at", 1, 1025, y, 0)
    with pytest.raises(emulator.EmulatorError, match="64 KiB"):
        run("write_at", 1, 1, y, 0, shared_bytes=70000)


def test_guarded_empty_keeps_layout():
    y = emulator.guarded_empty([2, 3, 4, 5], memory_format=torch.channels_last)
    assert y.isnan().all() and y.is_contiguous(memory_format=torch.channels_last)
    assert emulator.guarded_empty(3, dtype=torch.uint8).tolist() == [255] * 3
