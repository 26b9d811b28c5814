"""Launches on the meta device are recorded."""

import torch

from torch_utils.ops.cuda import launcher
from torch_utils.ops.cuda.recorder import record_launches


def test_launches_on_the_meta_device_are_recorded():
    meta = torch.device("meta")
    launcher.launch("a.cu", "f<1>", meta, (1, 1, 1), (1, 1, 1), [])
    with record_launches() as kernels:
        launcher.launch("a.cu", "f<2>", meta, (1, 1, 1), (1, 1, 1), [])
        launcher.launch("a.cu", "f<2>", meta, (9, 1, 1), (1, 1, 1), [])
    launcher.launch("a.cu", "f<3>", meta, (1, 1, 1), (1, 1, 1), [])
    assert kernels == {("a.cu", "f<2>")}
