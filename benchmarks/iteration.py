"""Whole iterations of training, as `train.py` runs them, on a small dataset made for the purpose.

An iteration is `Trainer._train_batch`: loading, all phases that are due, the optimizers, the
average of the weights, adaptive augmentation and the watch over the gradients. Logs, snapshots and
sheets of samples are left out.
"""

import contextlib
import dataclasses
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import memory, timing
from benchmarks.networks import Setup
from data import plain_png
from torch_utils import devices, training_stats
from torch_utils.distributed import Worker
from training.config import TrainConfig, TrainOptions, make_config, suggest_gamma
from training.training_loop import Trainer

NUM_IMAGES = 64
FIRST = 1  # the first iteration of a cycle; 0 is for warming up, since all phases are due in it


class Iterations(Trainer):
    """A run that writes nothing."""

    def _set_up_files(self, state: dict[str, Any] | None) -> None:
        self.stats = training_stats.Collector()
        self.sheet = None
        self.log = None

    def run(self, first: int, number: int) -> None:
        """Run iterations; `first` decides which phases are due, as the number since the start."""
        self.batch_idx = first
        for _ in range(number):
            self._train_batch()

    def warm_up(self, number: int = 1) -> None:
        """Run each kind of iteration among the first twice: cuDNN tries its algorithms."""
        due: dict[frozenset[str], int] = {}
        for idx in range(FIRST, FIRST + number):
            names = frozenset(p.name for p in self.phases if idx % p.interval == 0)
            due.setdefault(names, idx)
        for idx in due.values():
            self.run(idx, 1)
            self.run(idx, 1)
        devices.synchronize(self.device)

    def measure(self, number: int, num_runs: int = 1) -> timing.Timing[None]:
        """Time the first iterations, several times; `Timing` holds seconds per iteration."""
        timed = timing.measure(lambda: self.run(FIRST, number), self.device, num_runs, num_warmup=0)
        return timing.Timing(tuple(sec / number for sec in timed.runs_sec), None)


@contextlib.contextmanager
def dataset(resolution: int) -> Iterator[Path]:
    """A ZIP of random images, as `dataset_tool.py` writes them, which exists inside."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for idx in range(NUM_IMAGES):
                pixels = random.integers(0, 256, [resolution, resolution, 3], dtype=np.uint8)
                archive.writestr(f"{idx:08d}.png", plain_png.encode(pixels))
        yield path


def config_of(setup: Setup, data: Path, device: torch.device, **options: Any) -> TrainConfig:
    """The configuration of `train.py` for a dataset, with adaptive augmentation.

    Args:
        setup: Networks and sizes.
        data: The dataset.
        device: Where; on CPUs, images are loaded in the training process.
        options: Other fields of `TrainOptions`.
    """
    given: dict[str, Any] = dict(
        gpus=1,
        batch=setup.batch,
        gamma=suggest_gamma(setup.cfg, setup.resolution, setup.batch),
        cbase=setup.cbase,
        cmax=setup.cmax,
        mbstd_group=setup.config.options.mbstd_group,
        metrics=(),
        workers=3 if device.type == "cuda" else 0,
    )
    kwargs = dict(class_name="data.dataset.ImageFolderDataset", path=str(data))
    return make_config(TrainOptions(setup.cfg, **(given | options)), kwargs)


@contextlib.contextmanager
def started(config: TrainConfig, device: torch.device) -> Iterator[Iterations]:
    """A run with its data, networks and optimizers, which ends with the context."""
    memory.release(device)
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(config, run_dir=folder)
        with contextlib.redirect_stdout(io.StringIO()):  # tables of the networks
            run = Iterations(Worker(device=device), config)
        with contextlib.closing(run):
            # Config R starts with a blur, which is gone for most of the training.
            run.cur_nimg = int(run.loss.blur_fade_kimg * 1000)
            yield run
