"""Features of real and of generated images, which metrics share."""

import contextlib
import copy
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from data.loader import BatchLoader
from dnnlib import errors
from dnnlib.errors import InputError
from metrics import detectors, feature_cache, lockstep, pillow_resize, samples, shared_passes
from metrics.dataset import ImageFiles, evaluated_images
from metrics.dataset import RandomLabels as RandomLabels
from metrics.dataset import iterate_random_labels as iterate_random_labels
from metrics.dataset import open_dataset as open_dataset
from metrics.feature_stats import FeatureStats as FeatureStats
from metrics.inception import INPUT_SIZE, InceptionV3
from metrics.options import MetricOptions as MetricOptions
from metrics.progress import ProgressMonitor as ProgressMonitor
from metrics.shared_passes import Items, Request
from metrics.stats_dataset import StatsDataset
from torch_utils import images, misc
from torch_utils.networks import Generator

BATCH_SIZE = {"cuda": 64, "mps": 32, "cpu": 16}  # images that a detector sees at once
MAX_BATCH_PIXELS = 4 * 1024**2  # of images that a GPU generates at once
MAX_WORKERS = 3  # processes that load real images
FEATURES = MappingProxyType(dict(return_features=True))  # asks a feature network for features
# The same for images that `detect` has resized as Pillow does.
CLEAN_FEATURES = MappingProxyType(dict(return_features=True, clean=True))
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
    detector_kwargs: Mapping[str, Any] = FEATURES,
    more_of_generated: Mapping[str, Any] = MappingProxyType({}),
    **stats_kwargs: Any,
) -> tuple[FeatureStats, FeatureStats]:
    """Features of real images, at most `max_real`, and of `num_gen` generated images.

    The record gets both numbers, which the values depend on.
    See `compute_feature_stats_for_generator` for the images that count as generated.

    Args:
        opts: Options of the metric.
        detector_url: Published address of the feature network.
        max_real: Largest number of real images.
        num_gen: Number of generated images.
        detector_kwargs: How to call the feature network.
        more_of_generated: For `FeatureStats` of generated images only.
        **stats_kwargs: For `FeatureStats` of both.
    """
    gen_kwargs = {**stats_kwargs, **more_of_generated}
    if opts.passes.is_planning:
        opts.passes.note(
            _real_request(opts, detector_url, detector_kwargs, max_real, stats_kwargs),
            _generated_request(opts, detector_url, detector_kwargs, num_gen, gen_kwargs),
        )
    common: dict[str, Any] = {
        "opts": opts,
        "detector_url": detector_url,
        "detector_kwargs": detector_kwargs,
    }
    # Features of real images are often cached, so the progress bar belongs to generated images.
    real = compute_feature_stats_for_dataset(
        rel_lo=0, rel_hi=0, max_items=max_real, **common, **stats_kwargs
    )
    gen = compute_feature_stats_for_generator(
        rel_lo=0, rel_hi=1, max_items=num_gen, **common, **gen_kwargs
    )
    opts.details.update(num=gen.num_items, num_real=real.num_items)
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
    """Features of the real images, from the cache if it holds them, or from a file of statistics.

    If not, features that later metrics need of the same images are computed and cached, too.

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
    request = _real_request(
        opts, detector_url, detector_kwargs, max_items, stats_kwargs, batch_size
    )
    if opts.passes.is_planning:
        opts.passes.note(request)
    opts.passes.take(request)  # it waits no more
    with lockstep.in_step(opts.worker):
        dataset = open_dataset(opts)
        files = feature_cache.describe_files(dataset) if opts.cache else None
    num_items = _limit(len(dataset), max_items)
    if isinstance(dataset, StatsDataset):
        with lockstep.in_step(opts.worker):
            stored = dataset.content.load(request, opts.detectors)
        progress = opts.progress.sub("stored features", num_items, num_items, rel_lo, rel_hi)
        progress.update(num_items)
        return stored
    if opts.cache:
        with lockstep.in_step(opts.worker):
            cached = feature_cache.load(_cache_file(opts, dataset, request), num_items, files)
        if lockstep.all_agree(opts.worker, cached is not None):
            assert cached is not None
            progress = opts.progress.sub("cached features", num_items, num_items, rel_lo, rel_hi)
            progress.update(num_items)
            dataset.close()
            return cached

    companions = _missing_in_cache(opts, dataset, request) if opts.cache else []
    opts.passes.drop(companions)  # from now on they are in the cache, or cannot be kept

    def make_pass(requests: list[Request]) -> list[FeatureStats]:
        progress = opts.progress.sub(
            "dataset features", num_items=num_items, rel_lo=rel_lo, rel_hi=rel_hi
        )
        all_stats = [request.new_stats(num_items) for request in requests]
        _collect_files(
            opts, dataset, requests, all_stats, progress, "real", batch_size, data_loader_kwargs
        )
        return all_stats

    all_stats = _share_pass(opts, [request, *companions], make_pass)
    if opts.cache and opts.rank == 0:
        for one, stats in all_stats.items():
            feature_cache.save(_cache_file(opts, dataset, one), stats, dataset, files)
    dataset.close()
    return all_stats[request]


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
    """Features of generated images, or of the images that the options name; needs `max_items`.

    Images that the options name in place of a generator are read in the order of their dataset, and
    batches are as large as those of a generator: PNG files of its images give the same features.

    The latent and the label of an image depend on its number and `opts.seed` only, and images of
    one pass stay together, so the number of processes does not matter. Features that later metrics
    need of the same images are computed in the same pass, and kept in `opts.passes`.

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
    num_items = stats_kwargs.pop("max_items", None)
    if num_items is None:
        raise InputError("compute_feature_stats_for_generator: `max_items` is missing")
    request = _generated_request(
        opts, detector_url, detector_kwargs, num_items, stats_kwargs, batch_size, batch_gen
    )
    if opts.passes.is_planning:
        opts.passes.note(request)
    if (ready := opts.passes.take(request)) is not None:
        opts.progress.sub("shared features", num_items, num_items, rel_lo, rel_hi).update(num_items)
        return ready

    def make_pass(requests: list[Request]) -> list[FeatureStats]:
        all_stats = [request.new_stats() for request in requests]
        if (files := evaluated_images(opts)) is not None:
            progress = opts.progress.sub("image features", num_items, rel_lo=rel_lo, rel_hi=rel_hi)
            _collect_evaluated(opts, files, requests, all_stats, progress, batch_size)
        else:
            progress = opts.progress.sub(
                "generator features", num_items, rel_lo=rel_lo, rel_hi=rel_hi
            )
            _collect_generated(opts, requests, all_stats, progress, batch_size, batch_gen)
        return all_stats

    requests = [
        request,
        *(other for other in opts.passes.companions(request) if other.max_items == num_items),
    ]
    all_stats = _share_pass(opts, requests, make_pass)
    for one, stats in all_stats.items():
        opts.passes.keep(one, stats)
    return all_stats[request]


