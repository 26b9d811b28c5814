import pytest
import torch
import torch.nn.functional as F

from torch_utils.ops.calls import Convolution
from torch_utils.ops.conv2d_gradfix import conv2d, conv_transpose2d, no_weight_gradients
from torch_utils.ops.cpu import convolution as cpu
from torch_utils.ops.selection import force_reference

TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 1e-2}  # of the largest element

# Samples, input channels, output channels, height, width, stride, padding.
CASES = {
    "plain": (2, 32, 32, 9, 9, 1, 1),
    "odd-channels": (3, 19, 23, 12, 7, 1, 2),
    "one-of-all": (1, 1, 1, 3, 3, 1, 0),
    "wider-padding-than-kernel": (1, 3, 5, 4, 5, 1, [4, 3]),
    "single-row": (2, 5, 33, 1, 40, 1, 1),
    "many-channels": (1, 70, 49, 6, 6, 1, 1),
    "several-strips": (1, 40, 17, 70, 52, 1, 2),
    "strided": (2, 16, 32, 17, 17, 2, 0),
    "strided-even": (2, 33, 20, 8, 12, 2, [1, 2]),
    "strided-strips": (1, 48, 31, 61, 45, 2, 1),
}

needs = pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(
            dtype,
            marks=pytest.mark.skipif(
                not cpu.is_supported(dtype), reason="not the instructions of this processor"
            ),
        )
        for dtype in TOLERANCES
    ],
    ids=str,
)


