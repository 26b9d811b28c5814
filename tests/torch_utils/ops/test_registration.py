"""What PyTorch expects of ops: opcheck, gradients of first and second order, compilation."""

import warnings
from unittest import mock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from torch_utils.ops import bias_act as bias_act_module
from torch_utils.ops import filtered_lrelu as lrelu_module
from torch_utils.ops import registration
from torch_utils.ops import upfirdn2d as upfirdn_module
from torch_utils.ops.cpu import compiler
from torch_utils.ops.filtered_lrelu import filtered_lrelu
from torch_utils.ops.upfirdn2d import upfirdn2d
from training.networks_stylegan3 import Generator


@pytest.fixture(autouse=True)
def needs_kernels(tmp_path, monkeypatch):
    if compiler.library() is None:
        pytest.skip("no C++ compiler")
    # Graphs in the user's cache may come from kernels before a change: their key does not cover it.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


def images(
    *shape: int, dtype=torch.float32, channels_last: bool = False, requires_grad: bool = False
) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    return x.requires_grad_(requires_grad)


def taps(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


SEPARABLE, IMAGE = taps(4), taps(3, 5)
UPFIRDN_CASES = {
    "identity": dict(f=None),
    "up": dict(f=SEPARABLE, up=2, padding=2),
    "down": dict(f=SEPARABLE, down=3, padding=[4, 1]),
    "2D": dict(f=IMAGE, up=[1, 3], down=[2, 1], padding=[5, 4, -1, 3], gain=2.0),
    "flipped": dict(f=IMAGE, up=4, down=4, padding=3, flip_filter=True),
}
LRELU_CASES = {
    "identity": dict(),
    "up 1, down 2": dict(fd=SEPARABLE, down=2, padding=2, clamp=0.8),
    "up 2, down 1": dict(fu=SEPARABLE, up=2, padding=[3, 2], gain=1.0),
    "up 2, down 2": dict(fu=SEPARABLE, fd=taps(6), up=2, down=2, padding=[4, 5, 3, 6], clamp=1.0),
    "up 3, 2D": dict(fu=SEPARABLE, fd=IMAGE, up=3, down=2, padding=[1, -1, 2, 0], flip_filter=True),
    "up 4, 2D": dict(fu=taps(8, 8), fd=taps(3), up=4, down=3, padding=6, slope=0.0, clamp=2.0),
    "down 4": dict(fu=taps(2), fd=taps(8), down=4, padding=7, slope=-0.5),
}
upfirdn_cases = pytest.mark.parametrize("case", UPFIRDN_CASES.values(), ids=UPFIRDN_CASES)
lrelu_cases = pytest.mark.parametrize("case", LRELU_CASES.values(), ids=LRELU_CASES)
layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["", "channels last"])


def arguments(module, name: str, function, *args, **kwargs) -> tuple[tuple, dict]:
    """What the public function passes to the op `name` of its module."""
    with mock.patch.object(module, name, wraps=getattr(module, name)) as op:
        function(*args, **kwargs)
    return op.call_args.args, op.call_args.kwargs


@upfirdn_cases
def test_upfirdn2d_passes_opcheck(case):
    x = images(2, 3, 6, 5, channels_last=case["f"] is IMAGE, requires_grad=True)
    args, kwargs = arguments(upfirdn_module, "_upfirdn2d", upfirdn2d, x, **case)
    torch.library.opcheck(upfirdn_module._upfirdn2d, args, kwargs)


@lrelu_cases
def test_filtered_lrelu_passes_opcheck(case):
    dtype = torch.bfloat16 if "clamp" in case else torch.float32
    x = images(2, 3, 6, 5, dtype=dtype, channels_last="fu" in case, requires_grad=True)
    b = images(3, dtype=dtype, requires_grad=True)
    args, kwargs = arguments(lrelu_module, "_filtered_lrelu", filtered_lrelu, x, b=b, **case)
    torch.library.opcheck(lrelu_module._filtered_lrelu, args, kwargs)


@lrelu_cases
def test_gradient_of_filtered_lrelu_passes_opcheck(case):
    x = images(2, 3, 6, 5, requires_grad=True)
    y = filtered_lrelu(x, **case)
    dy = images(*y.shape, channels_last="fu" in case, requires_grad=True)
    args, kwargs = arguments(lrelu_module, "_filtered_mask", torch.autograd.grad, y, x, dy)
    args = (dy, *args[1:])
    torch.library.opcheck(lrelu_module._filtered_mask, args, kwargs)


