"""Image files of a metric: opens them, and draws labels of random training images."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data import fingerprint
from dnnlib import errors
from dnnlib.errors import InputError, MachineError, UserError
from dnnlib.util import construct_class_by_name
from metrics import samples
from metrics.options import MetricOptions


@dataclass(frozen=True)
class ImageFiles:
    """Image files that a metric reads.

    Attributes:
        kwargs: How to construct their dataset.
        fingerprint: Their fingerprint at the start; `None` if it is unknown.
        kind: What they are, in messages.
        option: The option that names them.
    """

    kwargs: Mapping[str, Any]
    fingerprint: Mapping[str, Any] | None
    kind: str
    option: str

    def open(self) -> Any:
        """Construct the dataset.

        Raises:
            RuntimeError: If the files cannot be opened, or have changed since the start.
        """
        if "class_name" not in self.kwargs:
            raise MachineError(f"this metric needs the {self.kind}; name it with {self.option}")
        found: list[str] = []
        try:
            dataset = construct_class_by_name(**self.kwargs)
            if self.fingerprint is not None:
                found = fingerprint.differences(self.fingerprint, dataset.fingerprint())
        except (UserError, OSError) as error:
            message = errors.message_of(error)
            raise MachineError(
                f"cannot open the {self.kind}; {self.option} names another: {message}"
            ) from error
        if found:
            raise MachineError(
                f"the {self.kind} {self.kwargs.get('path')} has changed since the start: it has "
                f"{' and '.join(found)}"
            )
        return dataset


def real_images(opts: MetricOptions) -> ImageFiles:
    """The real images that generated images are compared with."""
    return ImageFiles(opts.dataset_kwargs, opts.dataset_fingerprint, "dataset", "--data")


def evaluated_images(opts: MetricOptions) -> ImageFiles | None:
    """The images that take the place of a generator's; `None` if there is a generator."""
    if opts.images_kwargs is None:
        return None
    return ImageFiles(opts.images_kwargs, opts.images_fingerprint, "set of images", "--images")


def open_dataset(opts: MetricOptions) -> Any:
    """Construct the dataset of the real images; see `ImageFiles.open`."""
    return real_images(opts).open()


class RandomLabels:
    """Labels of random training images, for the samples of a network.

    Args:
        opts: Options of the metric. The dataset is opened if the network has labels.

    Raises:
        ValueError: If the labels of the dataset do not suit the network.
    """

    def __init__(self, opts: MetricOptions) -> None:
        self.seed, self.device, self.c_dim = opts.seed, opts.device, opts.generator.c_dim
        self.dataset: Any = None
        if self.c_dim > 0:
            self.dataset = open_dataset(opts)
            self.dataset.get_label(0)  # reads them all
            self.dataset.close()
            if self.dataset.label_dim != self.c_dim:
                raise InputError(
                    f"the network takes labels of {self.c_dim} numbers, those of the dataset "
                    f"{self.dataset.name} have {self.dataset.label_dim}; --data names another"
                )

    def get(self, start: int, stop: int) -> Tensor:
        """Labels of the samples from `start` to before `stop`, float32 `[N, c_dim]`."""
        if self.dataset is None:
            return torch.zeros([stop - start, 0], device=self.device)
        if self.seed is None:
            indices = np.random.randint(len(self.dataset), size=stop - start).tolist()
        else:
            indices = samples.label_indices(self.seed, start, stop, len(self.dataset))
        labels = np.stack([self.dataset.get_label(idx) for idx in indices])
        return samples.to_device(torch.from_numpy(labels.astype(np.float32)), self.device)


def iterate_random_labels(opts: MetricOptions, batch_size: int) -> Iterator[Tensor]:
    """Endless batches of labels of random training images, float32 `[batch_size, c_dim]`.

    The batches of several processes alternate.
    """
    labels = RandomLabels(opts)
    for idx in itertools.count(opts.rank, opts.num_gpus):
        yield labels.get(idx * batch_size, (idx + 1) * batch_size)