class GeneratedBatches:
    """Batches of generated images: the same whenever they are made, in any process.

    Args:
        opts: Options of the metric.
        num_items: Number of images in all batches.
        batch_size: Images in a batch, which a feature network sees at once.
        batch_gen: Images that are generated at once.

    Attributes:
        size: Images in a batch; the last one may have fewer.
    """

    def __init__(
        self,
        opts: MetricOptions,
        num_items: int,
        batch_size: int | None = None,
        batch_gen: int | None = None,
    ) -> None:
        self.opts, self.num_items = opts, num_items
        self.size, self.step = _batch_sizes(opts, batch_size, batch_gen)
        self.G = prepare_generator(opts)
        self.labels = RandomLabels(opts)

    def __len__(self) -> int:
        return math.ceil(self.num_items / self.size)

    def make(self, idx: int) -> tuple[Tensor, Tensor]:
        """Images of a batch, uint8 `[N, C, H, W]`, and which of them are finite, bool `[N]`.

        Seeds PyTorch's generators with the number of the batch.
        """
        samples.seed_torch(self.opts.seed, idx)
        start, end = idx * self.size, min((idx + 1) * self.size, self.num_items)
        made, is_sound = [], []
        for first in range(start, end, self.step):
            stop = min(first + self.step, end)
            z = _draw_latents(self.opts, first, stop, self.G.z_dim)
            img = self.G(z=z, c=self.labels.get(first, stop), **self.opts.G_kwargs)
            is_sound.append(misc.are_finite(img))
            made.append(images.to_uint8(img))
        return torch.cat(made), torch.cat(is_sound)


