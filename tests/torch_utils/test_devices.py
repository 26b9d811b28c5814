"""The setup of devices, as far as it shows without a GPU."""

import warnings

import pytest
import torch

from torch_utils import devices

CUDA = torch.device("cuda")  # only a name here


def allowed() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture(autouse=True)
def _restore():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled()
    tf32 = allowed()
    yield
    cudnn.benchmark, cudnn.deterministic = before[:2]
    torch.use_deterministic_algorithms(before[2])
    cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32


def test_tf32_is_off_unless_asked_for():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of settings that PyTorch is about to drop
        devices.configure_backends(CUDA, tf32=True)
        assert allowed() == (True, True)
        assert torch.get_float32_matmul_precision() == "high"
        devices.configure_backends(CUDA)
        assert allowed() == (False, False)
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("is_allowed", [False, True])
@pytest.mark.parametrize("tf32", [False, True])
def test_other_arithmetic_lasts_as_long_as_its_context(tf32, is_allowed):
    devices.configure_backends(CUDA, tf32=tf32)
    with devices.using_tf32(is_allowed):
        assert allowed() == (is_allowed, is_allowed)
    assert allowed() == (tf32, tf32)
    with pytest.raises(ZeroDivisionError), devices.using_tf32(is_allowed):
        1 / 0  # noqa: B018
    assert allowed() == (tf32, tf32)
