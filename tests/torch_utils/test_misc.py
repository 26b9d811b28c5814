"""torch_utils.misc: constants, shapes, copying and consistency."""

import inspect
import warnings

import numpy as np
import pytest
import torch

from torch_utils import misc


def test_constant_is_shared():
    a = misc.constant([1, 2], device="cpu")
    assert a is misc.constant(np.array([1, 2]), device=torch.device("cpu"))
    assert a is not misc.constant([1.0, 2.0], dtype=torch.float64)
    assert a.dtype == torch.float32 and a.tolist() == [1, 2]


def test_constant_has_shape_dtype_and_layout():
    x = misc.constant(2, shape=[1, 3, 4, 5], dtype=torch.int32, memory_format=torch.channels_last)
    assert x.shape == (1, 3, 4, 5) and x.dtype == torch.int32 and (x == 2).all()
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert misc.constant(1, shape=(2, 2)).stride() == (2, 1)


def test_constant_made_in_inference_mode_serves_gradients():
    with torch.inference_mode():
        factor = misc.constant([3.25, 4.5])
    x = torch.ones(2, requires_grad=True)
    (x * misc.constant([3.25, 4.5])).sum().backward()
    assert misc.constant([3.25, 4.5]) is factor and x.grad.tolist() == [3.25, 4.5]


def test_constant_cache_is_bounded():
    size = misc._cached_constant.cache_info().maxsize
    for value in range(size + 10):
        misc.constant(value)
    assert misc._cached_constant.cache_info().currsize == size


def test_nan_to_num():
    x = torch.tensor([float("nan"), float("inf"), 1.0])
    assert misc.nan_to_num(x, nan=0.0, posinf=2.0).tolist() == [0.0, 2.0, 1.0]


def test_assert_shape_accepts_free_dimensions_and_tensors():
    x = torch.zeros(2, 3)
    misc.assert_shape(x, [2, 3])
    misc.assert_shape(x, [None, torch.tensor(3)])
    misc.assert_shape(torch.zeros([]), [])


@pytest.mark.parametrize(
    "ref_shape, message",
    [
        ([2], "number of dimensions: got 2, expected 1"),
        ([2, None, 1], "number of dimensions: got 2, expected 3"),
        ([2, 4], "dimension 1: got 3, expected 4"),
        ([torch.tensor(1), None], "dimension 0: got 2, expected 1"),
    ],
)
def test_assert_shape_names_what_is_wrong(ref_shape, message):
    with pytest.raises(AssertionError, match=message):
        misc.assert_shape(torch.zeros(2, 3), ref_shape)


@misc.profiled_function
def scale(x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
    """Scale by a factor."""
    misc.assert_shape(x, [None, 3])
    with misc.suppress_tracer_warnings():
        return x * factor * misc.constant([1, 2, 3], device=x.device)


def test_profiled_function_shows_up_in_the_profile():
    assert scale.__name__ == "scale" and scale.__doc__ == "Scale by a factor."
    assert list(inspect.signature(scale).parameters) == ["x", "factor"]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        scale(torch.ones(2, 3))
    assert "scale" in {event.name for event in profile.events()}


def test_helpers_compile_without_graph_breaks():
    compiled = torch.compile(scale, fullgraph=True, backend="eager", dynamic=True)
    for size in (2, 5):
        x = torch.randn(size, 3)
        torch.testing.assert_close(compiled(x), scale(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_tracing_is_free_of_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        traced = torch.jit.trace(scale, torch.ones(2, 3))
    assert not [w for w in caught if issubclass(w.category, torch.jit.TracerWarning)]
    torch.testing.assert_close(traced(torch.ones(2, 3)), scale(torch.ones(2, 3)))


def make_net(width: int = 3, seed: int = 0) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width))


def test_params_come_before_buffers():
    names = [name for name, _ in misc.named_params_and_buffers(make_net())]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"] + [
        f"1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    ]
    assert [t.ndim for t in misc.params_and_buffers(make_net())] == [2, 1, 1, 1, 1, 1, 0]


def test_copy_by_name():
    src, dst = make_net(seed=1), make_net(seed=2)
    src.requires_grad_(False)
    src[1].running_mean.fill_(5)
    misc.copy_params_and_buffers(src, dst, require_all=True)
    assert torch.equal(dst[0].weight, src[0].weight) and (dst[1].running_mean == 5).all()
    assert dst[0].weight.requires_grad
    dst[0].weight.data.zero_()
    assert src[0].weight.abs().max() > 0


def test_copy_leaves_out_what_the_source_lacks():
    src, dst = make_net()[:1], make_net(seed=2)
    misc.copy_params_and_buffers(src, dst)
    assert torch.equal(dst[0].weight, src[0].weight)
    with pytest.raises(ValueError, match=r"'1\.weight': Sequential lacks it"):
        misc.copy_params_and_buffers(src, dst, require_all=True)


def test_copy_refuses_other_shapes_and_changes_nothing():
    src, dst = make_net(4, seed=1), make_net(3, seed=2)
    with pytest.raises(ValueError, match=r"'0\.weight'.*\[4, 2\].*\[3, 2\]"):
        misc.copy_params_and_buffers(src, dst)
    torch.testing.assert_close(dst.state_dict(), make_net(3, seed=2).state_dict())


def _check_on_rank(rank: int, init_file: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{init_file}", rank=rank, world_size=2
    )
    net = make_net()
    with torch.no_grad():
        net[1].running_mean[0] = float("nan")
    misc.check_ddp_consistency(net)
    net[1].running_mean[1] = rank
    misc.check_ddp_consistency(net, ignore_regex=r".*\.running_(mean|var)")
    with pytest.raises(RuntimeError, match=r"Sequential\.1\.running_mean .* rank 1"):
        misc.check_ddp_consistency(net)
    torch.distributed.destroy_process_group()


@pytest.mark.multiprocess
def test_inconsistent_processes_are_found_on_all_ranks(tmp_path):
    misc.check_ddp_consistency(make_net())  # without processes there is nothing to check
    torch.multiprocessing.spawn(_check_on_rank, (str(tmp_path / "init"),), nprocs=2)


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 5, 5), (1, 7), (3, 0), (0, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_rows_that_are_not_finite_are_found(shape, dtype):
    x = torch.randn(shape).to(dtype)
    assert misc.are_finite(x).tolist() == [True] * shape[0]
    for value in (float("nan"), float("inf"), -float("inf")):
        for row in range(shape[0] if x.numel() else 0):
            for place in {0, x[row].numel() // 2, x[row].numel() - 1}:
                spoilt = x.clone()
                spoilt[row].view(-1)[place] = value
                found = misc.are_finite(spoilt)
                assert found.tolist() == [idx != row for idx in range(shape[0])]
                assert torch.equal(found, spoilt.isfinite().flatten(1).all(dim=1))