def _collect_generated(
    opts: MetricOptions,
    requests: list[Request],
    all_stats: list[FeatureStats],
    progress: ProgressMonitor,
    batch_size: int | None,
    batch_gen: int | None,
) -> None:
    """Collect the features of generated images."""
    num_items = all_stats[0].max_items
    assert num_items is not None
    with lockstep.in_step(opts.worker):
        batches = GeneratedBatches(opts, num_items, batch_size, batch_gen)
        calls = _Calls(opts, requests)

    def compute(idx: int) -> Tensor:
        img, is_sound = batches.make(idx)
        # 8 bits cannot show NaN, so NaN is marked here, without waiting for a GPU.
        return torch.where(is_sound[:, None], calls.detect(img), torch.nan)

    features = lockstep.run_batches(opts.worker, len(batches), compute)
    _collect(all_stats, calls.split(features), progress, "generated")


def _collect_evaluated(
    opts: MetricOptions,
    files: ImageFiles,
    requests: list[Request],
    all_stats: list[FeatureStats],
    progress: ProgressMonitor,
    batch_size: int | None,
) -> None:
    """Collect the features of the first images to evaluate, without the cache.

    Raises:
        ValueError: If there are fewer images.
    """
    num_items = all_stats[0].max_items
    assert num_items is not None
    with lockstep.in_step(opts.worker):
        dataset = files.open()
        if len(dataset) < num_items:
            raise InputError(
                f"the {files.kind} {dataset.name} has {len(dataset)} images, and the metric uses "
                f"{num_items}; choose a smaller `num`"
            )
    _collect_files(opts, dataset, requests, all_stats, progress, "evaluated", batch_size)
    dataset.close()


