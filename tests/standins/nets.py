"""Networks of the stand-ins, with inputs for them."""

import numpy as np
import torch

from tests.standins import augment
from tests.standins import networks_stylegan2 as sg2
from tests.standins import networks_stylegan3 as sg3

Nets = dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...]]]  # name -> network, inputs

SYNTHESIS_LAYERS = [
    dict(size=4),
    dict(size=8, up=2),
    dict(size=8, act="linear", is_grouped=True),
    dict(size=16, up=2, is_grouped=True, act="swish"),
    dict(size=16, kernel=1, padding=0, act="tanh"),
    dict(size=16, padding=[1, 1], act="relu"),
    dict(size=16, padding=[2, 0, 0, 2], is_grouped=True, act="softplus"),
    dict(size=32, up=2, is_filtered=False, padding=[1, 1, 1, 1], act="sigmoid"),
]
ALIAS_FREE_LAYERS = [
    dict(),
    dict(up=4, fu=24, padding=[20, 17, 20, 17], clamp=0.9),
    dict(fd=12, is_radial=True),
    dict(fu=None, up=1, down=1, fd=None, padding=0, kernel=1, gain=1, slope=1, clamp=256),
    dict(fu=None, up=1, down=2, padding=[12, 12]),
    dict(fd=None, up=2, down=1, padding=4, clamp=None, slope=0.0),
    dict(fu=None, fd=None, up=2, down=2, padding=[-2, -2, -2, -2], gain=2.0),
]


def make_nets() -> Nets:
    pairs = SYNTHESIS_LAYERS[:2]
    one = [dict(size=4, is_grouped=True), dict(size=8, up=2, is_grouped=True, act="elu")]
    stages = [
        dict(),
        dict(act="relu", clamp=0.7, is_filtered=False),
        dict(act="selu", kernel=1),
        dict(act="elu"),
    ]
    z, image = randn(3, 6), randn(3, 3, 32, 32, seed=1)
    return {
        "mapping": (sg2.Mapping(), (z,)),
        "StyleGAN2": (sg2.Generator(SYNTHESIS_LAYERS), (z,)),
        "StyleGAN2, clamped": (sg2.Generator(pairs, clamp=1.5), (z,)),
        "StyleGAN2, one image": (sg2.Generator(one), (z[:1],)),
        "discriminator": (sg2.Critic(stages), (image,)),
        "StyleGAN3": (sg3.Generator(ALIAS_FREE_LAYERS), (z,)),
        "StyleGAN3, one image": (sg3.Generator(ALIAS_FREE_LAYERS[:1], size=11), (z[:1],)),
        "augment": (augment.Distortion(), (image,)),
        "augment, separable filter": (
            augment.Distortion(taps=np.hanning(12)[1:-1].tolist(), num_bands=4),
            (image[:2, :, :20, :24],),
        ),
    }


def make_half_nets() -> Nets:
    """Those that choose half precision by themselves."""
    layers = [{**layer, "is_half": True, "clamp": 256} for layer in ALIAS_FREE_LAYERS]
    return {
        "StyleGAN2": (sg2.Generator(SYNTHESIS_LAYERS, clamp=256, is_half=True), (randn(3, 6),)),
        "discriminator": (
            sg2.Critic([dict(is_half=True, clamp=256), dict(is_half=True, is_filtered=False)]),
            (randn(3, 3, 16, 16),),
        ),
        "StyleGAN3": (sg3.Generator(layers), (randn(3, 6),)),
    }


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
