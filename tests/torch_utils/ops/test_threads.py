"""The kernels under threads, after forks, and what they leave unwritten."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from torch_utils.ops.cpu import compiler
from torch_utils.ops.filtered_lrelu import filtered_lrelu
from torch_utils.ops.upfirdn2d import upfirdn2d


@pytest.fixture(autouse=True)
def needs_kernels():
    if compiler.library() is None:
        pytest.skip("no C++ compiler")


@pytest.fixture
def num_threads():
    """Sets the number of threads for the length of a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def gradients(seed: int, dtype: torch.dtype, channels_last: bool, channels: int = 19) -> list:
    """Outputs and gradients of the ops with everything that a layer uses."""
    generator = torch.Generator().manual_seed(seed)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn([2, channels, 37, 70], generator=generator).to(dtype)
    x = x.to(memory_format=memory_format).requires_grad_()
    b = torch.randn([channels], generator=generator).to(dtype).requires_grad_()
    fu, fd = torch.randn([8], generator=generator), torch.randn([6, 6], generator=generator)
    outputs = []
    for f in (fd, fu):
        y = filtered_lrelu(x, fu, f, b, up=2, down=2, padding=9, clamp=2.0)
        outputs += [y, *torch.autograd.grad(y.square().sum(), [x, b])]
    y = upfirdn2d(x, fd, up=[1, 2], down=[2, 1], padding=[3, 2, -4, 7])
    return [*outputs, y, *torch.autograd.grad(y.square().sum(), [x])]


def assert_equal(got: list[torch.Tensor], want: list[torch.Tensor]) -> None:
    """Bitwise."""
    assert len(got) == len(want)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(num_threads, dtype, channels_last):
    results = []
    for count in (1, 2, 3):
        num_threads(count)
        results.append(gradients(0, dtype, channels_last))
    assert_equal(results[1], results[0])
    assert_equal(results[2], results[0])


def test_threads_of_python_may_call_at_once(num_threads):
    """Kernels run without Python's lock, each thread in memory of its own."""
    num_threads(2)
    tasks = [(seed, torch.float32, seed % 2 == 0, 5 + 3 * seed) for seed in range(4)]
    want = [gradients(*task) for task in tasks]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for got, wanted in zip(pool.map(lambda t: gradients(*t), tasks), want, strict=True):
                assert_equal(got, wanted)


FORKING_PROGRAM = """
import os
import torch
from torch_utils.ops.upfirdn2d import upsample2d

torch.set_num_threads(2)
x, f = torch.randn(4, 16, 64, 64), torch.ones(4)
want = upsample2d(x, f)  # starts the threads
pid = os.fork()
if pid == 0:
    got = upsample2d(x, f)
    os._exit(0 if (got.numpy() == want.numpy()).all() else 1)
assert os.waitpid(pid, 0)[1] == 0
loader = torch.utils.data.DataLoader(
    x, num_workers=1, collate_fn=lambda images: upsample2d(torch.stack(images), f)
)
(got, *_) = loader
assert torch.equal(got, want[:1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_processes_may_call():
    """OpenMP's threads do not survive: waiting for them, the child would hang."""
    subprocess.run(
        [sys.executable, "-c", FORKING_PROGRAM],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        check=True,
        timeout=120,
    )


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_all_of_the_outputs_is_written(dtype, channels_last):
    """Deterministic algorithms fill fresh memory with NaN, fresh masks with ones."""
    want = gradients(0, dtype, channels_last)
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert torch.empty(1).isnan()
        got = gradients(0, dtype, channels_last)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_equal(got, want)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels last"])
def test_channels_do_not_mix(channels_last):
    """Also where a vector holds several: NaN in one channel stays there."""
    x = torch.randn(2, 19, 9, 8)
    x[1, 7, 4, 3] = float("nan")
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    for y in (upfirdn2d(x, torch.ones(4), up=2, padding=2), filtered_lrelu(x, clamp=1.0)):
        is_nan = y.isnan()
        assert is_nan[1, 7].any()
        is_nan[1, 7] = False
        assert not is_nan.any()
