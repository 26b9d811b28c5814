"""Metric names and their requirements, evaluation, and the JSON record of a result."""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import dnnlib
from data import fingerprint
from dnnlib import strict_json
from dnnlib.errors import InputError, MachineError, UserError, message_of
from dnnlib.util import EasyDict
from metrics import (
    clip_mmd,
    density_coverage,
    detectors,
    equivariance,
    frechet_inception_distance,
    inception_score,
    kernel_inception_distance,
    lockstep,
    memorization,
    metric_utils,
    perceptual_path_length,
    precision_recall,
    records,
    samples,
)
from metrics.metric_utils import MetricOptions
from metrics.shared_passes import SharedPasses
from metrics.value import facts_by_field
from torch_utils import misc

NUM_SAMPLES = records.NUM_SAMPLES


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        function: Takes `MetricOptions` and returns values by name.
        detectors: Names of the feature networks.
        uses_dataset: Whether the metric looks at real images.
        shares_images: Whether the metric shares its images with other metrics, see `plan`.
        needs_generator: Whether images alone, without their generator, are not enough.
        needs_real_images: Whether statistics of the real images are not enough.
        higher_is_better: Whether the better of two networks has the higher values.
        ranked_by: Ends of the names of the values that rank networks, see `metrics.ranking`.
        extrapolates: Whether the metric knows `MetricOptions.extrapolate`.
    """

    function: Callable[[MetricOptions], dict[str, float]]
    detectors: tuple[str, ...]
    uses_dataset: bool
    shares_images: bool = False
    needs_generator: bool = False
    needs_real_images: bool = False
    higher_is_better: bool = False
    ranked_by: tuple[str, ...] = ("",)
    extrapolates: bool = False


_metrics: dict[str, Metric] = {}


def register_metric(
    function: Callable | None = None,
    *,
    detectors: Iterable[str] = (),
    uses_dataset: bool = False,
    shares_images: bool = False,
    needs_generator: bool = False,
    needs_real_images: bool = False,
    higher_is_better: bool = False,
    ranked_by: Iterable[str] = ("",),
    extrapolates: bool = False,
) -> Callable:
    """Decorator: make a function a metric under its own name.

    The function takes `MetricOptions` and returns values by name; those of rank 0 count.

    Args:
        function: The function, if the decorator has no arguments.
        detectors: Names of the feature networks that the metric uses.
        uses_dataset: Whether the metric looks at real images.
        shares_images: Whether the metric shares its images with other metrics, see `plan`. Its
            function must ask `metric_utils` for all its features at once, before any other work.
        needs_generator: Whether images alone, without their generator, are not enough.
        needs_real_images: Whether statistics of the real images, of the features that the function
            asks for at once, are not enough.
        higher_is_better: Whether the better of two networks has the higher values.
        ranked_by: Ends of the names of the values that rank networks, such as `["_recall"]` for the
            value `pr50k3_recall`; by default the value with the name of the metric; none of them if
            no value says which network is better.
        extrapolates: Whether the metric knows `MetricOptions.extrapolate`: it calls `compute_fid`.
    """

    def register(function: Callable) -> Callable:
        _metrics[function.__name__] = Metric(
            function,
            tuple(detectors),
            uses_dataset,
            shares_images,
            needs_generator,
            needs_real_images,
            higher_is_better,
            tuple(ranked_by),
            extrapolates,
        )
        return function

    return register if function is None else register(function)


def is_valid_metric(metric: str) -> bool:
    """Whether a metric of this name exists."""
    return metric in _metrics


def list_valid_metrics() -> list[str]:
    """Names of all metrics, the recommended ones first."""
    return list(_metrics)


def get_metric(metric: str) -> Metric:
    """The metric with this name."""
    assert is_valid_metric(metric), f"unknown metric {metric!r}"
    return _metrics[metric]


def find_missing(
    metrics: Iterable[str],
    replacements: Mapping[str, str] | None = None,
    allow_untrusted: bool = False,
) -> dict[str, str]:
    """Find metrics that cannot be computed without a missing feature network, and the reasons.

    Missing feature networks are downloaded now. Each is tried once; without internet, this fails
    within seconds.
    """
    reasons: dict[str, str | None] = {}
    missing: dict[str, str] = {}
    for metric in metrics:
        for name in get_metric(metric).detectors:
            if name not in reasons:
                reasons[name] = _check_detector(name, replacements, allow_untrusted)
            if (reason := reasons[name]) is not None:
                missing[metric] = reason
    return missing


def plan(metrics: Iterable[str], **kwargs: Any) -> SharedPasses:
    """Plan several metrics of one network, so that they share passes over the same images.

    The values are those of separate calls. Features that several metrics need stay in memory until
    the last of them is computed.

    Args:
        metrics: Names of the metrics that will be computed, in any order.
        **kwargs: Arguments of `MetricOptions`, the same as of all calls of `calc_metric`.

    Returns:
        The argument `passes` of those calls.
    """
    passes = SharedPasses()
    if kwargs.get("seed", 0) is None:
        return passes  # each metric draws images of its own
    for metric in metrics:
        if get_metric(metric).shares_images:
            opts = MetricOptions(**{"seed": 0, **kwargs, "passes": passes})
            with passes.planning():
                get_metric(metric).function(opts)
    return passes


def calc_metric(metric: str, **kwargs: Any) -> EasyDict:
    """Evaluate a metric; all processes of a run call this.

    The global random generators are left as they were.

    Args:
        metric: Name of the metric.
        **kwargs: Arguments of `MetricOptions`; `seed` is 0 by default.

    Returns:
        `results` (values by name), `metric`, `total_time` in seconds, `total_time_str`, `num_gpus`,
        and, if they differ from the defaults, `num`, `seed` and `detectors`. Metrics of features
        always state `num` and, if they compare with real images, `num_real`. If the metric uses
        real images, `dataset` identifies their files (`data.fingerprint.short`), and
        `dataset_pixels` their pixels (`data.fingerprint.pixels`), if a `dataset-info.json` tells.
        If images take the place of a generator, `images` is their path, and `images_dataset` and
        `images_pixels` are like those. A metric may add fields (`MetricOptions.details`), such as
        `feature_network`, the model that gave the features, and so may its values
        (`metrics.value`).

    Raises:
        RuntimeError: If the metric cannot be computed, in every process, or is not finite.
        ValueError: If the network or the dataset is damaged, or the two do not fit together.
    """
    opts = MetricOptions(**{"seed": 0, **kwargs})
    start_time = time.monotonic()
    with (
        samples.preserved_generators(opts.device),
        lockstep.in_step(opts.worker),
    ):
        _check_weights(opts.G)
        samples.seed_torch(opts.seed, opts.rank)  # for random numbers outside of batches
        results = get_metric(metric).function(opts)
    values = lockstep.broadcast_floats(opts.worker, [float(value) for value in results.values()])
    for name, value in zip(results, values, strict=True):
        if not math.isfinite(value):
            raise MachineError(f"{name} came out as {value}, which is not a number to compare with")
    total_time = time.monotonic() - start_time
    record = EasyDict(
        results=EasyDict(zip(results, values, strict=True)),
        metric=metric,
        total_time=total_time,
        total_time_str=dnnlib.util.format_time(total_time),
        num_gpus=opts.num_gpus,
    )
    details = opts.details | facts_by_field(results)
    record.update((key, value) for key, value in details.items() if key not in record)
    if opts.num is not None:
        record.num = opts.num
    if opts.seed not in (None, 0):
        record.seed = opts.seed
    used = {
        name: opts.detectors[name]
        for name in get_metric(metric).detectors
        if name in opts.detectors
    }
    if used:
        record.detectors = used
    dataset = fingerprint.short(opts.dataset_fingerprint)
    if dataset is not None and get_metric(metric).uses_dataset:
        record.dataset = dataset
        if (pixels := fingerprint.pixels(opts.dataset_fingerprint)) is not None:
            record.dataset_pixels = pixels
    if opts.images_kwargs is not None:
        record.images = opts.images_kwargs.get("path")
        record.images_dataset = fingerprint.short(opts.images_fingerprint)
        if (pixels := fingerprint.pixels(opts.images_fingerprint)) is not None:
            record.images_pixels = pixels
    return record


def report_metric(
    result_dict: Mapping[str, Any],
    run_dir: str | os.PathLike | None = None,
    snapshot_pkl: str | os.PathLike | None = None,
) -> None:
    """Print a result as one line of JSON, and append it to `metric-<name>.jsonl` of a run.

    Args:
        result_dict: The result of `calc_metric`.
        run_dir: Folder of the run; if it does not exist, the line is only printed.
        snapshot_pkl: Path of the network, which is stored relative to the folder.

    Raises:
        ValueError: If a number is not finite: JSON cannot hold it.
    """
    metric = result_dict["metric"]
    assert is_valid_metric(metric), f"unknown metric {metric!r}"
    if snapshot_pkl is not None:
        snapshot_pkl = os.fspath(snapshot_pkl)
        if run_dir is not None:
            snapshot_pkl = os.path.relpath(snapshot_pkl, run_dir)
    names = ("results", "metric", "total_time", "total_time_str", "num_gpus")
    record = {
        **{name: result_dict[name] for name in names if name in result_dict},
        "snapshot_pkl": snapshot_pkl,
        "timestamp": time.time(),
    }
    record.update((key, value) for key, value in result_dict.items() if key not in record)
    line = strict_json.dumps(record)
    print(line)
    if run_dir is not None and os.path.isdir(run_dir):
        records.append(Path(run_dir) / f"metric-{metric}.jsonl", line)


# The recommended metrics: all real images, without mirrored copies.


@register_metric(detectors=["inception"], uses_dataset=True, shares_images=True, extrapolates=True)
def fid50k_full(opts: MetricOptions) -> dict[str, float]:
    """FID to all real images."""
    _use_all_images(opts)
    return _fid("fid50k_full", opts, max_real=None)


@register_metric(detectors=["inception"], uses_dataset=True, shares_images=True)
def kid50k_full(opts: MetricOptions) -> dict[str, float]:
    """KID to all real images."""
    _use_all_images(opts)
    return _kid("kid50k_full", opts, max_real=1000000)


@register_metric(
    detectors=["vgg16"],
    uses_dataset=True,
    shares_images=True,
    higher_is_better=True,
    ranked_by=["_precision", "_recall"],
)
def pr50k3_full(opts: MetricOptions) -> dict[str, float]:
    """Precision and recall against up to 200 000 real images, three neighbours."""
    _use_all_images(opts)
    return _pr("pr50k3_full", opts, max_real=200000)


@register_metric(detectors=["vgg16"], needs_generator=True)
def ppl2_wend(opts: MetricOptions) -> dict[str, float]:
    """Perceptual path length in W, at the end points of paths."""
    value = perceptual_path_length.compute_ppl(
        opts,
        num_samples=_num(opts),
        epsilon=1e-4,
        space="w",
        sampling="end",
        crop=False,
        batch_size=opts.batch_gen or 2,
    )
    return dict(ppl2_wend=value)


@register_metric(needs_generator=True, higher_is_better=True)
def eqt50k_int(opts: MetricOptions) -> dict[str, float]:
    """Equivariance to translation by whole pixels, in decibels."""
    return dict(eqt50k_int=_equivariance(opts, compute_eqt_int=True))


@register_metric(needs_generator=True, higher_is_better=True)
def eqt50k_frac(opts: MetricOptions) -> dict[str, float]:
    """Equivariance to translation by fractions of a pixel, in decibels."""
    return dict(eqt50k_frac=_equivariance(opts, compute_eqt_frac=True))


@register_metric(needs_generator=True, higher_is_better=True)
def eqr50k(opts: MetricOptions) -> dict[str, float]:
    """Equivariance to rotation, in decibels."""
    return dict(eqr50k=_equivariance(opts, compute_eqr=True))


# Metrics of older papers.


@register_metric(detectors=["inception"], uses_dataset=True, shares_images=True, extrapolates=True)
def fid50k(opts: MetricOptions) -> dict[str, float]:
    """FID to equally many real images."""
    opts.dataset_kwargs.update(max_size=None)
    return _fid("fid50k", opts, max_real=_num(opts))


@register_metric(detectors=["inception"], uses_dataset=True, shares_images=True)
def kid50k(opts: MetricOptions) -> dict[str, float]:
    """KID to equally many real images."""
    opts.dataset_kwargs.update(max_size=None)
    return _kid("kid50k", opts, max_real=_num(opts))


@register_metric(
    detectors=["vgg16"],
    uses_dataset=True,
    shares_images=True,
    higher_is_better=True,
    ranked_by=["_precision", "_recall"],
)
def pr50k3(opts: MetricOptions) -> dict[str, float]:
    """Precision and recall against equally many real images, three neighbours."""
    opts.dataset_kwargs.update(max_size=None)
    return _pr("pr50k3", opts, max_real=_num(opts))


@register_metric(
    detectors=["inception"], shares_images=True, higher_is_better=True, ranked_by=["_mean"]
)
def is50k(opts: MetricOptions) -> dict[str, float]:
    """Inception score in ten parts."""
    _use_all_images(opts)
    mean, std = inception_score.compute_is(opts, num_gen=_num(opts), num_splits=10)
    return dict(is50k_mean=mean, is50k_std=std)


# Metrics of other papers, which the published program lacks.


@register_metric(
    detectors=["vgg16"],
    uses_dataset=True,
    shares_images=True,
    higher_is_better=True,
    ranked_by=["_density", "_coverage"],
)
def dc50k5_full(opts: MetricOptions) -> dict[str, float]:
    """Density and coverage against up to 200 000 real images, five neighbours."""
    _use_all_images(opts)
    density, coverage = density_coverage.compute_dc(
        opts,
        max_real=200000,
        num_gen=_num(opts),
        nhood_size=5,
        row_batch_size=5000,
        col_batch_size=5000,
    )
    return dict(dc50k5_full_density=density, dc50k5_full_coverage=coverage)


@register_metric(
    detectors=["vgg16"],
    uses_dataset=True,
    shares_images=True,
    needs_real_images=True,
    ranked_by=[],  # images far from all training images are authentic, too
)
def memo(opts: MetricOptions) -> dict[str, float]:
    """Percentage of images that repeat none of up to 200 000 training images, and of copies."""
    is_mirrored = bool(opts.dataset_kwargs.get("xflip"))  # then mirrored images are copies, too
    opts.dataset_kwargs.update(max_size=None, xflip=is_mirrored)
    authentic, copies = memorization.compute_memo(
        opts, max_real=200000, num_gen=_num(opts), row_batch_size=5000, col_batch_size=5000
    )
    return dict(memo_authpct=authentic, memo_copypct=copies)


@register_metric(detectors=["inception"], uses_dataset=True, shares_images=True, extrapolates=True)
def fid50k_full_clean(opts: MetricOptions) -> dict[str, float]:
    """FID to all real images, resized without aliasing (Parmar et al. 2022)."""
    _use_all_images(opts)
    return _fid("fid50k_full_clean", opts, None, detector_kwargs=metric_utils.CLEAN_FEATURES)


@register_metric(detectors=["inception"], uses_dataset=True, shares_images=True)
def kid50k_full_clean(opts: MetricOptions) -> dict[str, float]:
    """KID to all real images, resized without aliasing (Parmar et al. 2022)."""
    _use_all_images(opts)
    return _kid("kid50k_full_clean", opts, 1000000, detector_kwargs=metric_utils.CLEAN_FEATURES)


# Distances of features of vision transformers.


@register_metric(detectors=["dinov2"], uses_dataset=True, shares_images=True, extrapolates=True)
def fd_dinov2(opts: MetricOptions) -> dict[str, float]:
    """Fréchet distance of DINOv2 features to all real images (Stein et al. 2023)."""
    _use_all_images(opts)
    result = _fid("fd_dinov2", opts, None, detector="dinov2", detector_kwargs={})
    _describe_detector(opts, "dinov2")
    return result


@register_metric(detectors=["dinov2"], uses_dataset=True, shares_images=True)
def kd_dinov2(opts: MetricOptions) -> dict[str, float]:
    """Kernel distance of DINOv2 features to all real images, as KID (Stein et al. 2023)."""
    _use_all_images(opts)
    result = _kid("kd_dinov2", opts, 1000000, detector="dinov2", detector_kwargs={})
    _describe_detector(opts, "dinov2")
    return result


@register_metric(detectors=["clip"], uses_dataset=True, shares_images=True)
def cmmd(opts: MetricOptions) -> dict[str, float]:
    """Maximum mean discrepancy of CLIP embeddings to all real images."""
    _use_all_images(opts)
    value = clip_mmd.compute_cmmd(opts, max_real=None, num_gen=_num(opts))
    _describe_detector(opts, "clip")
    return dict(cmmd=value)


def _check_weights(G: torch.nn.Module | None) -> None:
    """Refuse a damaged network: clamped layers can hide the damage in its images."""
    if not isinstance(G, torch.nn.Module):
        return
    # The average style matters for truncation only, which no metric uses.
    bad = [name for name in misc.nonfinite_tensors(G) if not name.endswith("w_avg")]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise InputError(
            f"the network has NaN or infinite values in {', '.join(bad[:3])}{more}: there is "
            "nothing to measure, use an earlier snapshot"
        )


def _use_all_images(opts: MetricOptions) -> None:
    opts.dataset_kwargs.update(max_size=None, xflip=False)


def _num(opts: MetricOptions) -> int:
    return opts.num or NUM_SAMPLES


def _fid(name: str, opts: MetricOptions, max_real: int | None, **features: Any) -> dict[str, float]:
    value = frechet_inception_distance.compute_fid(
        opts, max_real=max_real, num_gen=_num(opts), **features
    )
    return {name: value}


def _kid(name: str, opts: MetricOptions, max_real: int, **features: Any) -> dict[str, float]:
    value = kernel_inception_distance.compute_kid(
        opts,
        max_real=max_real,
        num_gen=_num(opts),
        num_subsets=100,
        max_subset_size=1000,
        **features,
    )
    return {name: value}


def _pr(name: str, opts: MetricOptions, max_real: int) -> dict[str, float]:
    precision, recall = precision_recall.compute_pr(
        opts,
        max_real=max_real,
        num_gen=_num(opts),
        nhood_size=3,
        row_batch_size=10000,
        col_batch_size=10000,
    )
    return {f"{name}_precision": precision, f"{name}_recall": recall}


def _describe_detector(opts: MetricOptions, name: str) -> None:
    """Let the record say which model gave the features, and the first digits of its hash."""
    network = metric_utils.load_detector(opts, detectors.URLS[name])
    opts.details["feature_network"] = network.description


def _equivariance(opts: MetricOptions, **which: bool) -> float:
    opts.G_kwargs.update(force_fp32=True)
    value = equivariance.compute_equivariance_metrics(
        opts, num_samples=_num(opts), batch_size=opts.batch_gen or 4, **which
    )
    assert isinstance(value, float)  # one metric is chosen
    return value


def _check_detector(
    name: str, replacements: Mapping[str, str] | None, allow_untrusted: bool
) -> str | None:
    source = detectors.find(detectors.URLS[name], replacements)
    try:
        detectors.check(source, allow_untrusted)
    except (UserError, OSError) as error:
        return message_of(error)
    return None