@pytest.fixture
def always(monkeypatch):
    """Use the kernels even where PyTorch's operations are faster."""
    monkeypatch.setattr(cpu, "is_fast", lambda *args: True)


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that have been launched."""
    names = []
    launch = cpu._launch

    def spy(name, *args):
        names.append(name)
        launch(name, *args)

    monkeypatch.setattr(cpu, "_launch", spy)
    return names


@needs
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernels_match_pytorch_in_values_and_gradients_of_both_orders(
    case, dtype, always, launched
):
    tensors, settings = _tensors(case, dtype)
    got = _orders(conv2d, tensors, settings)
    assert set(launched) == {"output", "input", "kernel"}
    expected = _orders(F.conv2d, [t.double() for t in tensors], settings)
    for value, exact in zip(got, expected, strict=True):
        _assert_close(value, exact, 4 * TOLERANCES[dtype])


@needs
@pytest.mark.parametrize("output_padding", [0, 1])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_transposed_convolutions_match_pytorch(padding, output_padding, dtype, always, launched):
    tensors, _ = _tensors((2, 20, 35, 6, 9, 1, 1), dtype)
    settings = dict(stride=2, padding=padding, output_padding=output_padding)
    y, k, _ = tensors
    k = k.transpose(0, 1).contiguous()
    dx = torch.randn_like(F.conv_transpose2d(y, k, **settings))
    got = _orders(conv_transpose2d, [y, k, dx], settings)
    assert set(launched) == {"output", "input", "kernel"}
    exact = [t.double() for t in (y, k, dx)]
    for value, reference in zip(got, _orders(F.conv_transpose2d, exact, settings), strict=True):
        _assert_close(value, reference, 4 * TOLERANCES[dtype])


@needs
def test_kernels_of_any_strides_are_read_in_place(dtype, always):
    (x, k, _), settings = _tensors(CASES["plain"], dtype)
    for strange in (k.transpose(0, 1), k.transpose(2, 3), k[:, :, :1].expand_as(k)):
        with force_reference():
            expected = conv2d(x.double(), strange.double(), **settings)
        _assert_close(conv2d(x, strange, **settings), expected, TOLERANCES[dtype])


@needs
@pytest.mark.parametrize("case", ["several-strips", "strided-strips", "many-channels"])
def test_results_do_not_depend_on_the_number_of_threads_in_any_bit(case, dtype, always):
    tensors, settings = _tensors(CASES[case], dtype)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(_orders(conv2d, tensors, settings))
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        for first, other in zip(results[0], others, strict=True):
            assert torch.equal(first, other)


@needs
def test_infinity_stays_with_its_channel_and_neighbours(dtype, always):
    (x, k, _), settings = _tensors(CASES["plain"], dtype)
    x[0, 3, 4, 4] = torch.inf
    y = conv2d(x, k, **settings)
    is_near = torch.zeros_like(y, dtype=torch.bool)
    is_near[0, :, 3:6, 3:6] = True
    assert (y.isfinite() != is_near).all()


@needs
def test_context_launches_no_kernel_for_weights(dtype, always, launched):
    (x, k, dy), settings = _tensors(CASES["plain"], dtype)
    x.requires_grad_()
    k.requires_grad_()
    for y in (conv2d(x, k, **settings), conv_transpose2d(x, k, **settings)):
        launched.clear()
        with no_weight_gradients():
            y.backward(dy)
        assert len(launched) == 1
        assert k.grad is None
    assert x.grad is not None


@needs
def test_only_needed_gradients_are_computed(dtype, always, launched):
    (x, k, dy), settings = _tensors(CASES["plain"], dtype)
    y = conv2d(x.requires_grad_(), k, **settings)
    torch.autograd.grad(y, x, dy)
    assert launched == ["output", "input"]


@needs
def test_channels_last_and_what_listens_keep_pytorchs_convolution(dtype, always, launched):
    (x, k, _), settings = _tensors(CASES["plain"], dtype)
    last = x.to(memory_format=torch.channels_last)
    assert conv2d(last, k, **settings).is_contiguous(memory_format=torch.channels_last)
    conv2d(x, k.to(memory_format=torch.channels_last), **settings)
    torch.vmap(lambda sample: conv2d(sample[None], k, **settings))(x)
    torch.func.grad(lambda weight: conv2d(x, weight, **settings).sum())(k)
    with force_reference():
        conv2d(x, k, **settings)
    with torch.autocast("cpu", torch.bfloat16):
        conv2d(x, k, **settings)
    assert launched == []


@needs
def test_batched_gradients_work(dtype, always):
    (x, k, dy), settings = _tensors(CASES["plain"], dtype)
    y = conv2d(x.requires_grad_(), k.requires_grad_(), **settings)
    several = torch.stack([dy, 2 * dy])
    dx, dk = torch.autograd.grad(y, [x, k], several, is_grads_batched=True, retain_graph=True)
    for got, expected in zip((dx[1], dk[1]), torch.autograd.grad(y, [x, k], 2 * dy), strict=True):
        _assert_close(got, expected.double(), 2 * TOLERANCES[dtype])


@pytest.mark.parametrize(
    "settings",
    [dict(groups=2), dict(dilation=2), dict(stride=3), dict(padding="same"), dict(padding=[1])],
    ids=str,
)
def test_other_convolutions_are_pytorchs(settings, always):
    x, k = torch.randn(2, 8, 9, 9), torch.randn(4, 8 // settings.get("groups", 1), 3, 3)
    torch.testing.assert_close(conv2d(x, k, **settings), F.conv2d(x, k, **settings))


@pytest.mark.parametrize(
    ("x_shape", "k_shape"),
    [([2, 8, 9, 9], [4, 7, 3, 3]), ([2, 8, 1, 1], [4, 8, 3, 3]), ([8, 9], [4, 8, 3, 3])],
)
def test_pytorch_refuses_what_does_not_fit(x_shape, k_shape):
    with pytest.raises(RuntimeError):
        conv2d(torch.randn(x_shape), torch.randn(k_shape))


def test_convolutions_that_pytorch_does_as_fast_are_left_to_pytorch():
    small = Convolution(1, (1, 1), (3, 3), (4, 4), (4, 4))
    for role in (cpu.OUTPUT, cpu.INPUT, cpu.KERNEL):
        assert not cpu.is_fast(role, 4, (512, 512), small, torch.float32)
        assert not cpu.is_fast(role, 4, (512, 512), small, torch.bfloat16)
        assert cpu.is_fast(role, 4, (32, 23), small, torch.float32)
        assert cpu.is_fast(role, 4, (32, 32), small, torch.float32) == (role == cpu.KERNEL)


def _tensors(case, dtype):
    """Images, kernels and gradients of the output, and keyword arguments."""
    n, c, o, h, w, stride, padding = case
    torch.manual_seed(0)
    x, k = torch.randn(n, c, h, w), torch.randn(o, c, 3, 3)
    settings = dict(stride=stride, padding=padding)
    dy = torch.randn_like(F.conv2d(x, k, **settings))
    return [t.to(dtype) for t in (x, k, dy)], settings


def _orders(op, tensors, settings):
    """Value, gradients, and gradients of the gradients by all operands."""
    x, k, dy = (t.detach().requires_grad_() for t in tensors)
    y = op(x, k, **settings)
    dx, dk = torch.autograd.grad(y, [x, k], dy, create_graph=True)
    second = torch.autograd.grad([dx, dk], [x, k, dy], [x.detach(), k.detach()])
    return [t.detach() for t in (y, dx, dk, *second)]


def _assert_close(got, expected, tolerance):
    assert got.shape == expected.shape
    assert got.is_contiguous()
    error = (got.double() - expected).abs().max() / expected.abs().max()
    assert error < tolerance
