"""What metrics share: their options, and features of real and of generated images."""

import contextlib
import copy
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dnnlib
from data import fingerprint
from data.loader import BatchLoader
from dnnlib import errors
from dnnlib.errors import InputError, MachineError, UserError
from dnnlib.util import EasyDict
from metrics import detectors, feature_cache, parallel, samples
from metrics.feature_stats import FeatureStats as FeatureStats
from metrics.progress import ProgressMonitor as ProgressMonitor
from torch_utils import distributed, images, misc

BATCH_SIZE = {"cuda": 64, "mps": 32, "cpu": 16}  # images that a detector sees at once
MAX_BATCH_PIXELS = 4 * 1024**2  # of images that a GPU generates at once
MAX_WORKERS = 3  # processes that load real images
MIN_BATCHES = 16  # of real images, for them to be worth starting


class MetricOptions:
    """What to evaluate, and how.

    Args:
        G: Generator.
        G_kwargs: Keyword arguments of its synthesis.
        dataset_kwargs: How to construct the dataset; needs `class_name`.
        num_gpus: Number of processes.
        rank: Number of this one.
        device: Where this process computes; by default its GPU, or the CPU.
        progress: Where to report progress; used on rank 0.
        cache: Keep the dataset's features in files.
        seed: For everything random, by number of sample or batch, so that neither the number of
            processes nor the device matters; `None` draws from the global generators.
        num: Number of samples instead of the metric's own.
        batch_gen: Images to generate at once.
        detectors: Name of a feature network -> path or URL to use instead.
        allow_untrusted: Load feature networks from pickles of any origin.
        dataset_fingerprint: Refuse a dataset with another one, see `data.fingerprint`.
    """

    def __init__(
        self,
        G: torch.nn.Module | None = None,
        G_kwargs: Mapping[str, Any] | None = None,
        dataset_kwargs: Mapping[str, Any] | None = None,
        num_gpus: int = 1,
        rank: int = 0,
        device: torch.device | None = None,
        progress: ProgressMonitor | None = None,
        cache: bool = True,
        seed: int | None = None,
        num: int | None = None,
        batch_gen: int | None = None,
        detectors: Mapping[str, str] | None = None,
        allow_untrusted: bool = False,
        dataset_fingerprint: Mapping[str, Any] | None = None,
    ) -> None:
        assert 0 <= rank < num_gpus
        self.G = G
        self.G_kwargs = EasyDict(G_kwargs or {})
        self.dataset_kwargs = EasyDict(dataset_kwargs or {})
        self.num_gpus = num_gpus
        self.rank = rank
        self.device = device if device is not None else _default_device(rank)
        self.progress = ProgressMonitor() if progress is None or rank > 0 else progress.sub()
        self.cache = cache
        self.seed = seed
        self.num = num
        self.batch_gen = batch_gen
        self.detectors = dict(detectors or {})
        self.allow_untrusted = allow_untrusted
        self.dataset_fingerprint = dataset_fingerprint

    @property
    def worker(self) -> distributed.Worker:
        """This process."""
        return distributed.Worker(self.rank, self.num_gpus, torch.device(self.device))


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
    """Load a feature network; see `metrics.detectors`. Downloads happen once, whoever asks."""
    source = detectors.find(url, replacements)
    return detectors.load(source, torch.device(device), allow_untrusted)


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

    return parallel.run_batches(opts.worker, num_batches, seeded, dtype)


def prepare_generator(opts: MetricOptions) -> torch.nn.Module:
    """A copy of the generator for evaluation, on the device."""
    return copy.deepcopy(opts.G).eval().requires_grad_(False).to(opts.device)


class RandomLabels:
    """Labels of random training images, for the samples of a network.

    Args:
        opts: Its dataset is opened if the network has labels.

    Raises:
        ValueError: If the labels of the dataset are not those of the network.
    """

    def __init__(self, opts: MetricOptions) -> None:
        self.seed, self.device, self.c_dim = opts.seed, opts.device, opts.G.c_dim
        self.dataset = None
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
        return _to_device(torch.from_numpy(labels.astype(np.float32)), self.device)


def iterate_random_labels(opts: MetricOptions, batch_size: int) -> Iterator[Tensor]:
    """Endless batches of labels of random training images, float32 `[batch_size, c_dim]`.

    The batches of several processes alternate.
    """
    labels = RandomLabels(opts)
    for idx in itertools.count(opts.rank, opts.num_gpus):
        yield labels.get(idx * batch_size, (idx + 1) * batch_size)


