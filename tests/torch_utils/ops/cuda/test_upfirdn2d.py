"""The CUDA kernels of upfirdn2d, run by the emulator, against the reference."""

import functools
import itertools
import math

import pytest
import torch

from tests.cuda_emulator import emulator
from torch_utils.ops import upfirdn2d as ops
from torch_utils.ops.calls import UpFirDn
from torch_utils.ops.cuda import launcher, upfirdn2d
from torch_utils.ops.cuda.recorder import record_launches
from torch_utils.ops.reference import upfirdn2d as reference

TOLERANCES = {
    torch.float16: 2e-3,
    torch.bfloat16: 2e-2,
    torch.float32: 2e-6,
    torch.float64: 1e-13,
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
FACTORS = [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2)), ((3, 1), (2, 4))]


@pytest.fixture(scope="module")
def kernels():
    """Most kernels of these tests, built at once, which takes less time."""
    calls = itertools.product(
        [(4, 4), (12,), (5,)], FACTORS, [(9, 9), (40, 40)], ["contiguous", "channels_last"]
    )
    with record_launches() as kernels:
        for shape, (up, down), size, layout in calls:
            x = torch.empty(1, 9, *size, device="meta")
            x = x.contiguous(memory_format=LAYOUTS[layout])
            for dtype in TOLERANCES if (up, down) == FACTORS[1] else [torch.float32]:
                f = torch.empty(shape, device="meta")
                upfirdn2d.upfirdn2d(x.to(dtype), f, UpFirDn(up, down, (6, 5, 7, 6)))
    emulator.prepare(upfirdn2d.SOURCE, sorted(name for _, name in kernels))


@pytest.fixture(autouse=True)
def emulated(kernels, monkeypatch):
    """Kernels run on the CPU, in guarded memory, with their threads in random order."""
    monkeypatch.setattr(launcher, "launch", functools.partial(emulator.launch, seed=1))
    monkeypatch.setattr(torch, "empty", emulator.guarded_empty)


def check(x, f, up=(1, 1), down=(1, 1), padding=(0, 0, 0, 0), flip_filter=False, gain=1.0):
    """Compare with the reference, which computes in float64 with the taps of the type of `f`."""
    call = UpFirDn(up, down, padding, flip_filter, gain)
    want = reference.upfirdn2d(x.double(), f, call)
    got = upfirdn2d.upfirdn2d(emulator.guarded(x), f, call)
    assert got.dtype == x.dtype
    assert got.shape == want.shape
    scale = want.abs().amax().item() if want.numel() else 1
    torch.testing.assert_close(
        got.double(), want, rtol=0, atol=TOLERANCES[x.dtype] * max(scale, 1e-3)
    )
    return got


def taps(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def images(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("shape", [(4, 4), (12,), (3, 2), (5,)], ids=str)
@pytest.mark.parametrize(("up", "down"), FACTORS, ids=str)
def test_matches_reference(up, down, shape):
    check(images(2, 3, 20, 19), taps(*shape), up, down, padding=(5, 4, 2, 6), gain=2.5)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(4, 4), (12,), (5,)], ids=str)
def test_types(shape, dtype):
    x = images(2, 3, 20, 19, dtype=dtype)
    check(x, taps(*shape), up=(2, 2), padding=(5, 4, 2, 6), gain=2.5)


@pytest.mark.parametrize("padding", [(1, 2, 2, 1), (-3, 1, 2, -5), (0, 0, -1, -2)], ids=str)
@pytest.mark.parametrize("flip_filter", [False, True])
@pytest.mark.parametrize("shape", [(4, 4), (12,)], ids=str)
@pytest.mark.parametrize(("up", "down"), FACTORS, ids=str)
def test_padding_and_flip(up, down, shape, flip_filter, padding):
    check(images(1, 2, 23, 17), taps(*shape), up, down, padding, flip_filter)


@pytest.mark.parametrize("size", [(67, 70), (16, 9), (40, 130)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 4), (12,)], ids=str)
@pytest.mark.parametrize(("up", "down"), FACTORS[:3], ids=str)
def test_many_tiles(up, down, shape, layout, size):
    x = images(2, 37, *size) if max(size) < 20 else images(1, 3, *size)
    x = x.contiguous(memory_format=LAYOUTS[layout])
    y = check(x, taps(*shape), up, down, padding=(6, 5, 7, 6))
    assert y.is_contiguous(memory_format=LAYOUTS[layout])


