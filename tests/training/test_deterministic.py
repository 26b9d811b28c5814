"""--deterministic=1: training calls no operation whose result differs from time to time."""

import contextlib
import os
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import torch_utils.ops.cuda
from benchmarks.launch_counts import meta_trainer
from benchmarks.networks import Setup
from torch_utils import devices

# What `torch.use_deterministic_algorithms` of PyTorch 2.13 lists as "will throw a RuntimeError" on
# CUDA, as operations of ATen.
RAISING = [
    "avg_pool3d_backward",
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward",
    "max_unpool2d",
    "max_unpool3d",
    "upsample_linear1d_backward",
    "upsample_bilinear2d_backward",
    "_upsample_bilinear2d_aa_backward",
    "upsample_bicubic2d_backward",
    "_upsample_bicubic2d_aa_backward",
    "upsample_trilinear3d_backward",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "reflection_pad3d_backward",
    "nll_loss_forward",
    "nll_loss_backward",
    "nll_loss2d_forward",
    "nll_loss2d_backward",
    "_ctc_loss_backward",
    "_embedding_bag",
    "_embedding_bag_dense_backward",
    "put",
    "put_",
    "histc",
    "bincount",
    "median",
    "nanmedian",
    "kthvalue",
    "grid_sampler_2d_backward",
    "grid_sampler_3d_backward",
    "cumsum",
    "cumsum_",
    "scatter_reduce",
    "scatter_reduce_",
]


class OperationRecorder(TorchDispatchMode):
    """Collects the names of all operations of ATen."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "aten":
            self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def backends_as_for(device: torch.device, deterministic: bool):
    """Set up PyTorch as a run does, and then as it was."""
    filling = torch.utils.deterministic.fill_uninitialized_memory
    try:
        devices.configure_backends(device, False, deterministic)
        yield
    finally:
        devices.configure_backends(torch.device("meta"), False, False)
        torch.utils.deterministic.fill_uninitialized_memory = filling


def operations(cfg: str, deterministic: bool) -> set[str]:
    """All operations of two iterations, with all phases, on the meta device in place of CUDA."""
    with meta_trainer(Setup(cfg, 32, batch=4, cbase=256, cmax=8)) as trainer:
        trainer.cur_nimg = 0  # with the blur of config R
        with (
            backends_as_for(torch.device("meta"), deterministic),
            OperationRecorder() as recorder,
        ):
            trainer.ada.interval = 1
            for _ in range(2):
                trainer._train_batch()
    return recorder.names


@pytest.mark.parametrize("cfg", ["stylegan3-t", "stylegan3-r", "stylegan2"])
def test_training_calls_no_operation_that_cannot_be_deterministic(cfg):
    names = operations(cfg, deterministic=True)
    assert names.isdisjoint(RAISING), names & set(RAISING)
    # Everything took place: convolutions, augmentation, optimizer.
    assert {"convolution_backward", "index_add_", "baddbmm", "_fused_adam_"} <= names
    assert "grid_sampler_2d_backward" in operations(cfg, deterministic=False)


def test_names_of_operations_exist():
    assert [name for name in RAISING if not hasattr(torch.ops.aten, name)] == []


def test_our_kernels_add_in_a_fixed_order():
    folder = Path(torch_utils.ops.cuda.__file__).parent
    sources = [path for path in folder.iterdir() if path.suffix in (".cu", ".cuh")]
    assert len(sources) >= 5
    assert [path.name for path in sources if "atomic" in path.read_text()] == []


def test_cublas_is_told_before_it_starts(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with backends_as_for(torch.device("meta"), True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