def open_dataset(opts: MetricOptions) -> Any:
    """Construct the dataset.

    Raises:
        RuntimeError: If it cannot be opened, or is another one than the options say; the message
            names the option.
    """
    if "class_name" not in opts.dataset_kwargs:
        raise MachineError("this metric needs the dataset; name it with --data")
    found = []
    try:
        dataset = dnnlib.util.construct_class_by_name(**opts.dataset_kwargs)
        if opts.dataset_fingerprint is not None:
            found = fingerprint.differences(opts.dataset_fingerprint, dataset.fingerprint())
    except (OSError, UserError) as error:
        message = errors.message_of(error)
        raise MachineError(f"cannot open the dataset; --data names another: {message}") from error
    if found:
        raise MachineError(
            f"the dataset {opts.dataset_kwargs.get('path')} has changed since the start: it has "
            f"{' and '.join(found)}"
        )
    return dataset


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
    """Features of the real images, from the cache if they are there.

    Args:
        opts: Options of the metric.
        detector_url: Published address of the feature network.
        detector_kwargs: How to call it.
        rel_lo: Where this stage begins on the way of the metric, 0 to 1.
        rel_hi: Where it ends.
        batch_size: Images that the feature network sees at once.
        data_loader_kwargs: For `data.loader.BatchLoader`.
        max_items: Use the first images only.
        **stats_kwargs: For `FeatureStats`.
    """
    with parallel.in_step(opts.worker):
        dataset = open_dataset(opts)
        files = feature_cache.describe_files(dataset) if opts.cache else None
        source = detectors.find(detector_url, opts.detectors)
        identity = detectors.identity(source) if opts.cache else None
    num_items = len(dataset) if max_items is None else min(len(dataset), max_items)
    path = stats = None
    if opts.cache:
        dataset_kwargs = dict(opts.dataset_kwargs)
        if "path" in dataset_kwargs:  # which another folder can have, too
            dataset_kwargs["path"] = os.path.abspath(dataset_kwargs["path"])
        tag = feature_cache.cache_tag(
            dataset.name, dataset_kwargs, identity, detector_kwargs, stats_kwargs
        )
        path = feature_cache.cache_file(tag, num_items if num_items < len(dataset) else None)
        with parallel.in_step(opts.worker):
            stats = feature_cache.load(path, num_items, files)
        if parallel.all_agree(opts.worker, stats is not None):
            progress = opts.progress.sub("cached features", num_items, num_items, rel_lo, rel_hi)
            progress.update(num_items)
            dataset.close()
            return stats

    progress = opts.progress.sub(
        "dataset features", num_items=num_items, rel_lo=rel_lo, rel_hi=rel_hi
    )
    stats = FeatureStats(max_items=num_items, **stats_kwargs)
    batch_size = batch_size or BATCH_SIZE[torch.device(opts.device).type]
    num_batches = math.ceil(num_items / batch_size)
    with parallel.in_step(opts.worker):
        detector = _load_detector(opts, detector_url)
        batches = _load_batches(opts, dataset, num_items, batch_size, data_loader_kwargs)

    def compute(_: int) -> Tensor:
        return detect(detector, next(batches), detector_kwargs)

    with torch.no_grad():
        for features in parallel.run_batches(opts.worker, num_batches, compute):
            is_first = stats.num_items == 0
            stats.append(features)
            if is_first:
                stats.check_finite("real")  # before hours go by
            progress.update(stats.num_items)
    dataset.close()
    stats.check_finite("real")
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
        rel_lo: Where this stage begins on the way of the metric, 0 to 1.
        rel_hi: Where it ends.
        batch_size: Images that the feature network sees at once.
        batch_gen: Images that are generated at once.
        **stats_kwargs: For `FeatureStats`.
    """
    stats = FeatureStats(**stats_kwargs)
    if stats.max_items is None:
        raise InputError("compute_feature_stats_for_generator: `max_items` is missing")
    progress = opts.progress.sub(
        "generator features", num_items=stats.max_items, rel_lo=rel_lo, rel_hi=rel_hi
    )
    batch_size = batch_size or BATCH_SIZE[torch.device(opts.device).type]
    with parallel.in_step(opts.worker):
        G = prepare_generator(opts)
        labels = RandomLabels(opts)
        detector = _load_detector(opts, detector_url)
        batch_gen = batch_gen or opts.batch_gen or default_batch_gen(G.img_resolution, opts.device)
        batch_gen = min(batch_gen, batch_size)

    def compute(idx: int) -> Tensor:
        start, end = idx * batch_size, min((idx + 1) * batch_size, stats.max_items)
        made, is_sound = [], []
        for first in range(start, end, batch_gen):
            stop = min(first + batch_gen, end)
            z = _draw_latents(opts, first, stop, G.z_dim)
            img = G(z=z, c=labels.get(first, stop), **opts.G_kwargs)
            is_sound.append(misc.are_finite(img))
            made.append(images.to_uint8(img))
        features = detect(detector, torch.cat(made), detector_kwargs)
        # In 8 bits NaN is a level like others: here it is remembered, without waiting for a GPU.
        return torch.where(torch.cat(is_sound)[:, None], features, torch.nan)

    with torch.no_grad():
        for features in run_batches(opts, math.ceil(stats.max_items / batch_size), compute):
            is_first = stats.num_items == 0
            stats.append(features)
            if is_first:
                stats.check_finite("generated")  # before hours go by
            progress.update(stats.num_items)
    stats.check_finite("generated")
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


def _default_device(rank: int) -> torch.device:
    index = rank if torch.cuda.is_available() else 0
    return distributed.resolve_device("auto", index)


def _load_detector(opts: MetricOptions, url: str) -> torch.nn.Module:
    return get_feature_detector(
        url,
        device=opts.device,
        num_gpus=opts.num_gpus,
        rank=opts.rank,
        replacements=opts.detectors,
        allow_untrusted=opts.allow_untrusted,
    )


def _draw_latents(opts: MetricOptions, start: int, stop: int, z_dim: int) -> Tensor:
    if opts.seed is None:
        return torch.randn([stop - start, z_dim], device=opts.device)
    return _to_device(samples.latents(opts.seed, start, stop, z_dim), opts.device)


def _to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()  # or the copy would wait for the work that is queued
    return tensor.to(device, non_blocking=True)


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