@pytest.mark.parametrize("shape", [(4, 4), (12,)], ids=str)
@pytest.mark.parametrize(("up", "down"), FACTORS, ids=str)
def test_one_pixel(up, down, shape):
    check(images(3, 2, 1, 1), taps(*shape), up, down, padding=(7, 6, 6, 7))


@pytest.mark.parametrize("shape", [(4, 4), (12,), (5,)], ids=str)
def test_any_strides(shape):
    x = images(19, 2, 4, 26).permute(1, 2, 3, 0)[:, 1:, ::2]
    assert not x.is_contiguous()
    check(x, taps(*shape), up=(2, 2), padding=(6, 5, 6, 5))


@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 4), (12,)], ids=str)
@pytest.mark.parametrize(("up", "down"), FACTORS[:3], ids=str)
def test_any_order_of_threads(up, down, shape, layout, seed, monkeypatch):
    monkeypatch.setattr(launcher, "launch", functools.partial(emulator.launch, seed=seed))
    x = images(1, 9, 40, 40).contiguous(memory_format=LAYOUTS[layout])
    check(x, taps(*shape), up, down, padding=(6, 5, 7, 6))


@pytest.mark.parametrize("size", [(2, 3), (8, 15), (9, 16), (33, 63), (31, 65), (7, 139)], ids=str)
@pytest.mark.parametrize("shape", [(4, 4), (12,)], ids=str)
@pytest.mark.parametrize(("up", "down"), FACTORS[:3], ids=str)
def test_edges_of_tiles_and_patches(up, down, shape, size):
    """Outputs of the sizes of the inputs, one more and one less."""
    pad = (shape[0] - 1) // 2
    for more in (-1, 0, 1):
        padding = (pad, shape[0] - 1 - pad + more) * 2
        check(images(1, 2, *size), taps(*shape), up, down, padding)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 31, 33, 67])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("up", "down"), FACTORS[:3], ids=str)
def test_any_number_of_channels(up, down, layout, channels):
    x = images(2, channels, 5, 4).contiguous(memory_format=LAYOUTS[layout])
    check(x, taps(4, 4), up, down, padding=(2, 1, 2, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("size", [(9, 8), (9, 9)], ids=str)
def test_images_that_start_anywhere(size, dtype):
    buffer = emulator.guarded(images(2 * 3 * size[0] * size[1] + 1, dtype=dtype))
    x = buffer[1:].view(2, 3, *size)
    got = upfirdn2d.upfirdn2d(x, taps(4, 4), UpFirDn(padding=(1, 1, 1, 1)))
    want = reference.upfirdn2d(x.double(), taps(4, 4), UpFirDn(padding=(1, 1, 1, 1)))
    torch.testing.assert_close(got.double(), want, rtol=0, atol=10 * TOLERANCES[dtype])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 4), (12,)], ids=str)
def test_blocks_that_compute_several_tiles(shape, layout, monkeypatch):
    """As they do where there are more tiles than CUDA allows blocks."""
    monkeypatch.setattr(upfirdn2d, "MAX_GRID_DEPTH", 2)
    upfirdn2d._plan_tiles.cache_clear()
    x = images(3, 70, 6, 7).contiguous(memory_format=LAYOUTS[layout])
    try:
        check(x, taps(*shape), up=(2, 2), padding=(6, 5, 7, 6))
    finally:
        upfirdn2d._plan_tiles.cache_clear()


def test_image_too_high_for_a_grid(monkeypatch):
    used = []

    def launch(source, name, *args, **kwargs):
        used.append(name.partition("<")[0])
        emulator.launch(source, name, *args, **kwargs)

    monkeypatch.setattr(launcher, "launch", launch)
    monkeypatch.setattr(upfirdn2d, "MAX_GRID_HEIGHT", 1)
    check(images(1, 1, 900, 2), taps(4, 4), padding=(2, 1, 2, 1))
    assert used == ["upfirdn2d_general"]


