"""Constructs the networks, the augmentation and the loss that a configuration describes."""

from collections.abc import Mapping
from typing import Any

import torch

from data.dataset import Dataset
from dnnlib.util import construct_class_by_name
from torch_utils.layers import MappedGenerator
from training.augment import AugmentPipe
from training.config import TrainConfig
from training.loss import StyleGAN2Loss


def network_kwargs(training_set: Dataset) -> dict[str, int]:
    """The arguments of the networks that follow from the dataset."""
    return dict(
        c_dim=training_set.label_dim,
        img_resolution=training_set.resolution,
        img_channels=training_set.num_channels,
    )


def build_generator(
    config: TrainConfig, images: Mapping[str, Any], device: torch.device | str = "cpu"
) -> MappedGenerator:
    """Construct `G`; the random numbers are drawn on the default device.

    Args:
        config: The run.
        images: As `network_kwargs` returns them.
        device: Where the network goes.
    """
    return construct_class_by_name(**config.G_kwargs, **images).to(device)


def build_discriminator(
    config: TrainConfig, images: Mapping[str, Any], device: torch.device | str = "cpu"
) -> torch.nn.Module:
    """Construct `D`; arguments as for `build_generator`."""
    return construct_class_by_name(**config.D_kwargs, **images).to(device)


def build_augment_pipe(
    config: TrainConfig, device: torch.device | str = "cpu"
) -> AugmentPipe | None:
    """Construct the augmentation pipe with its initial strength; `None` without augmentation."""
    if not config.is_augmented:
        return None
    assert config.augment_kwargs is not None  # because the run is augmented
    pipe = construct_class_by_name(**config.augment_kwargs).to(device)
    pipe.p.fill_(config.augment_p)
    return pipe


def build_loss(
    config: TrainConfig,
    device: torch.device,
    G: MappedGenerator,
    D: torch.nn.Module,
    augment_pipe: AugmentPipe | None,
) -> StyleGAN2Loss:
    """Construct the loss of networks on `device`."""
    return construct_class_by_name(
        **config.loss_kwargs, device=device, G=G, D=D, augment_pipe=augment_pipe
    )
