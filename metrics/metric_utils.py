"""Features of real and of generated images, which metrics share."""

import contextlib
import copy
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.loader import BatchLoader
from dnnlib.errors import InputError
from metrics import detectors, feature_cache, lockstep, samples
from metrics.dataset import RandomLabels as RandomLabels
from metrics.dataset import iterate_random_labels as iterate_random_labels
from metrics.dataset import open_dataset as open_dataset
from metrics.feature_stats import FeatureStats as FeatureStats
from metrics.options import MetricOptions as MetricOptions
from metrics.progress import ProgressMonitor as ProgressMonitor
from torch_utils import images, misc
from torch_utils.networks import Generator

BATCH_SIZE = {"cuda": 64, "mps": 32, "cpu": 16}  # images that a detector sees at once
MAX_BATCH_PIXELS = 4 * 1024**2  # of images that a GPU generates at once
MAX_WORKERS = 3  # processes that load real images
MIN_BATCHES = 16  # of real images; for fewer, starting processes takes too long


def get_feature_detector_name(url: str) -> str:
    """The file's name without its last extension."""
    return detectors.stem(url)


def get_feature_detector(
    url: str,
    device: torch.device | str = "cpu",
    num_gpus: int = 1,
    rank: int = 0,
    verbose: bool = False,
    replacements: Mapping[str, str] | None = None,
    allow_untrusted: bool = False,
) -> torch.nn.Module:
    """Load a feature network, see `metrics.detectors`; it is downloaded once.

    Published programs give `num_gpus`, `rank` and `verbose`, which change nothing.
    """
    source = detectors.find(url, replacements)
    return detectors.load(source, torch.device(device), allow_untrusted)


def load_detector(opts: MetricOptions, url: str) -> torch.nn.Module:
    """Load the feature network that the options name for a published address."""
    return get_feature_detector(
        url, opts.device, replacements=opts.detectors, allow_untrusted=opts.allow_untrusted
    )