def test_gradient_of_filtered_lrelu_makes_nothing_of_the_size_of_its_mask():
    x = images(2, 3, 64, 64, requires_grad=True)
    y = filtered_lrelu(x, fu=SEPARABLE, up=4, down=4)
    with Operations() as names:
        y.sum().backward()
    assert "filtered_mask" in names
    assert not names & {"zeros", "zeros_like", "new_zeros"}


class Operations(TorchDispatchMode):
    """The names of operations inside."""

    def __enter__(self) -> set[str]:
        super().__enter__()
        self.names: set[str] = set()
        return self.names

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@lrelu_cases
@pytest.mark.parametrize("names", ["scale", "b", "scale b"])
def test_gradient_of_filtered_lrelu_with_scale_and_bias_passes_opcheck(case, names):
    dtype = torch.bfloat16 if "clamp" in case else torch.float32
    x = images(2, 3, 6, 5, dtype=dtype, channels_last="fu" in case, requires_grad=True)
    all_operands = dict(scale=images(2, 3), b=images(3))
    operands = {name: all_operands[name].requires_grad_() for name in names.split()}
    y = filtered_lrelu(x, **operands, **case)
    dy = images(*y.shape, dtype=dtype, requires_grad=True)
    args, kwargs = arguments(
        lrelu_module, "_filtered_mask", torch.autograd.grad, y, list(operands.values()), dy
    )
    args = (dy, *(t.detach() if isinstance(t, torch.Tensor) else t for t in args[1:]))
    if "scale" in names:
        scale, saved = (t.clone().requires_grad_() for t in args[4:6])
        args = (*args[:4], scale, saved, *args[6:])
    torch.library.opcheck(lrelu_module._filtered_mask, args, kwargs)


@upfirdn_cases
@layouts
def test_gradients_of_upfirdn2d_up_to_second_order(case, channels_last):
    x = images(1, 2, 4, 3, dtype=torch.float64, channels_last=channels_last, requires_grad=True)
    function = lambda x: upfirdn2d(x, **case)  # noqa: E731
    assert torch.autograd.gradcheck(function, [x])
    assert torch.autograd.gradgradcheck(function, [x], fast_mode=True)


@lrelu_cases
@layouts
def test_gradients_of_filtered_lrelu_up_to_second_order(case, channels_last):
    x = images(1, 2, 4, 3, dtype=torch.float64, channels_last=channels_last, requires_grad=True)
    b = images(2, dtype=torch.float64, requires_grad=True)
    scale = images(1, 2, dtype=torch.float64, requires_grad=True)
    for function, inputs in (
        (lambda x, b: filtered_lrelu(x, b=b, **case), [x, b]),
        (lambda x, scale: filtered_lrelu(x, scale=scale, **case), [x, scale]),
        (lambda x, b, scale: filtered_lrelu(x, b=b, scale=scale, **case), [x, b, scale]),
    ):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@lrelu_cases
