"""The networks that the benchmarks measure, with random weights, as `train.py` would start them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from torch_utils.networks import Generator
from training import build
from training.augment import AugmentPipe
from training.config import Cfg, TrainConfig, TrainOptions, make_config
from training.options import Precision

PHASES = ("Gmain", "Greg", "Dmain", "Dreg")


@dataclass(frozen=True)
class Setup:
    """A network configuration, with sizes.

    Attributes:
        cfg: Configuration of `train.py`.
        resolution: Size of the images.
        batch: Images per pass.
        cbase: Capacity multiplier.
        cmax: Most feature maps per layer.
        precision: Type of the features at the highest resolutions.
    """

    cfg: Cfg
    resolution: int
    batch: int
    cbase: int
    cmax: int
    precision: Precision = "fp16"

    @property
    def config(self) -> TrainConfig:
        """The hyperparameters of `train.py` for this network."""
        options = TrainOptions(
            self.cfg,
            gpus=1,
            batch=self.batch,
            gamma=1,
            aug="fixed",
            p=1,
            cbase=self.cbase,
            cmax=self.cmax,
            mbstd_group=math.gcd(4, self.batch),
            precision=self.precision,
        )
        return make_config(options, training_set_kwargs={})

    @property
    def phases(self) -> dict[str, int]:
        """Phases of training, and for each the number of iterations from one to the next."""
        intervals = (1, self.config.G_reg_interval, 1, self.config.D_reg_interval)
        return {p: i for p, i in zip(PHASES, intervals, strict=True) if i is not None}

    @property
    def images(self) -> dict[str, int]:
        """The arguments of the networks that follow from the images."""
        return dict(c_dim=0, img_resolution=self.resolution, img_channels=3)

    def generator(self) -> Generator:
        """A new generator on the CPU."""
        G: Any = build.build_generator(self.config, self.images)
        return G

    def discriminator(self) -> torch.nn.Module:
        """A new discriminator on the CPU."""
        return build.build_discriminator(self.config, self.images)

    def augmentation(self) -> AugmentPipe:
        """A new augmentation pipeline on the CPU, with every transform in every image."""
        pipe = build.build_augment_pipe(self.config)
        assert pipe is not None  # since p is 1
        return pipe


def build_generator(cfg: Cfg, resolution: int, cbase: int, cmax: int) -> Generator:
    """A new generator on the CPU, in evaluation mode."""
    torch.manual_seed(0)
    G = Setup(cfg, resolution, batch=1, cbase=cbase, cmax=cmax).generator()
    return G.eval().requires_grad_(False)


class Training:
    """Networks, augmentation and loss as `training_loop` sets them up, and one random batch."""

    def __init__(self, setup: Setup, device: torch.device) -> None:
        torch.manual_seed(0)
        size = setup.resolution
        self.G = setup.generator().train().requires_grad_(False).to(device)
        self.D = setup.discriminator().train().requires_grad_(False).to(device)
        pipe = setup.augmentation().train().requires_grad_(False).to(device)
        G: Any = self.G
        self.loss = build.build_loss(setup.config, device, G, self.D, pipe)
        self.intervals = setup.phases
        self.cur_nimg = int(self.loss.blur_fade_kimg * 1000)
        self.real_img = (torch.rand([setup.batch, 3, size, size]) * 2 - 1).to(device)
        self.gen_z = torch.randn([setup.batch, self.G.z_dim]).to(device)
        self.no_labels = torch.zeros([setup.batch, 0], device=device)

    def run(self, phase: str) -> None:
        """Run a phase on the batch, always with the same random numbers; gradients stay."""
        torch.manual_seed(0)
        module = self.module(phase)
        module.zero_grad(set_to_none=True)
        module.requires_grad_(True)
        self.accumulate(phase)
        module.requires_grad_(False)

    def accumulate(self, phase: str) -> None:
        """Add the gradients of a phase to the network that it trains, which must need them."""
        self.loss.accumulate_gradients(
            phase=phase,
            real_img=self.real_img,
            real_c=self.no_labels,
            gen_z=self.gen_z,
            gen_c=self.no_labels,
            gain=self.intervals[phase],
            cur_nimg=self.cur_nimg,
        )

    def gradients(self, phase: str) -> np.ndarray:
        """All gradients of the network that a phase trains, as one vector; zero where none is."""
        pairs = [(p, p.grad) for p in self.module(phase).parameters()]
        grads = [torch.zeros_like(p) if grad is None else grad for p, grad in pairs]
        return torch.cat([grad.flatten().double() for grad in grads]).cpu().numpy()

    def module(self, phase: str) -> torch.nn.Module:
        """The network that a phase trains."""
        return self.G if phase.startswith("G") else self.D
