"""Options of a metric."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import InputError
from dnnlib.util import EasyDict
from metrics.progress import ProgressMonitor
from metrics.shared_passes import SharedPasses
from torch_utils import devices
from torch_utils.distributed import Worker
from torch_utils.networks import Generator


class MetricOptions:
    """The network and data of a metric, and settings of its evaluation.

    Args:
        G: Generator.
        G_kwargs: Keyword arguments of its synthesis; copied.
        dataset_kwargs: How to construct the dataset; needs `class_name`; copied.
        num_gpus: Number of processes, without `worker`.
        rank: Number of this process, without `worker`.
        device: Where this process computes, without `worker`; by default its GPU, or the CPU.
        progress: Where to report progress; silent except on rank 0.
        cache: Keep the dataset's features in files.
        seed: Seed of all random numbers. They depend on the number of the sample or batch, so
            neither the number of processes nor the device matters. `None` draws from the global
            generators.
        num: Number of samples instead of the metric's own.
        batch_gen: Images to generate at once.
        detectors: Name of a feature network -> path or URL to use instead.
        allow_untrusted: Load feature networks from pickles of any origin.
        dataset_fingerprint: Refuse a dataset with another fingerprint, see `data.fingerprint`.
        passes: Passes over images that other metrics share, see `metric_main.plan`.
        images_kwargs: How to construct a dataset of images to evaluate in place of the generator's;
            copied.
        images_fingerprint: Refuse such images with another fingerprint.
        memo_sheet: Where the metric `memo` draws its closest pairs; a PNG in a folder that exists.
        extrapolate: Add to each Fréchet distance its estimate for infinitely many generated images,
            see `metrics.extrapolation`.
        worker: This process; published programs give `num_gpus`, `rank` and `device` instead.

    Attributes:
        details: Facts beside the values, by the name of their field in the record. A metric adds
            them; numbers, texts, and lists and dictionaries of these. Those of rank 0 count. Facts
            about one value travel with it, see `metrics.value`.
    """

    def __init__(
        self,
        G: Generator | None = None,
        G_kwargs: Mapping[str, Any] | None = None,
        dataset_kwargs: Mapping[str, Any] | None = None,
        num_gpus: int = 1,
        rank: int = 0,
        device: torch.device | str | None = None,
        progress: ProgressMonitor | None = None,
        cache: bool = True,
        seed: int | None = None,
        num: int | None = None,
        batch_gen: int | None = None,
        detectors: Mapping[str, str] | None = None,
        allow_untrusted: bool = False,
        dataset_fingerprint: Mapping[str, Any] | None = None,
        passes: SharedPasses | None = None,
        *,
        images_kwargs: Mapping[str, Any] | None = None,
        images_fingerprint: Mapping[str, Any] | None = None,
        memo_sheet: Path | None = None,
        extrapolate: bool = False,
        worker: Worker | None = None,
    ) -> None:
        if worker is None:
            assert 0 <= rank < num_gpus
            if device is None:
                device = devices.resolve_device(index=rank if torch.cuda.is_available() else 0)
            worker = Worker(rank, num_gpus, torch.device(device))
        self.G = G
        self.G_kwargs = EasyDict(G_kwargs or {})
        self.dataset_kwargs = EasyDict(dataset_kwargs or {})
        self.worker = worker
        self.progress = progress.sub() if progress and worker.is_main else ProgressMonitor()
        self.cache = cache
        self.seed = seed
        self.num = num
        self.batch_gen = batch_gen
        self.detectors = dict(detectors or {})
        self.allow_untrusted = allow_untrusted
        self.dataset_fingerprint = dataset_fingerprint
        self.passes = SharedPasses() if passes is None else passes
        self.images_kwargs = None if images_kwargs is None else EasyDict(images_kwargs)
        self.images_fingerprint = images_fingerprint
        self.memo_sheet = memo_sheet
        self.extrapolate = extrapolate
        self.details: dict[str, Any] = {}

    @property
    def generator(self) -> Generator:
        """The generator.

        Raises:
            ValueError: If there is none.
        """
        if self.G is None:
            raise InputError("this metric needs a generator: `G` is missing")
        return self.G

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.worker.rank

    @property
    def num_gpus(self) -> int:
        """Number of processes."""
        return self.worker.size

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.worker.device
