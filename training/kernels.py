"""Finds the CUDA kernels that training launches, and compiles them before they are needed."""

import dataclasses
import os
import threading

import torch

from torch_utils.ops.cuda import ahead, compiler
from training import build
from training.config import TrainConfig


def launch_all(config: TrainConfig, c_dim: int, img_resolution: int, img_channels: int) -> None:
    """Run all phases of training, and synthesis, on the meta device, which computes nothing.

    The launches can be recorded, see `recorder.record_launches`.

    Args:
        config: The run.
        c_dim: Size of the labels of the training set.
        img_resolution: Width and height of the images.
        img_channels: Channels of the images.
    """
    device, batch = torch.device("meta"), config.batch_gpu
    images = dict(c_dim=c_dim, img_resolution=img_resolution, img_channels=img_channels)
    with device:
        G = build.build_generator(config, images, device)
        D = build.build_discriminator(config, images, device)
        loss = build.build_loss(config, device, G, D, build.build_augment_pipe(config, device))
        real_img = torch.empty(batch, img_channels, img_resolution, img_resolution)
        z, c = torch.empty(batch, G.z_dim), torch.empty(batch, c_dim)
        for phase in ("Gboth", "Dboth"):
            loss.accumulate_gradients(phase, real_img, c, z, c, gain=1, cur_nimg=0)
        with torch.no_grad():
            G(z, c, force_fp32=True)


def compile_ahead(
    config: TrainConfig, device: torch.device, **images: int
) -> threading.Thread | None:
    """Compile the kernels of a run in the background, on all CPU cores, unless they are cached.

    A kernel that fails here, or is launched before its turn, is compiled at its first launch.

    Args:
        config: The run.
        device: Where this process trains. The process on the first GPU works for all GPUs.
        images: The last three arguments of `launch_all`.

    Returns:
        The thread; `None` if there is nothing to do.
    """
    if device.type != "cuda" or device.index not in (None, 0):
        return None
    related = dataclasses.replace(  # drop settings that do not affect kernels
        config,
        run_dir="",
        random_seed=0,
        training_set_kwargs={},
        dataset_fingerprint=None,
        given={},
    )
    thread = threading.Thread(
        target=ahead.compile_ahead,
        args=[lambda: launch_all(config, **images), f"{related} {images}"],
        kwargs=dict(arch=compiler.arch_of(device), num_threads=os.cpu_count() or 1),
    )
    thread.start()  # not a daemon, which could be killed inside NVRTC and crash
    return thread