def run_batches(
    opts: MetricOptions,
    num_batches: int,
    function: Callable[[int], Tensor],
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """Results `[rows, columns]` of all batches, in order, in every process.

    The processes take turns. Before each batch PyTorch's generators are seeded with its number.
    """

    def seeded(idx: int) -> Tensor:
        samples.seed_torch(opts.seed, idx)
        return function(idx)

    return lockstep.run_batches(opts.worker, num_batches, seeded, dtype)


def prepare_generator(opts: MetricOptions) -> Generator:
    """A copy of the generator for evaluation, on the device."""
    return copy.deepcopy(opts.generator).eval().requires_grad_(False).to(opts.device)


def compute_both_feature_stats(
    opts: MetricOptions,
    detector_url: str,
    max_real: int | None,
    num_gen: int,
    **stats_kwargs: Any,
) -> tuple[FeatureStats, FeatureStats]:
    """Features of real images, at most `max_real`, and of `num_gen` generated images."""
    common: dict[str, Any] = {
        "opts": opts,
        "detector_url": detector_url,
        "detector_kwargs": dict(return_features=True),
        **stats_kwargs,
    }
    # Features of real images are often cached, so the progress bar belongs to generated images.
    real = compute_feature_stats_for_dataset(rel_lo=0, rel_hi=0, max_items=max_real, **common)
    gen = compute_feature_stats_for_generator(rel_lo=0, rel_hi=1, max_items=num_gen, **common)
    return real, gen


def compute_feature_stats_for_dataset(
    opts: MetricOptions,
    detector_url: str,
    detector_kwargs: Mapping[str, Any],
    rel_lo: float = 0,
    rel_hi: float = 1,
    batch_size: int | None = None,
    data_loader_kwargs: Mapping[str, Any] | None = None,
    max_items: int | None = None,
    **stats_kwargs: Any,
) -> FeatureStats:
    """Features of the real images, from the cache if it holds them.

    Args:
        opts: Options of the metric.
        detector_url: Published address of the feature network.
        detector_kwargs: How to call it.
        rel_lo: Where this stage begins in the progress of the metric, 0 to 1.
        rel_hi: Where it ends.
        batch_size: Images that the feature network sees at once.
        data_loader_kwargs: For `data.loader.BatchLoader`.
        max_items: Use the first images only.
        **stats_kwargs: For `FeatureStats`.
    """
    with lockstep.in_step(opts.worker):
        dataset = open_dataset(opts)
        files = feature_cache.describe_files(dataset) if opts.cache else None
    num_items = len(dataset) if max_items is None else min(len(dataset), max_items)
    path = None
    if opts.cache:
        with lockstep.in_step(opts.worker):
            source = detectors.find(detector_url, opts.detectors)
            path = _cache_file(opts, dataset, num_items, source, detector_kwargs, stats_kwargs)
            cached = feature_cache.load(path, num_items, files)
        if lockstep.all_agree(opts.worker, cached is not None):
            assert cached is not None
            progress = opts.progress.sub("cached features", num_items, num_items, rel_lo, rel_hi)
            progress.update(num_items)
            dataset.close()
            return cached

    progress = opts.progress.sub(
        "dataset features", num_items=num_items, rel_lo=rel_lo, rel_hi=rel_hi
    )
    batch_size = batch_size or BATCH_SIZE[opts.device.type]
    with lockstep.in_step(opts.worker):
        detector = load_detector(opts, detector_url)
        batches = _load_batches(opts, dataset, num_items, batch_size, data_loader_kwargs)

    def compute(_: int) -> Tensor:
        return detect(detector, next(batches), detector_kwargs)

    stats = FeatureStats(max_items=num_items, **stats_kwargs)
    num_batches = math.ceil(num_items / batch_size)
    _collect(stats, lockstep.run_batches(opts.worker, num_batches, compute), progress, "real")
    dataset.close()
    if path is not None and opts.rank == 0:
        feature_cache.save(path, stats, dataset, files)
    return stats


def compute_feature_stats_for_generator(
    opts: MetricOptions,
    detector_url: str,
    detector_kwargs: Mapping[str, Any],
    rel_lo: float = 0,
    rel_hi: float = 1,
    batch_size: int | None = None,
    batch_gen: int | None = None,
    **stats_kwargs: Any,
) -> FeatureStats:
    """Features of generated images; needs `max_items`.

    The latent and the label of an image depend on its number and `opts.seed` only, and images of
    one pass stay together, so the number of processes does not matter.

    Args:
        opts: Options of the metric.
        detector_url: Published address of the feature network.
        detector_kwargs: How to call it.
        rel_lo: Where this stage begins in the progress of the metric, 0 to 1.
        rel_hi: Where it ends.
        batch_size: Images that the feature network sees at once.
        batch_gen: Images that are generated at once.
        **stats_kwargs: For `FeatureStats`.
    """
    stats = FeatureStats(**stats_kwargs)
    num_items = stats.max_items
    if num_items is None:
        raise InputError("compute_feature_stats_for_generator: `max_items` is missing")
    progress = opts.progress.sub(
        "generator features", num_items=num_items, rel_lo=rel_lo, rel_hi=rel_hi
    )
    size = batch_size or BATCH_SIZE[opts.device.type]
    with lockstep.in_step(opts.worker):
        G = prepare_generator(opts)
        labels = RandomLabels(opts)
        detector = load_detector(opts, detector_url)
    batch_gen = batch_gen or opts.batch_gen or default_batch_gen(G.img_resolution, opts.device)
    step = min(batch_gen, size)

    def compute(idx: int) -> Tensor:
        start, end = idx * size, min((idx + 1) * size, num_items)
        made, is_sound = [], []
        for first in range(start, end, step):
            stop = min(first + step, end)
            z = _draw_latents(opts, first, stop, G.z_dim)
            img = G(z=z, c=labels.get(first, stop), **opts.G_kwargs)
            is_sound.append(misc.are_finite(img))
            made.append(images.to_uint8(img))
        features = detect(detector, torch.cat(made), detector_kwargs)
        # 8 bits cannot show NaN, so NaN is marked here, without waiting for a GPU.
        return torch.where(torch.cat(is_sound)[:, None], features, torch.nan)

    num_batches = math.ceil(num_items / size)
    _collect(stats, run_batches(opts, num_batches, compute), progress, "generated")
    return stats


def detect(detector: torch.nn.Module, img: Tensor, detector_kwargs: Mapping[str, Any]) -> Tensor:
    """Features `[N, num_features]` of uint8 images `[N, C, H, W]` with 1, 3 or 4 channels."""
    return detector(to_rgb(img), **detector_kwargs)


def to_rgb(img: Tensor) -> Tensor:
    """Repeat grayscale images to three channels, leave out the alpha channel."""
    return img.repeat([1, 3, 1, 1]) if img.shape[1] == 1 else img[:, :3]


def default_batch_gen(resolution: int, device: torch.device | str) -> int:
    """How many images to generate at once: 4 at 1024x1024 and on processors, 64 at 256x256."""
    if torch.device(device).type != "cuda":
        return 4
    return max(4, min(64, MAX_BATCH_PIXELS // resolution**2))


@torch.no_grad()
def _collect(
    stats: FeatureStats, batches: Iterator[Tensor], progress: ProgressMonitor, kind: str
) -> None:
    """Collect the features of all batches; refuse features that are not finite."""
    for features in batches:
        is_first = stats.num_items == 0
        stats.append(features)
        if is_first:
            stats.check_finite(kind)  # an error now saves hours
        progress.update(stats.num_items)
    stats.check_finite(kind)


def _cache_file(
    opts: MetricOptions,
    dataset: Any,
    num_items: int,
    source: detectors.Source,
    detector_kwargs: Mapping[str, Any],
    stats_kwargs: Mapping[str, Any],
) -> Path:
    """The file that keeps the features of the first `num_items` real images."""
    identity = detectors.identity(source)
    dataset_kwargs = dict(opts.dataset_kwargs)
    if "path" in dataset_kwargs:  # a relative path depends on the current folder
        dataset_kwargs["path"] = os.path.abspath(dataset_kwargs["path"])
    tag = feature_cache.cache_tag(
        dataset.name, dataset_kwargs, identity, detector_kwargs, stats_kwargs
    )
    return feature_cache.cache_file(tag, num_items if num_items < len(dataset) else None)


def _draw_latents(opts: MetricOptions, start: int, stop: int, z_dim: int) -> Tensor:
    if opts.seed is None:
        return torch.randn([stop - start, z_dim], device=opts.device)
    return samples.to_device(samples.latents(opts.seed, start, stop, z_dim), opts.device)


def _load_batches(
    opts: MetricOptions,
    dataset: Any,
    num_items: int,
    batch_size: int,
    data_loader_kwargs: Mapping[str, Any] | None,
) -> Iterator[Tensor]:
    """This process's batches of images, uint8 `[N, C, H, W]` on the device, read ahead."""
    starts = range(opts.rank * batch_size, num_items, opts.num_gpus * batch_size)
    indices = [idx for start in starts for idx in range(start, min(start + batch_size, num_items))]
    num_workers = min(MAX_WORKERS, (os.cpu_count() or 1) // opts.num_gpus)
    if len(starts) < MIN_BATCHES:
        num_workers = 0  # reading takes less time than the start of a process
    is_cuda = torch.device(opts.device).type == "cuda"
    loader_kwargs = {
        "num_workers": num_workers,
        "pin_memory": is_cuda,
        **(data_loader_kwargs or {}),
    }
    loader = BatchLoader(
        dataset, indices, batch_size, content="images of the dataset", **loader_kwargs
    )
    with contextlib.closing(loader):
        for img, _ in loader:
            # Feature networks compute other bits in the channels-last format.
            yield img.to(opts.device, non_blocking=is_cuda).contiguous()
