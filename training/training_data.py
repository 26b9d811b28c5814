"""The training set of a run: opened by every process, and given to the networks batch by batch."""

import numpy as np
import torch
from torch import Tensor

from data import fingerprint
from data.batches import TrainingBatches
from data.dataset import Dataset
from dnnlib.errors import MachineError
from dnnlib.util import construct_class_by_name
from torch_utils import collectives
from torch_utils.distributed import Worker
from training.config import TrainConfig


def open_training_set(worker: Worker, config: TrainConfig) -> Dataset:
    """Open the dataset of a run, and compare it with the dataset of the main process.

    Raises:
        RuntimeError: In all processes, if one of them finds other data at the path, for example on
            another machine.
    """
    # Other programs read `training_set_kwargs` in our pickles, and do not know `cache`.
    cache = {} if config.cache == "none" else {"cache": config.cache}
    training_set = construct_class_by_name(**config.training_set_kwargs, **cache)
    expected, differences = config.dataset_fingerprint, []
    if expected is not None and not worker.is_main:
        differences = fingerprint.differences(expected, training_set.fingerprint())
    by_rank = collectives.broadcast(worker, collectives.gather(worker, differences))
    for rank, differences in enumerate(by_rank):
        if differences:
            raise MachineError(
                f"--data: {config.training_set_kwargs['path']} is not the same on all machines: "
                f"for process {rank} it has {' and '.join(differences)}; copy that of the first "
                "machine to the others"
            )
    return training_set


def start_loading(
    worker: Worker, config: TrainConfig, training_set: Dataset, start: int
) -> TrainingBatches:
    """Start to load the batches of this process, from batch number `start` on."""
    return TrainingBatches(
        worker,
        training_set,
        config.batch_size,
        config.random_seed,
        config.data_loader_kwargs,
        config.skip_damaged_images,
        start,
    )


def load_batch(batches: TrainingBatches, device: torch.device) -> tuple[Tensor, Tensor]:
    """The next images, float32 in [-1, 1], and their labels, on the device of the networks."""
    real_img, real_c = batches.load()
    # Images go to the device as bytes: float32 would be four times as much.
    real_img = real_img.to(device, non_blocking=True).contiguous() / 127.5
    return real_img.sub_(1), real_c.to(device, non_blocking=True)


def draw_labels(training_set: Dataset, num: int, device: torch.device) -> Tensor:
    """Labels of random training images, `[num, label_dim]`."""
    if training_set.label_dim == 0:
        return torch.zeros([num, 0], device=device)
    indices = np.random.randint(len(training_set), size=num)
    labels = torch.from_numpy(np.stack([training_set.get_label(idx) for idx in indices]))
    if device.type == "cuda":
        labels = labels.pin_memory()  # a copy from other memory would wait for the device's queue
    return labels.to(device, non_blocking=True)
