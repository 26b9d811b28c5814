"""Files of the real images' statistics (`stats_file`): which metrics they serve, making them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dnnlib.errors import InputError, UserError, message_of
from dnnlib.util import construct_class_by_name, open_atomic
from metrics import lockstep, metric_main, metric_utils, stats_file
from metrics.feature_stats import FeatureStats
from metrics.metric_utils import MetricOptions
from metrics.shared_passes import Request, SharedPasses
from metrics.stats_file import Content
from torch_utils.distributed import Worker


def save(
    path: str | os.PathLike,
    metrics: Iterable[str],
    nums: Iterable[int | None],
    worker: Worker,
    **options: Any,
) -> str:
    """Write the statistics that metrics need of the real images; all processes call this.

    Args:
        path: The file, which appears when it is complete.
        metrics: Names of metrics; those that look at no real images need nothing.
        nums: Numbers of generated images: some metrics use as many real images.
        worker: This process.
        **options: Arguments of `MetricOptions`, the same as of all calls of `calc_metric`.

    Returns:
        What the file holds, for people.
    """
    metrics = [name for name in metrics if metric_main.get_metric(name).uses_dataset]
    with lockstep.in_step(worker):
        facts, labels, note = _describe_dataset(options["dataset_kwargs"])
    wanted: list[tuple[MetricOptions, Request]] = []
    keys: list[dict[str, Any]] = []
    for metric in metrics:
        for num in nums:
            opts = MetricOptions(worker=worker, **{**options, "num": num, "images_kwargs": {}})
            requests = _requests(metric, opts)
            if not requests:
                raise InputError(
                    f"--save-stats: {metric} does not tell what it needs; leave it out"
                )
            for request in requests:
                key = stats_file.key_of(request, facts["num_images"])
                if key not in keys:
                    keys.append(key)
                    wanted.append((opts, request))
    passes = SharedPasses()
    for opts, request in wanted:
        opts.passes = passes
        with passes.planning():
            _compute(opts, request)
    answers = [
        (request, stats_file.identity_of(request, opts.detectors), _compute(opts, request))
        for opts, request in wanted
    ]
    with lockstep.in_step(worker):
        if worker.is_main:
            with open_atomic(path) as f:
                stats_file.write(f, facts, labels, answers)
    what = f"statistics of {facts['num_images']} real images for {', '.join(metrics)}"
    return f"Wrote {path}: {what}{note}"


def check_saving(path: str | os.PathLike, metrics: Sequence[str], is_all: bool) -> None:
    """Refuse metrics whose statistics cannot be saved.

    Args:
        path: The file.
        metrics: Names of metrics.
        is_all: Whether the file is all that is wanted, and no metric is computed.

    Raises:
        ValueError: The message names `--save-stats`.
    """
    found = {name: metric_main.get_metric(name) for name in metrics}
    using = [name for name, metric in found.items() if metric.uses_dataset]
    refused = [name for name in using if not _has_statistics(name)]
    if refused:
        raise InputError(
            f"--save-stats: {', '.join(refused)} needs the real images themselves, which a file of "
            "statistics does not hold; leave it out"
        )
    others = [name for name in found if name not in using]
    if not using or (others and is_all):
        raise InputError(
            f"--save-stats: {', '.join(others)} looks at no real images, and {path} would hold "
            "nothing for it; leave it out"
        )


def check_data(
    path: str | os.PathLike,
    metrics: Sequence[str],
    nums: Sequence[int | None],
    replacements: Mapping[str, str],
) -> None:
    """Refuse metrics whose statistics a file does not have, or has of another feature network.

    Args:
        path: The file.
        metrics: Names of metrics.
        nums: Numbers of generated images.
        replacements: For `detectors.find`.

    Raises:
        ValueError: The message names `--data`, the metrics that work, and how to make a file.
    """
    using = [name for name in metrics if metric_main.get_metric(name).uses_dataset]
    refused = [name for name in using if not _has_statistics(name)]
    if refused:
        raise InputError(
            f"--data: {path} has statistics and no images, and {', '.join(refused)} needs the real "
            "images themselves: name them with --data"
        )
    if not using:
        return
    content = stats_file.read(path)
    lacking = [name for name in using if not _is_served(content, name, nums)]
    if lacking:
        names = metric_main.list_valid_metrics()
        served = [
            name for name in names if _has_statistics(name) and _is_served(content, name, nums)
        ]
        limits = "" if None in nums else f" with --num={','.join(map(str, nums))}"
        raise InputError(
            f"--data: {path} has no statistics for {', '.join(lacking)}{limits}; it serves "
            f"{', '.join(served) or 'no metric'}; calc_metrics.py --data=IMAGES "
            f"--metrics={','.join(lacking)} --save-stats=FILE.stats makes a file from the images"
        )
    for name in using:
        for num in nums:
            for request in _requests(name, _planned_options(num)):
                entry = content.find(request)
                assert entry is not None  # because the metric is served
                content.check_detector(entry, request, replacements)


def _has_statistics(metric: str) -> bool:
    """Whether statistics of the real images are all that a metric needs, and it asks in advance."""
    found = metric_main.get_metric(metric)
    return found.uses_dataset and found.shares_images and not found.needs_real_images


def _is_served(content: Content, metric: str, nums: Iterable[int | None]) -> bool:
    """Whether a file has all statistics that a metric needs."""
    requests = [request for num in nums for request in _requests(metric, _planned_options(num))]
    return bool(requests) and all(content.find(request) is not None for request in requests)


def _planned_options(num: int | None) -> MetricOptions:
    return MetricOptions(worker=Worker(), num=num, images_kwargs={})


def _requests(metric: str, opts: MetricOptions) -> list[Request]:
    """What a metric asks for about real images. Its options become those of the request."""
    opts.passes = SharedPasses()
    with opts.passes.planning():
        metric_main.get_metric(metric).function(opts)
    return [request for request in opts.passes.waiting() if request.is_real]


def _compute(opts: MetricOptions, request: Request) -> FeatureStats:
    return metric_utils.compute_feature_stats_for_dataset(
        opts,
        request.detector_url,
        dict(request.detector_kwargs),
        max_items=request.max_items,
        **dict(request.stats_kwargs),
    )


def _describe_dataset(
    kwargs: Mapping[str, Any],
) -> tuple[dict[str, Any], np.ndarray | None, str]:
    """Facts about the real images, their labels, and what is to say about labels.

    Labels are stored even if this network takes none: others may.
    """
    dataset, note = construct_class_by_name(**{**kwargs, "use_labels": True}), ""
    labels: np.ndarray | None = None
    try:
        labels = dataset.raw_labels()
        identity = dataset.fingerprint()
    except (OSError, UserError) as error:
        note = f"; their labels are left out, because they cannot be used ({message_of(error)})"
        dataset = construct_class_by_name(**{**kwargs, "use_labels": False})
        labels, identity = None, dataset.fingerprint()
    if labels is not None and not dataset.has_labels:
        labels = None
    facts = dict(
        name=dataset.name,
        image_shape=dataset.image_shape,
        num_images=len(dataset),
        fingerprint=identity,
    )
    dataset.close()
    return facts, labels, note