def _collect_files(
    opts: MetricOptions,
    dataset: Any,
    requests: list[Request],
    all_stats: list[FeatureStats],
    progress: ProgressMonitor,
    kind: str,
    batch_size: int | None = None,
    data_loader_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Collect the features of the first images of a dataset."""
    num_items = all_stats[0].max_items
    assert num_items is not None
    size = batch_size or BATCH_SIZE[opts.device.type]
    with lockstep.in_step(opts.worker):
        calls = _Calls(opts, requests)
        batches = _load_batches(opts, dataset, num_items, size, data_loader_kwargs)
    num_batches = math.ceil(num_items / size)
    features = lockstep.run_batches(opts.worker, num_batches, lambda _: calls.detect(next(batches)))
    _collect(all_stats, calls.split(features), progress, kind)


def detect(detector: torch.nn.Module, img: Tensor, detector_kwargs: Mapping[str, Any]) -> Tensor:
    """Features `[N, num_features]` of uint8 images `[N, C, H, W]` with 1, 3 or 4 channels.

    The argument `clean` is not the feature network's: the images are first resized to the size of
    Inception's input, with Pillow's filter. Values outside of 0 to 255 are clipped, as in the
    authors' program (Parmar et al. 2022), but not rounded.
    """
    kwargs = dict(detector_kwargs)
    x = to_rgb(img)
    if kwargs.pop("clean", False):
        x = pillow_resize.resize(x, INPUT_SIZE).clamp_(0, 255)
    return detector(x, **kwargs)


def detect_all(detector: torch.nn.Module, img: Tensor, calls: list[dict[str, Any]]) -> list[Tensor]:
    """Results of several calls, as `detect` gives them.

    `InceptionV3` looks at the images once, and once at images that `clean` has resized.
    """
    if len(calls) == 1 or not isinstance(detector, InceptionV3):
        return [detect(detector, img, kwargs) for kwargs in calls]
    sizes = dict.fromkeys(kwargs.get("clean", False) for kwargs in calls)
    features = {clean: detect(detector, img, FEATURES | dict(clean=clean)) for clean in sizes}
    return [
        features[kwargs.get("clean", False)]
        if kwargs.get("return_features")
        else detector.classify(
            features[kwargs.get("clean", False)], kwargs.get("no_output_bias", False)
        )
        for kwargs in calls
    ]


def to_rgb(img: Tensor) -> Tensor:
    """Repeat grayscale images to three channels, leave out the alpha channel."""
    return img.repeat([1, 3, 1, 1]) if img.shape[1] == 1 else img[:, :3]


def default_batch_gen(resolution: int, device: torch.device | str) -> int:
    """How many images to generate at once: 4 at 1024x1024 and on processors, 64 at 256x256."""
    if torch.device(device).type != "cuda":
        return 4
    return max(4, min(64, MAX_BATCH_PIXELS // resolution**2))


class _Calls:
    """Calls of feature networks for requests, each once, side by side in one tensor.

    Args:
        opts: Options of the metric.
        requests: What the features are for.
    """

    def __init__(self, opts: MetricOptions, requests: list[Request]) -> None:
        self.worker = opts.worker
        self.calls = list(dict.fromkeys(request.call for request in requests))
        self.positions = [self.calls.index(request.call) for request in requests]
        self.detectors = {
            url: load_detector(opts, url) for url in dict.fromkeys(url for url, _ in self.calls)
        }
        self.widths: list[int] = [0] * len(self.calls)

    def detect(self, img: Tensor) -> Tensor:
        """Features of uint8 images `[N, C, H, W]` of all calls: `[N, sum of num_features]`."""
        found: dict[tuple[str, Items], Tensor] = {}
        for url, detector in self.detectors.items():
            calls = [call for call in self.calls if call[0] == url]
            features = detect_all(detector, img, [dict(kwargs) for _, kwargs in calls])
            found.update(zip(calls, features, strict=True))
        self.widths = [found[call].shape[1] for call in self.calls]
        return torch.cat([found[call].to(torch.float32) for call in self.calls], dim=1)

    def split(self, batches: Iterator[Tensor]) -> Iterator[list[Tensor]]:
        """Divide batches that `detect` made, in any process: the features of each request."""
        widths = None
        for features in batches:
            if widths is None:  # a process without batches of its own does not know them
                known = lockstep.broadcast_floats(self.worker, [float(x) for x in self.widths])
                widths = [int(width) for width in known]
            parts = [part.contiguous() for part in features.split(widths, dim=1)]
            yield [parts[position] for position in self.positions]


def _share_pass(
    opts: MetricOptions,
    requests: list[Request],
    make_pass: Callable[[list[Request]], list[FeatureStats]],
) -> dict[Request, FeatureStats]:
    """Answer the first request, and others with it if they are sound.

    If the others are in the way, such as by a feature network that does not fit into the memory,
    the pass is made for the first request alone.
    """
    try:
        with torch.no_grad():
            answers = dict(zip(requests, make_pass(requests), strict=True))
    except Exception as error:
        if len(requests) == 1 or not (opts.num_gpus == 1 or lockstep.is_known_to_all(error)):
            raise
        reason = errors.message_of(error)
    else:
        return {
            request: stats
            for request, stats in answers.items()
            if request is requests[0] or stats.num_nonfinite == 0
        }
    opts.passes.drop(requests[1:])
    if opts.rank == 0:
        warnings.warn(
            f"metrics cannot share their images ({reason}); each makes its own", stacklevel=3
        )
    return _share_pass(opts, requests[:1], make_pass)


def _collect(
    all_stats: list[FeatureStats],
    batches: Iterator[list[Tensor]],
    progress: ProgressMonitor,
    kind: str,
) -> None:
    """Collect the features of all batches; refuse features of the first kind that are not finite.

    Features of other kinds belong to other metrics, which refuse them for themselves.
    """
    first = all_stats[0]
    for features in batches:
        is_start = first.num_items == 0
        for stats, x in zip(all_stats, features, strict=True):
            stats.append(x)
        if is_start:
            first.check_finite(kind)  # an error now saves hours
        progress.update(first.num_items)
    first.check_finite(kind)


def _real_request(
    opts: MetricOptions,
    detector_url: str,
    detector_kwargs: Mapping[str, Any],
    max_items: int | None,
    stats_kwargs: Mapping[str, Any],
    batch_size: int | None = None,
) -> Request:
    described = shared_passes.describe(dataset=opts.dataset_kwargs, batch_size=batch_size)
    kwargs = shared_passes.items(detector_kwargs), shared_passes.items(stats_kwargs)
    return Request(f"{shared_passes.REAL}{described}", max_items, detector_url, *kwargs)


def _generated_request(
    opts: MetricOptions,
    detector_url: str,
    detector_kwargs: Mapping[str, Any],
    num_items: int,
    stats_kwargs: Mapping[str, Any],
    batch_size: int | None = None,
    batch_gen: int | None = None,
) -> Request:
    if opts.images_kwargs is not None:
        described = shared_passes.describe(images=opts.images_kwargs, batch_size=batch_size)
    else:
        described = shared_passes.describe(
            G_kwargs=opts.G_kwargs,
            labels=opts.dataset_kwargs if opts.generator.c_dim > 0 else None,
            seed=opts.seed,
            batch_sizes=_batch_sizes(opts, batch_size, batch_gen),
        )
    kwargs = shared_passes.items(detector_kwargs), shared_passes.items(stats_kwargs)
    return Request(f"generated {described}", num_items, detector_url, *kwargs)


def _batch_sizes(
    opts: MetricOptions, batch_size: int | None, batch_gen: int | None
) -> tuple[int, int]:
    """Images that a feature network sees at once, and images that are generated at once."""
    size = batch_size or BATCH_SIZE[opts.device.type]
    default = default_batch_gen(opts.generator.img_resolution, opts.device)
    return size, min(batch_gen or opts.batch_gen or default, size)


def _limit(num_items: int, max_items: int | None) -> int:
    return num_items if max_items is None else min(num_items, max_items)


def _missing_in_cache(opts: MetricOptions, dataset: Any, request: Request) -> list[Request]:
    """Other requests for features of the same real images that the cache has no file of."""
    num_items = _limit(len(dataset), request.max_items)
    missing = []
    for other in opts.passes.companions(request):
        if _limit(len(dataset), other.max_items) == num_items:
            with lockstep.in_step(opts.worker):
                is_missing = not _cache_file(opts, dataset, other).is_file()
            if lockstep.all_agree(opts.worker, is_missing):
                missing.append(other)
    return missing


def _cache_file(opts: MetricOptions, dataset: Any, request: Request) -> Path:
    """The file that keeps the features of a request for real images."""
    identity = detectors.identity(detectors.find(request.detector_url, opts.detectors))
    dataset_kwargs = dict(opts.dataset_kwargs)
    if "path" in dataset_kwargs:  # a relative path depends on the current folder
        dataset_kwargs["path"] = os.path.abspath(dataset_kwargs["path"])
    tag = feature_cache.cache_tag(
        dataset.name,
        dataset_kwargs,
        identity,
        dict(request.detector_kwargs),
        dict(request.stats_kwargs),
    )
    num_items = _limit(len(dataset), request.max_items)
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
