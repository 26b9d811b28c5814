"""The phases of training can become CUDA graphs: the meta device stands for a GPU."""

import pytest
import torch

from benchmarks.networks import Setup
from tests.refuse_copies import RefuseCopies
from training import build
from training.config import CFGS

META = torch.device("meta")


def test_copies_are_refused():
    with RefuseCopies(), pytest.raises(AssertionError, match="cpu"):
        torch.ones(3).to(META)


@pytest.mark.parametrize("is_blurred", [False, True])
@pytest.mark.parametrize("cfg", CFGS)
def test_phases_copy_nothing_between_devices(cfg, is_blurred):
    setup = Setup(cfg, 16, batch=4, cbase=256, cmax=8)
    G, D, pipe = (
        net.train().requires_grad_(False).to(META)
        for net in (setup.generator(), setup.discriminator(), setup.augmentation())
    )
    loss = build.build_loss(setup.config, META, G, D, pipe)
    img, z = torch.empty(4, 3, 16, 16, device=META), torch.empty(4, G.z_dim, device=META)
    c = torch.empty(4, 0, device=META)
    cur_nimg = 0 if is_blurred else 10**9

    def run(phase):
        net = G if phase.startswith("G") else D
        net.requires_grad_(True)
        loss.accumulate_gradients(phase, img, c, z, c, gain=1, cur_nimg=cur_nimg)
        net.requires_grad_(False)

    for phase in setup.phases:
        run(phase)  # makes what stays on the device
        with RefuseCopies():
            run(phase)
