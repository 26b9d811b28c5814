"""Checks of the real images before a metric is computed; the messages name options."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from data import fingerprint, notes
from data.dataset import ImageFolderDataset
from data.dataset_base import Dataset
from dnnlib import errors
from dnnlib.errors import InputError
from dnnlib.text import one_line
from metrics import metric_main, stats_file
from metrics.stats_dataset import CLASS_NAME as STATS_CLASS
from metrics.stats_dataset import StatsDataset
from torch_utils import distributed

DATASET_CLASS = "training.dataset.ImageFolderDataset"  # the name in network files


@dataclass(frozen=True)
class CheckedDataset:
    """A dataset whose images all fit together.

    Attributes:
        path: The folder or ZIP, or the file of statistics.
        dataset: The dataset itself.
        fingerprint: See `data.fingerprint`.
        label_notes: What is to say about its labels.
    """

    path: str
    dataset: Dataset
    fingerprint: dict[str, Any]
    label_notes: list[str]


def open_checked(option: str, path: Any, hint: str = "", **kwargs: Any) -> CheckedDataset:
    """Open a dataset, check all its images, and say what is changed or left out on reading.

    Args:
        option: The option for messages, such as `"--data"`.
        path: The folder or ZIP; for `--data` also a file of statistics.
        hint: The end of the message if the dataset cannot be used.
        **kwargs: For `ImageFolderDataset`.

    Raises:
        ValueError: The message names the option.
    """
    try:
        if not isinstance(path, str | os.PathLike):
            raise InputError(f"{path!r} is not a path")
        is_stats = option == "--data" and stats_file.is_stats_file(path)
        dataset = (StatsDataset if is_stats else ImageFolderDataset)(path, **kwargs)
        dataset.label_dim  # noqa: B018 - reads the labels
        label_notes = dataset.label_notes()
        identity = dataset.fingerprint()
        found = dataset.check_images() if distributed.is_main_process() else None
    except (OSError, ValueError, TypeError) as error:  # a network file can hold options of any type
        message = one_line(errors.message_of(error))  # the path can come from the network
        raise InputError(f"{option}: {message}{hint}") from error
    checked = CheckedDataset(str(path), dataset, identity, label_notes)
    if found is not None:
        _report(checked, found)
    return checked


def class_name(path: str) -> str:
    """The class that opens the real images, or a file of their statistics."""
    return STATS_CLASS if stats_file.is_stats_file(path) else DATASET_CLASS


def uses_dataset(metrics: Iterable[str]) -> bool:
    """Whether one of the metrics looks at real images."""
    return any(metric_main.get_metric(metric).uses_dataset for metric in metrics)


def dataset_kwargs(
    checked: CheckedDataset, mirror: bool | None, use_labels: bool = False
) -> dict[str, Any]:
    """Keyword arguments of a dataset for `MetricOptions`."""
    kwargs = dict(
        class_name=class_name(checked.path),
        path=checked.path,
        resolution=checked.dataset.resolution,
        use_labels=use_labels,
    )
    return kwargs if mirror is None else {**kwargs, "xflip": mirror}


def choose_dataset(
    G: torch.nn.Module,
    training_set_kwargs: Mapping[str, Any] | None,
    data: str | None,
    mirror: bool | None,
) -> dict[str, Any]:
    """Keyword arguments of the dataset, from `--data` or the network; empty if unknown."""
    if data is not None:
        kwargs = dict(
            class_name=class_name(data),
            path=data,
            resolution=G.img_resolution,
            use_labels=G.c_dim != 0,
        )
    else:
        kwargs = dict(training_set_kwargs or {})
    if mirror is not None and kwargs:
        kwargs["xflip"] = mirror
    return kwargs


def check_dataset(
    metrics: Iterable[str], G: torch.nn.Module, kwargs: Mapping[str, Any], data: str | None
) -> CheckedDataset | None:
    """If a dataset is needed, refuse a dataset that cannot be opened or does not suit the network.

    Returns:
        The dataset; `None` if no dataset is needed.

    Raises:
        ValueError: The message names `--data`.
    """
    if not uses_dataset(metrics) and G.c_dim == 0:
        return None
    if not kwargs:
        raise InputError("--data is missing: the network does not name its training data")
    path = kwargs.get("path")
    hint = "" if data is not None else "; the network was trained with it, name another"
    known = {key: kwargs[key] for key in ("resolution", "use_labels") if key in kwargs}
    checked = open_checked("--data", path, hint, **known)
    dataset = checked.dataset
    if dataset.resolution != G.img_resolution:
        raise InputError(
            f"--data: {path} has images of {dataset.resolution}x{dataset.resolution}, the network "
            f"makes {G.img_resolution}x{G.img_resolution}"
        )
    if dataset.label_dim != G.c_dim:
        raise InputError(
            f"--data: the labels of {path} are {dataset.label_dim} numbers, the network takes "
            f"{G.c_dim}" + "".join(f"; {note}" for note in checked.label_notes)
        )
    return checked


def compare_dataset(
    networks: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    identity: Mapping[str, Any] | None,
    data: str | None,
) -> str | None:
    """Refuse a dataset that has changed since the training, unless `--data` names it.

    Args:
        networks: Result of `network_files.load.load_network`.
        kwargs: Keyword arguments of the dataset.
        identity: The fingerprint of the dataset; `None` if no metric needs it.
        data: The option.

    Returns:
        A note for the user about the dataset, if there is one.

    Raises:
        ValueError: The message names `--data`.
    """
    if identity is None:
        return None
    saved, path = networks.get("dataset_fingerprint"), kwargs["path"]
    differences = " and ".join(fingerprint.differences(saved, identity))
    if data is not None:
        if not differences:
            return None
        return f"Note: {path} is not what the network was trained with: it has {differences}."
    if differences:
        raise InputError(
            f"--data: {path} is not what the network was trained with any more: it has "
            f"{differences}; --data=PATH names the real images to compare with"
        )
    if fingerprint.is_unknown(saved):
        return (
            f"Note: the real images are what is now in {Path(path).absolute()}; the network does "
            "not tell whether it was trained with them, --data=PATH names others."
        )
    return None


def _report(checked: CheckedDataset, found: Counter[str]) -> None:
    """Say on stderr what is changed or left out when the images are read."""
    path = one_line(checked.path)
    for title, text in notes.describe(found, checked.dataset.left_out).items():
        click.echo(f"{title} in {path}: {text}", err=True)
    for note in checked.label_notes:
        click.echo(f"Note: {note}", err=True)
