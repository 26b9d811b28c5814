"""Kernels are compiled ahead of training, in the background; without a GPU."""

from types import SimpleNamespace

import pytest
import torch

from torch_utils.ops.compilation import BuildError
from torch_utils.ops.cuda import ahead, compiler
from torch_utils.ops.cuda.recorder import record_launches
from torch_utils.ops.kernel_cache import CACHE_DIR_VARIABLE
from training import kernels
from training.config import TrainOptions, make_config

IMAGES = dict(c_dim=0, img_resolution=16, img_channels=3)


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Kernels that were compiled, in place of which nothing is."""
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setattr(ahead, "_futures", {})
    monkeypatch.setattr(compiler, "_target", lambda arch: ("cubin", arch))
    monkeypatch.setattr(compiler.torch.cuda, "get_device_capability", lambda _: (9, 0))
    names = []
    monkeypatch.setattr(compiler, "core", lambda: SimpleNamespace(nvrtc_version="1"))
    monkeypatch.setattr(compiler, "compile_cubin", lambda *kernel: names.append(kernel) or True)
    compiler._arch.cache_clear()
    yield names
    compiler._arch.cache_clear()


def config(**kwargs):
    options = TrainOptions(cfg="stylegan2", gpus=1, batch=4, gamma=1, **kwargs)
    return make_config(options, training_set_kwargs={})


def compile_ahead(config, device="cuda:0"):
    thread = kernels.compile_ahead(config, torch.device(device), **IMAGES)
    if thread is not None:
        thread.join()
    return thread


def test_all_kernels_are_compiled_once(compiled):
    with record_launches() as needed:
        kernels.launch_all(config(), **IMAGES)
    assert compile_ahead(config())
    assert sorted(compiled) == sorted((*kernel, "sm_90") for kernel in needed)
    compiled.clear()
    compile_ahead(config())
    assert compiled == []
    compile_ahead(config(fp32=True))
    assert len(compiled) > 5


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_others_leave_it_to_the_first_gpu(device, compiled):
    assert compile_ahead(config(), device) is None


def test_random_numbers_stay_what_they_are(compiled):
    before = torch.get_rng_state()
    compile_ahead(config(aug="ada"))
    assert compiled and torch.equal(torch.get_rng_state(), before)


def test_failures_are_silent_and_tried_again(compiled, monkeypatch, capfd):
    def fail(*_):
        raise BuildError("no kernel")

    with monkeypatch.context() as patch:
        patch.setattr(compiler, "compile_cubin", fail)
        compile_ahead(config())
        patch.setattr(kernels, "launch_all", fail)
        compile_ahead(config())
    assert "".join(capfd.readouterr()) == ""
    compile_ahead(config())
    assert len(compiled) > 5