def test_gradients_of_filtered_lrelu_of_third_order(case):
    x = images(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    scale = images(1, 2, dtype=torch.float64, requires_grad=True)

    def gradients(x, scale):
        y = filtered_lrelu(x, scale=scale, **case)
        return torch.autograd.grad(y.sin().sum(), [x, scale], create_graph=True)

    assert torch.autograd.gradgradcheck(gradients, [x, scale], fast_mode=True)


def resample_twice(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    y = upfirdn2d(x, SEPARABLE, up=2, padding=[2, 1])
    return filtered_lrelu(y, SEPARABLE, IMAGE, b, up=2, down=2, padding=5, clamp=1.0)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@layouts
def test_ops_compile_to_one_graph_with_their_gradients(backend, channels_last):
    x = images(2, 3, 6, 5, channels_last=channels_last, requires_grad=True)
    b = images(3, requires_grad=True)
    compiled = torch.compile(resample_twice, fullgraph=True, backend=backend)
    got, want = compiled(x, b), resample_twice(x, b)
    assert got.stride() == want.stride()
    torch.testing.assert_close(got, want)
    dy = torch.ones_like(want)
    torch.testing.assert_close(
        torch.autograd.grad(got, [x, b], dy), torch.autograd.grad(want, [x, b], dy)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "backend"),
    [({}, "inductor"), (dict(conv_kernel=1, use_radial_filters=True), "aot_eager")],
    ids=["stylegan3-t", "stylegan3-r"],
)
def test_synthesis_compiles_to_one_graph(options, backend):
    torch.manual_seed(0)
    sizes = dict(z_dim=8, c_dim=0, w_dim=8, img_resolution=16, img_channels=3, num_layers=4)
    capacity = dict(channel_base=64, channel_max=8, mapping_kwargs=dict(num_layers=1))
    G = Generator(**sizes, **capacity, **options).eval().requires_grad_(False)
    ws = G.mapping(torch.randn(2, 8), None)
    compiled = torch.compile(G.synthesis, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(ws), G.synthesis(ws), rtol=1e-4, atol=1e-5)


class Ops(TorchDispatchMode):
    """Notes the ops of ours that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "stylegan3":
            self.names.append(func._opname)
        return func(*args, **(kwargs or {}))


def test_modes_see_each_op_once():
    """The kernels are called directly only if nobody listens."""
    x, b = images(2, 3, 6, 5, requires_grad=True), images(3, requires_grad=True)
    with Ops() as ops:
        y = bias_act_module.bias_act(resample_twice(x, b), b, act="lrelu")
        torch.autograd.grad(y.sum(), [x, b])
    forward = ["upfirdn2d", "filtered_lrelu", "bias_act"]
    assert ops.names == [*forward, "bias_act_grad", "filtered_mask", "upfirdn2d"]


def test_negative_views_and_inference_tensors_are_like_others():
    x = torch.complex(images(2, 3, 6, 5), images(2, 3, 6, 5)).conj().imag
    assert x.is_neg()
    want = upfirdn2d(x.clone(), SEPARABLE, up=2)
    assert torch.equal(upfirdn2d(x, SEPARABLE, up=2), want)
    with torch.inference_mode():
        assert torch.equal(upfirdn2d(x.clone(), SEPARABLE, up=2), want)


def test_second_registration_replaces_the_first():
    """As happens when a notebook reloads a module."""

    def register(value):
        def kernel(x):
            return torch.full_like(x, value)

        return registration.register(
            "test_of_registration",
            "(Tensor x) -> Tensor",
            cpu=kernel,
            cuda=kernel,
            fake=torch.empty_like,
            setup_context=lambda ctx, inputs, output: None,
            backward=lambda ctx, dy: (value * dy,),
        )

    try:
        for value in (1.0, 2.0):
            op, x = register(value), torch.zeros(2, requires_grad=True)
            y = op(x)
            y.sum().backward()
            assert torch.equal(y, torch.full([2], value)) and torch.equal(x.grad, y)
    finally:
        registration._libraries.pop("test_of_registration")._destroy()


def test_compiler_does_not_trace_kernels_of_uncompiled_code():
    x, graphs = images(1, 2, 4, 4, requires_grad=True), []

    @torch._dynamo.disable(recursive=False)  # what is called inside is compiled, if it can be
    def uncompiled(x):
        return upfirdn_module._upfirdn2d(x, SEPARABLE, [1, 1], [1, 1], [2, 1, 2, 1], False, 1.0)

    def backend(graph, inputs):
        graphs.extend(node.name for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    function = lambda x: uncompiled(x * 2) + 1  # noqa: E731
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?s).*Dynamo")
        y = torch.compile(function, backend=backend)(x)
    assert torch.equal(y, function(x))
    assert graphs == ["mul", "add"]


def test_calls_go_past_the_dispatcher_only_where_nobody_else_listens():
    x = torch.randn(1, 2, 4, 4)

    class Subclass(torch.Tensor):
        pass

    def is_direct(*arguments) -> bool:
        return registration._is_direct((*arguments, None, 1, 0.2, "lrelu", [1, 2], (1, 2)))

    seen = []

    def look(t: torch.Tensor) -> torch.Tensor:
        seen.append(is_direct(x))
        return t.sum()

    assert is_direct(x) and is_direct(torch.nn.Parameter(x))
    with torch.no_grad():
        assert is_direct(x)
    for other in (x.as_subclass(Subclass), torch._neg_view(x), x.to("meta")):
        assert not is_direct(other) and not is_direct(x, other)
    assert not registration._is_direct((x, object()))
    with TorchDispatchMode():
        assert not is_direct(x)
    with torch.overrides.TorchFunctionMode():
        assert not is_direct(x)
    with torch.profiler.profile():
        assert not is_direct(x)
    with torch._C._AutoDispatchBelowAutograd():
        assert not is_direct(x)
    torch.func.grad(look)(x)
    torch.jit.trace(look, x, check_trace=False)
    assert not any(seen)


def test_direct_calls_do_what_the_dispatcher_does():
    x, b = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(3, requires_grad=True)
    arguments = x, b, None, None, 1, "lrelu", 0.2, 1.5, 0.7
    op, results = bias_act_module._bias_act, []
    for call in (op, lambda *arguments: registration.call(op, *arguments)):
        y = call(*arguments)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        results.append((y, dx, torch.autograd.grad(dx.square().sum(), b)[0]))
    for got, expected in zip(*results, strict=True):
        assert torch.equal(got, expected)