@pytest.mark.parametrize("shape", [(4, 4), (12,), (5,)], ids=str)
@pytest.mark.parametrize(("up", "down"), FACTORS, ids=str)
def test_nan_spreads_as_far_as_the_filter(up, down, shape):
    x = images(1, 2, 23, 17)
    x[0, 1, 11, 8] = torch.nan
    call = UpFirDn(up, down, (6, 5, 7, 6))
    got = upfirdn2d.upfirdn2d(emulator.guarded(x), taps(*shape), call)
    want = reference.upfirdn2d(x.double(), taps(*shape), call)
    assert 0 < want.isnan().sum() < want.numel() / 2
    torch.testing.assert_close(got.double(), want, rtol=0, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("width", range(1, 10))
def test_pieces_of_rows_of_the_general_kernel(width, layout):
    x = images(2, 3, 4, width).contiguous(memory_format=LAYOUTS[layout])
    check(x, taps(3, 2), up=(3, 2), down=(2, 3), padding=(2, 3, 1, 4))


def test_general_kernel_counts_positions_in_the_stuffed_image():
    """They can be beyond 2^31 where no offset is."""
    x = torch.empty(1, 1, 2**14, 4, device="meta")
    call = UpFirDn(up=(1, 2**18), down=(1, 2**18))
    plan = upfirdn2d._plan_general(upfirdn2d._layout(x), (2, 2), call, x.dtype)
    assert plan.specialisation.endswith("long long>")
    call = UpFirDn(up=(1, 2**16), down=(1, 2**16))
    plan = upfirdn2d._plan_general(upfirdn2d._layout(x), (2, 2), call, x.dtype)
    assert plan.specialisation.endswith("int>")


def plan_of(size, layout):
    x = torch.empty(2, 64, size, size, device="meta", dtype=torch.float16)
    x = x.contiguous(memory_format=LAYOUTS[layout])
    return upfirdn2d._plan_tiles(upfirdn2d._layout(x), (4, 4), UpFirDn(padding=(2, 1, 2, 1)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_kernel_for_images_of_all_sizes(layout):
    sizes = (4, 5, 16, 17, 64, 65, 256, 257)
    assert len({plan_of(size, layout).specialisation for size in sizes}) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [64, 65, 128, 129, 256, 257])
def test_a_thread_computes_sixteen_outputs(size, layout):
    plan = plan_of(size, layout)
    num_threads = math.prod(plan.grid) * math.prod(plan.block)
    assert 16 * num_threads < 1.2 * math.prod(plan.shape)


def test_wide_index(monkeypatch):
    """The kernels for tensors of more than 2^31 elements, on smaller ones."""
    monkeypatch.setattr(upfirdn2d, "_index_type", lambda *_: "long long")
    check(images(2, 3, 9, 8), taps(4, 4), up=(2, 2), padding=(3, 2, 3, 2))
    check(images(2, 3, 9, 8), taps(3, 3), up=(3, 3), padding=(3, 2, 3, 2))


def test_index_type_follows_the_largest_offset():
    def index_type(*strides):
        return upfirdn2d._index_type(torch.empty_strided([3, 1, 2, 2], strides, device="meta"))

    assert index_type(4, 4, 2, 1) == "int"
    assert index_type(2**30 - 2, 4, 2, 1) == "int"
    assert index_type(2**30 - 1, 4, 2, 1) == "long long"


def test_empty_batch_launches_nothing(monkeypatch):
    monkeypatch.setattr(launcher, "launch", None)
    y = upfirdn2d.upfirdn2d(torch.zeros(0, 3, 5, 5), taps(4, 4), UpFirDn(up=(2, 2)))
    assert y.shape == (0, 3, 7, 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_taps_of_a_converted_network(dtype):
    f = taps(4, 4).to(dtype)
    x = images(1, 2, 9, 8, dtype=dtype)
    check(x, f, up=(2, 2), padding=(3, 2, 3, 2))


def test_op_sends_meta_tensors_to_no_device():
    """What is recorded there is what a CUDA device would run."""
    x = torch.empty(1, 8, 32, 32, device="meta", dtype=torch.float16)
    y = ops.upsample2d(x, torch.empty(4, 4, device="meta"))
    assert y.shape == (1, 8, 64, 64)
    assert y.dtype == torch.float16
